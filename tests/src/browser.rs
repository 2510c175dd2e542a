//! Debian's Chromium, driven by the scenarios of `tests/browser`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{Grapnel, root, told};

/// How long a scenario may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(280);

/// What a scenario's browser may talk to, and where its pictures go.
#[derive(Clone, Debug)]
pub struct Browser {
    origins: Vec<String>,
    pictures: Option<PathBuf>,
}

impl Browser {
    /// Returns a browser whose pages may ask these origins and nobody else: as `http://127.0.0.1:7300`, or with any
    /// subdomain as `http://*.localhost:7380`.
    pub fn allowed<Origin: Into<String>>(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self { origins: origins.into_iter().map(Into::into).collect(), pictures: None }
    }

    /// Returns a browser for what one Grapnel serves: its gateway and its sites.
    pub fn of(grapnel: &Grapnel) -> Self {
        Self::allowed([grapnel.url(""), format!("http://*.localhost:{}", grapnel.sites_port())])
    }

    /// Takes the pictures of scenarios into a directory, instead of where `GRAPNEL_TEST_SCREENSHOTS` says.
    #[must_use]
    pub fn pictures(mut self, directory: &Path) -> Self {
        self.pictures = Some(directory.to_owned());
        self
    }

    /// Plays a scenario by its name in `tests/browser/scenarios` and returns what it tells. `config` is an object.
    ///
    /// # Panics
    /// Anything was not as the scenario expects, or the browser had reason to complain; with the story of it.
    pub async fn play(&self, scenario: &str, config: Value) -> Value {
        self.try_to_play(scenario, config).await.unwrap_or_else(|story| panic!("{scenario}: {story}"))
    }

    /// Plays a scenario as [`Self::play`] does.
    ///
    /// # Errors
    /// Anything was not as the scenario expects, or the browser had reason to complain; with the story of it.
    ///
    /// # Panics
    /// Node.js cannot be started.
    pub async fn try_to_play(&self, scenario: &str, config: Value) -> Result<Value, String> {
        let tests = root().join("tests/browser");
        // The browser's profile, its cache and what it downloads: nothing of it outlives the scenario, however that ends.
        let scratch = TempDir::new().expect("a directory can be made");
        // Files, because a pipe ends only when the last process has closed it.
        let [told_file, story_file] = ["told", "story"].map(|name| scratch.path().join(name));
        let file = |path: &Path| File::create(path).expect("a file can be made");
        let mut node = Command::new("node");
        node.arg(tests.join("run.mjs"))
            .arg(tests.join("scenarios").join(format!("{scenario}.mjs")))
            .env("GRAPNEL_TEST_BROWSER", told("GRAPNEL_TEST_BROWSER"))
            .env("TMPDIR", scratch.path())
            .env("HOME", scratch.path())
            .stdin(Stdio::piped())
            .stdout(file(&told_file))
            .stderr(file(&story_file))
            .kill_on_drop(true);
        if let Some(directory) = &self.pictures {
            node.env("GRAPNEL_TEST_SCREENSHOTS", directory);
        }
        let mut node = node.spawn().expect("Node.js runs; `make setup` installs it");
        let mut input = node.stdin.take().expect("it was asked for");
        // One that has ended already says why in its story.
        let _ = input.write_all(self.with_origins(config).to_string().as_bytes()).await;
        drop(input);
        let ended = tokio::time::timeout(PATIENCE, node.wait()).await;
        let read = |path: &Path| fs::read_to_string(path).expect("the file is there");
        let (told, story) = (read(&told_file), read(&story_file));
        let Ok(status) = ended else {
            return Err(format!("it does not end within {} s\n{story}", PATIENCE.as_secs()));
        };
        if !status.expect("a process that was started can be waited for").success() {
            return Err(story);
        }
        let last = told.lines().last().and_then(|line| serde_json::from_str(line).ok());
        last.ok_or_else(|| format!("it does not tell what came out: {told}\n{story}"))
    }

    fn with_origins(&self, config: Value) -> Value {
        let mut all = Map::from_iter([("origins".to_owned(), json!(self.origins))]);
        if let Value::Object(config) = config {
            all.extend(config);
        }
        Value::Object(all)
    }
}
