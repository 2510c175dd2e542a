//! The script that does by hand what Grapnel does.

use std::{fs, path::PathBuf, process::Stdio, time::Instant};

use anyhow::{Context as _, Result, ensure};
use grapnel_e2e::Repository;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use super::MARKER;
use crate::{
    container::{FLAGS, IMAGE, own_flags},
    load::ms_since,
};

/// The user that builds run as.
const BUILDER: &str = "10001:10001";

/// A repository that is deployed by hand.
pub struct ByHand {
    directory: TempDir,
    command: String,
    output: &'static str,
}

impl ByHand {
    /// Makes what such a script keeps: a mirror, a directory of caches, and one of what is published.
    pub fn new(repository: &Repository, command: String, output: &'static str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("grapnel-bench-").tempdir()?;
        let this = Self { directory, command, output };
        let mirror = this.path("mirror");
        run(&["git", "clone", "--quiet", "--mirror", &repository.path(), &mirror.to_string_lossy()])?;
        fs::create_dir_all(this.path("published"))?;
        this.make_cache("cache")?;
        Ok(this)
    }

    /// Deploys, and returns the milliseconds until the build command's first line and until the end.
    pub async fn deploy(&self, cached: bool) -> Result<(f64, f64)> {
        let cache = if cached { "cache" } else { "no-cache" };
        if !cached {
            let _ = fs::remove_dir_all(self.path(cache));
            self.make_cache(cache)?;
        }
        let script = grapnel_e2e::root().join("bench/by-hand");
        let begun = Instant::now();
        let mut child = Command::new(script)
            .args([self.path("mirror"), self.path(cache), self.path("published")])
            .args([self.output, &self.command])
            .args(FLAGS)
            .args(own_flags())
            .arg(IMAGE)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        let mut first = None;
        while let Some(line) = lines.next_line().await? {
            if line == MARKER {
                first.get_or_insert_with(|| ms_since(begun));
            }
        }
        let status = child.wait().await?;
        let over = ms_since(begun);
        ensure!(status.success(), "the script failed: {status}");
        Ok((first.context("the script printed nothing")?, over))
    }

    /// A site's modules are kept where the script mounts them.
    fn make_cache(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(&path)?;
        if self.output == "dist" {
            fs::create_dir_all(path.join("node_modules"))?;
        }
        run(&["chown", "-R", BUILDER, &path.to_string_lossy()])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn run(command: &[&str]) -> Result<()> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let status = std::process::Command::new(program).args(arguments).status()?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
