//! Vercel's own command, unchanged, against the real gateway: hooks, projects, deployments, and back again.

use std::{path::Path, process::Output};

use grapnel_e2e::{Grapnel, Repository, Setup, told};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// The command, in a home of its own.
struct Vercel<'a> {
    grapnel: &'a Grapnel,
    home: TempDir,
}

/// What the command said and how it ended.
struct Said {
    out: String,
    /// Beside what is for programs: everything for people.
    all: String,
    code: Option<i32>,
}

impl Said {
    /// Takes it as having gone well.
    #[track_caller]
    fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.all);
        self
    }

    #[track_caller]
    fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.all.contains(text), "`{text}` is missing: {}", self.all);
        }
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.all))
    }
}

impl<'a> Vercel<'a> {
    fn new(grapnel: &'a Grapnel) -> Self {
        Self { grapnel, home: tempfile::tempdir().unwrap() }
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(&self.grapnel.key(), arguments, &[]).await
    }

    async fn run_with(&self, key: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
        let output = command(self.home.path())
            .args(["--api", &self.grapnel.url(""), "--token", key])
            .args(arguments)
            .envs(environment.iter().copied())
            .output();
        let Output { status, stdout, stderr } = output.await.expect("Node.js can be started");
        let out = String::from_utf8_lossy(&stdout).into_owned();
        let all = format!("vercel {}\n{out}{}", arguments.join(" "), String::from_utf8_lossy(&stderr));
        Said { out, all, code: status.code() }
    }
}

/// The command where nothing is linked, and nobody is asked.
fn command(home: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .arg(told("GRAPNEL_TEST_VERCEL"))
        .current_dir(home)
        .env("HOME", home)
        .env("XDG_DATA_HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env("VERCEL_TELEMETRY_DISABLED", "1")
        .env("NO_UPDATE_NOTIFIER", "1")
        .env("NO_COLOR", "1")
        .env("CI", "1")
        .stdin(std::process::Stdio::null());
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(proxy).env_remove(proxy.to_lowercase());
    }
    command
}

/// A site with something to build.
fn site(grapnel: &Grapnel) -> Repository {
    Repository::with(
        &grapnel.repositories().join("site"),
        &[
            (
                "package.json",
                r#"{ "name": "site", "private": true, "scripts": { "build": "node build.js" } }"#,
            ),
            (
                "build.js",
                "console.log('one edition is built');
require('node:fs').mkdirSync('dist', { recursive: true });
require('node:fs').writeFileSync('dist/index.html', require('node:fs').readFileSync('edition'));
",
            ),
            ("edition", "first"),
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vercel_command_works_unchanged_from_the_first_hook_to_the_rollback() {
    let grapnel = Grapnel::start(Setup::default().embedded()).await;
    let repository = site(&grapnel);
    let vercel = Vercel::new(&grapnel);

    // Who is asking.
    vercel.run(&["whoami"]).await.well().says(&["first start"]);
    vercel.run(&["teams", "ls"]).await.well().says(&["default"]);

    // Projects.
    vercel.run(&["project", "add", "site"]).await.says(&["must be a repository's address", "gitRepository"]);
    vercel.run(&["project", "add", &repository.path()]).await.well().says(&["Success!"]);
    vercel.run(&["project", "ls"]).await.well().says(&["site", "24.x"]);
    vercel.run(&["project", "inspect", "site"]).await.well().says(&["prj_", "Owner", "default"]);
    vercel.run(&["ls", "site"]).await.well().says(&["No deployments found"]);

    // Hooks.
    let made =
        vercel.run(&["deploy-hooks", "create", "cms", "--ref", "main", "--project", "site"]).await.well();
    let url = made.all.split_whitespace().find(|word| word.contains("/v1/integrations/deploy/")).unwrap();
    assert!(url.contains("/grh_"), "{url}");
    let masked = format!("****{}", &url[url.len() - 4..]);
    let listed =
        vercel.run(&["deploy-hooks", "ls", "--project", "site"]).await.well().says(&["cms", "main", &masked]);
    assert!(!listed.all.contains("grh_"), "{}", listed.all);
    let hooks =
        vercel.run(&["deploy-hooks", "ls", "--project", "site", "--format", "json"]).await.well().json();
    let hook = hooks[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&hooks[0]["name"], &hooks[0]["ref"]), (&"cms".into(), &"main".into()));
    let again = ["deploy-hooks", "create", "cms", "--ref", "main", "--project", "site"];
    let again = vercel.run(&again).await;
    assert_eq!(again.code, Some(1), "{}", again.all);

    // What it deploys.
    let first = grapnel.trigger(url).await;
    grapnel.ready(&first).await;
    let listed = vercel.run(&["ls", "site"]).await.well().says(&["Ready", "Production", "cms", &first]);
    assert!(listed.out.contains(&format!("https://{first}.localhost")), "{}", listed.all);
    let listed = vercel.run(&["ls", "site", "--format", "json"]).await.well().json();
    let meta = &listed["deployments"][0]["meta"];
    assert_eq!((&meta["deployHookId"], &meta["deployHookName"]), (&hook.as_str().into(), &"cms".into()));
    assert_eq!((&meta["deployHookRef"], &meta["githubCommitMessage"]), (&"main".into(), &"Begin".into()));
    vercel.run(&["ls"]).await.well().says(&[&first]);
    vercel.run(&["ls", "site", "--status", "ERROR"]).await.well().says(&["No deployments found"]);
    vercel.run(&["ls", "site", "--meta", "deployHookName=cms"]).await.well().says(&[&first]);
    vercel.run(&["inspect", &first]).await.well().says(&["Ready", "production", "site.localhost"]);
    vercel.run(&["inspect", &first, "--logs"]).await.well().says(&["one edition is built", "Ready"]);
    let host = format!("http://{first}.localhost:{}", grapnel.sites_port());
    assert_eq!(vercel.run(&["inspect", &host, "--format", "json"]).await.well().json()["id"], first.as_str());
    let production = format!("http://site.localhost:{}", grapnel.sites_port());
    assert_eq!(
        vercel.run(&["inspect", &production, "--format", "json"]).await.well().json()["id"],
        first.as_str()
    );
    vercel.run(&["inspect", "dpl_nothing"]).await.says(&["Can't find the deployment"]);

    // Once more, and back.
    repository.write("edition", "second");
    repository.commit("Second");
    let second = grapnel.trigger(url).await;
    grapnel.ready(&second).await;
    grapnel.page_says("site", "/", "second").await;
    vercel.run(&["rollback", &first]).await.well().says(&["Success!", "was rolled back to", &first]);
    grapnel.page_says("site", "/", "first").await;
    vercel.run(&["promote", &second]).await.well().says(&["Success!", "was promoted to", &second]);
    grapnel.page_says("site", "/", "second").await;

    let begun = vercel.run(&["redeploy", &first, "--no-wait"]).await.well().says(&["Inspect", "Production"]);
    let third = begun.out.trim().trim_start_matches("https://").split('.').next().unwrap().to_owned();
    assert_eq!(grapnel.ready(&third).await.commit, grapnel.deployment(&first).await.commit);
    // The waiting of `vercel redeploy` takes an agent for https, but where a proxy is configured.
    let direct = [("HTTP_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "127.0.0.1")];
    vercel.run_with(&grapnel.key(), &["redeploy", &second], &direct).await.well().says(&["Ready"]);

    // Away with it.
    vercel.run(&["remove", &first, "--yes"]).await.well().says(&["Removed 1 deployment"]);
    vercel.run(&["inspect", &first]).await.says(&["Can't find the deployment"]);
    let remove = ["deploy-hooks", "rm", &hook, "--project", "site", "--yes", "--non-interactive"];
    vercel.run(&remove).await.well().says(&["Removed deploy hook"]);
    vercel.run(&["deploy-hooks", "ls", "--project", "site"]).await.well().says(&["No deploy hooks"]);
    vercel.run(&["remove", "site", "--yes"]).await.well().says(&["Removed 1 project"]);
    vercel.run(&["project", "ls"]).await.well().says(&["No projects found"]);

    // Without a key that works nothing goes, and it is said why.
    let refused = vercel.run_with("gra_nothing", &["whoami"], &[]).await;
    assert_ne!(refused.code, Some(0), "{}", refused.all);
    grapnel.nothing_is_left().await;
}
