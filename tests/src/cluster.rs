//! An installation on a Kubernetes that `make test-kubernetes` has brought up, driven from outside of it.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{GitServer, Repository, http_client, told};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// The installation, with a git server of the test's own beside it.
#[derive(Debug)]
pub struct Cluster {
    directory: TempDir,
    git: GitServer,
}

impl Cluster {
    /// Finds the installation.
    ///
    /// # Panics
    /// There is none, or no git server can be started for it.
    pub async fn find() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let machine = told("GRAPNEL_TEST_CLUSTER_MACHINE").parse().expect("it is an address");
        let git = GitServer::start_at(directory.path(), machine).await.expect("git can be served");
        Self { directory, git }
    }

    /// Makes a repository that the cluster's executors can fetch, and returns it with its address.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> (Repository, String) {
        (Repository::with(&self.directory.path().join(name), files), self.git.url(name))
    }

    /// Makes one from an example.
    pub fn example(&self, name: &str, example: &str) -> (Repository, String) {
        (Repository::from_example(&self.directory.path().join(name), example), self.git.url(name))
    }

    /// Makes a project and a hook of it, and returns the hook's URL.
    ///
    /// # Panics
    /// It is refused.
    pub fn hook(&self, project: &str, repository: &str, settings: &[&str]) -> String {
        self.hook_with(project, repository, settings, &[])
    }

    /// Does the same, with settings of the hook.
    ///
    /// # Panics
    /// It is refused.
    pub fn hook_with(&self, project: &str, repository: &str, settings: &[&str], of_hook: &[&str]) -> String {
        let made = [&["project", "create", project, "--repo", repository], settings].concat();
        self.cli(&made);
        let hook = [&["hook", "create", project, "desk", "--output", "json"], of_hook].concat();
        let hook = self.cli(&hook);
        let hook: Value = serde_json::from_slice(&hook.stdout).expect("it is JSON");
        hook["url"].as_str().expect("it has a URL").to_owned()
    }

    /// Requests a hook's URL and returns the deployment's id.
    ///
    /// # Panics
    /// It is not accepted.
    pub async fn trigger(&self, url: &str) -> String {
        let answer = http_client().post(url).send().await.expect("the gateway answers");
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.expect("it is JSON");
        answer["job"]["id"].as_str().expect("it has a job").to_owned()
    }

    /// Runs a client command that has to be done.
    ///
    /// # Panics
    /// It fails.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let output = self.try_cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Runs a client command.
    pub fn try_cli(&self, arguments: &[&str]) -> Output {
        Command::new(crate::grapnel::binary())
            .args(arguments)
            .env("GRAPNEL_URL", told("GRAPNEL_TEST_CLUSTER_HOOKS"))
            .env("GRAPNEL_KEY_FILE", told("GRAPNEL_TEST_CLUSTER_KEY"))
            .output()
            .expect("the binary starts")
    }

    /// Reads a deployment, in the JSON form of the client; none where nobody answers now, since a service's address still leads
    /// to a node that was lost.
    pub fn deployment(&self, id: &str) -> Option<Value> {
        serde_json::from_slice(&self.try_cli(&["deployment", "show", id, "--output", "json"]).stdout).ok()
    }

    /// Reads as much of its log as can be had, as people see it.
    pub fn log(&self, id: &str) -> String {
        String::from_utf8_lossy(&self.try_cli(&["deployment", "logs", id]).stdout).into_owned()
    }

    /// Waits until a deployment has ended, and returns it.
    ///
    /// # Panics
    /// It does not.
    pub async fn ended(&self, id: &str) -> Value {
        let is_over = |it: &Value| !["PENDING", "QUEUED", "BUILDING"].contains(&state(it).as_str());
        self.until(|| self.deployment(id).filter(is_over), || self.log(id)).await
    }

    /// Waits until a deployment is READY, and returns it.
    ///
    /// # Panics
    /// It ends otherwise.
    pub async fn ready(&self, id: &str) -> Value {
        let ended = self.ended(id).await;
        assert_eq!(state(&ended), "READY", "{ended:#}\n{}", self.log(id));
        ended
    }

    /// Waits until the log of a deployment says something, and returns how long that took.
    ///
    /// # Panics
    /// It does not.
    pub async fn says(&self, id: &str, what: &str) -> Duration {
        let begun = Instant::now();
        self.until(|| self.log(id).contains(what).then_some(()), || self.log(id)).await;
        begun.elapsed()
    }

    /// Waits until there is what is asked for.
    ///
    /// # Panics
    /// There never is; `why` says more.
    pub async fn until<T>(&self, is_there: impl Fn() -> Option<T>, why: impl Fn() -> String) -> T {
        let begun = Instant::now();
        loop {
            if let Some(there) = is_there() {
                return there;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", why());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Fetches a page of a site by the first label of its host.
    ///
    /// # Panics
    /// The sites' listener does not answer.
    pub async fn page(&self, label: &str) -> String {
        let sites = told("GRAPNEL_TEST_CLUSTER_SITES");
        let port = sites.rsplit(':').next().unwrap_or_default();
        let host = format!("{label}.localhost:{port}");
        let page = http_client().get(format!("http://{sites}/")).header("host", host).send().await;
        page.expect("the sites' listener answers").text().await.expect("the page comes whole")
    }

    /// Runs kubectl, and returns what it printed.
    ///
    /// # Panics
    /// It fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new("kubectl").args(arguments).output().expect("kubectl is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a kubectl that has to fail, and returns what it complained of.
    ///
    /// # Panics
    /// It does not.
    pub fn kubectl_fails(&self, arguments: &[&str]) -> String {
        let output = Command::new("kubectl").args(arguments).output().expect("kubectl is installed");
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs one that may fail.
    ///
    /// # Panics
    /// There is none.
    pub fn kubectl_says(&self, arguments: &[&str]) -> String {
        let output = Command::new("kubectl").args(arguments).output().expect("kubectl is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command of the script that has brought the cluster up.
    ///
    /// # Panics
    /// It fails.
    pub fn script(&self, arguments: &[&str]) {
        let script: PathBuf = crate::root().join("tests/kubernetes/cluster.sh");
        let done = Command::new(script).args(arguments).status().expect("it can be started");
        assert!(done.success(), "{arguments:?}");
    }

    /// Gives an image another name, on every node.
    ///
    /// # Panics
    /// A node does not have it.
    pub fn tag(&self, image: &str, name: &str) {
        for node in ["node1", "node2"] {
            let engine = format!("unix://{}/{node}/docker.sock", told("GRAPNEL_TEST_CLUSTER"));
            let tagged = Command::new("docker").args(["-H", &engine, "tag", image, name]).status();
            assert!(tagged.is_ok_and(|status| status.success()), "{image} is not on {node}");
        }
    }

    /// Runs a command as on a node, and returns what it printed, however it ended.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn on_node(&self, node: &str, command: &[&str]) -> String {
        let script: PathBuf = crate::root().join("tests/kubernetes/cluster.sh");
        let output =
            Command::new(script).args(["in", node]).args(command).output().expect("it can be started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until an executor takes builds, or does not.
    ///
    /// # Panics
    /// It stays as it is.
    pub async fn executor_is(&self, node: &str, wanted: &str) {
        let found = || {
            let listed = self.try_cli(&["executor", "list", "--output", "json"]);
            let listed: Value = serde_json::from_slice(&listed.stdout).ok()?;
            let all = listed["executors"].as_array()?;
            let executor = all.iter().find(|executor| executor["name"] == node)?;
            executor["state"].as_str().filter(|state| state.ends_with(wanted)).map(drop)
        };
        let why = || String::from_utf8_lossy(&self.cli(&["executor", "list"]).stdout).into_owned();
        self.until(found, why).await;
    }

    /// Waits until no pod of a build is left, but for those that stand ready.
    ///
    /// # Panics
    /// One stays.
    pub async fn nothing_is_left(&self) {
        let pods = || {
            let named = ["-n", "grapnel-builds", "get", "pods", "-o", "name"];
            let pods: Vec<_> = self.kubectl(&named).lines().map(str::to_owned).collect();
            pods.into_iter().filter(|pod| !pod.ends_with("-0")).collect::<Vec<_>>()
        };
        self.until(|| pods().is_empty().then_some(()), || pods().join(" ")).await;
    }

    /// Waits until a sandbox stands ready that was started after this one of a build.
    ///
    /// # Panics
    /// None does.
    pub async fn stands_ahead_after(&self, deployment: &str) {
        let named = ["-n", "grapnel-builds", "get", "pods", "--no-headers"];
        // Ids sort by time.
        let after = format!("grapnel-{}", deployment.replace('_', "-"));
        let found = || {
            let pods = self.kubectl(&named);
            let mut ahead = pods.lines().filter(|pod| {
                let mut columns = pod.split_whitespace();
                let name = columns.next().unwrap_or_default();
                name.ends_with("-0") && *name > *after && columns.nth(1) == Some("Running")
            });
            ahead.next().map(drop)
        };
        self.until(found, || self.kubectl(&named)).await;
    }

    /// Waits until no node has a workspace or a volume of a build, but for those that stand ready.
    ///
    /// # Panics
    /// One stays.
    pub async fn nothing_is_left_on_nodes(&self) {
        let below = "/var/lib/grapnel";
        let look = format!(
            "ls {below}/kubernetes/volumes {below}/workspaces {below}/kubernetes/ended | grep dpl_ | grep -v -e '-0'"
        );
        let left = || ["1", "2"].map(|node| self.on_node(node, &["sh", "-c", &look])).concat();
        self.until(|| left().is_empty().then_some(()), left).await;
    }
}

/// Returns the state of a deployment, by its last word.
pub fn state(deployment: &Value) -> String {
    let state = deployment["state"].as_str().unwrap_or_default();
    state.rsplit('_').next().unwrap_or_default().to_owned()
}
