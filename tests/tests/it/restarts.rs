//! Executors that are killed, stopped and started again while they build, in real containers.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use grapnel_e2e::{
    Repository,
    grapnel::{docker_lines, without_what_stands_ready},
};

use crate::processes::{Manner, Processes};

/// Prints numbered lines on both streams, and one whose end is always yet to come.
const SCRIPT: &str = "i=0; while [ $i -lt 60 ]; do echo \"out $i\"; echo \"err $i\" >&2; printf \"part $i \"; \
    sleep 0.1; echo whole; i=$((i+1)); done; mkdir dist && cp index.html dist/";
const LINES: usize = 60;

/// A project whose build prints numbered lines, and the three processes that deploy it.
struct Site {
    processes: Processes,
    url: String,
    id: String,
}

impl Site {
    async fn triggered() -> Self {
        let processes = Processes::start(Manner::default()).await;
        let site = Repository::with(&processes.path("git/site"), &[("index.html", "hi")]);
        processes.json(&["project", "create", "site", "--repo", &site.path(), "--build", SCRIPT]);
        let url = processes.json(&["hook", "create", "site", "cms"])["url"].as_str().unwrap().to_owned();
        let id = processes.trigger(&url).await;
        Self { processes, url, id }
    }

    fn log(&self) -> String {
        let output = self.processes.cli(&["deployment", "logs", &self.id]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the log that hooks has stored shows a line.
    fn until(&self, line: &str) {
        let begun = Instant::now();
        while !self.log().lines().any(|told| told == line) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{line}: {}\n{}",
                self.log(),
                self.processes.logs()
            );
        }
    }

    fn deployment(&self) -> serde_json::Value {
        self.processes.json(&["deployment", "show", &self.id])
    }

    /// Waits until the deployment has ended, and returns it.
    fn ended(&self) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let deployment = self.deployment();
            if deployment["finishedAt"].is_string() {
                return deployment;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{deployment}\n{}", self.processes.logs());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Makes sure that one attempt has told everything once and left its artifact, and nothing else is left.
    async fn is_whole(&self) {
        let deployment = self.ended();
        let log = self.log();
        assert_eq!(deployment["state"], "DEPLOYMENT_STATE_READY", "{deployment}\n{log}");
        assert_eq!(deployment["attempt"], 1, "{log}");
        for (prefix, suffix) in [("out ", ""), ("err ", ""), ("part ", " whole")] {
            let told: Vec<_> = log.lines().filter(|line| line.starts_with(prefix)).collect();
            let expected: Vec<_> = (0..LINES).map(|n| format!("{prefix}{n}{suffix}")).collect();
            assert_eq!(told, expected, "{}", self.processes.logs());
        }
        assert_eq!(names(self.processes.path("data/artifacts")), [self.id.as_str()]);
        self.nothing_is_left();
    }

    fn nothing_is_left(&self) {
        let begun = Instant::now();
        let own = format!("label=grapnel.executor={}", self.processes.name);
        loop {
            let mut left = docker_lines(&["ps", "--all", "--format", "{{.Names}}", "--filter", &own]);
            left.extend(docker_lines(&["volume", "ls", "--quiet", "--filter", &own]));
            left.extend(names(self.processes.path("data/workspaces")));
            let left = without_what_stands_ready(left);
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{left:?}\n{}", self.processes.logs());
        }
    }
}

fn names(directory: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f30_an_executor_killed_in_mid_step_goes_on_with_the_build_and_no_line_is_lost_or_told_twice() {
    let mut site = Site::triggered().await;
    for line in ["out 5", "err 20", "out 40"] {
        site.until(line);
        site.processes.kill("executor");
        site.processes.spawn("executor");
    }
    site.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_an_executor_told_to_stop_leaves_its_build_to_the_next_one_and_a_second_signal_loses_nothing() {
    let mut site = Site::triggered().await;
    site.until("out 5");
    site.processes.signal("executor", "-TERM");
    assert_eq!(site.processes.ended("executor"), Some(0), "{}", site.processes.logs());
    site.processes.spawn("executor");
    site.until("out 30");
    site.processes.signal("executor", "-TERM");
    site.processes.signal("executor", "-TERM");
    assert!(matches!(site.processes.ended("executor"), Some(0 | 130)), "{}", site.processes.logs());
    site.processes.spawn("executor");
    site.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_ended_while_nobody_listened_is_told_by_the_next_process() {
    let mut site = Site::triggered().await;
    site.until("out 5");
    site.processes.kill("hooks");
    let artifact = site.processes.path("data/artifacts").join(&site.id);
    let begun = Instant::now();
    while !artifact.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", site.processes.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.processes.kill("executor");
    site.processes.spawn("executor");
    site.processes.spawn("hooks");
    let begun = Instant::now();
    while !site.processes.cli(&["deployment", "show", &site.id]).status.success() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", site.processes.logs());
    }
    site.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f3_an_executor_killed_at_any_moment_of_a_build_leaves_one_artifact_and_nothing_else() {
    let mut site = Site::triggered().await;
    site.ended();
    let short = "echo only; mkdir dist && cp index.html dist/";
    site.processes.json(&["project", "update", "site", "--build", short]);
    for after in [0, 50, 120, 200, 300, 450, 600, 800] {
        site.id = site.processes.trigger(&site.url).await;
        tokio::time::sleep(Duration::from_millis(after)).await;
        site.processes.kill("executor");
        site.processes.spawn("executor");
        let deployment = site.ended();
        assert_eq!(deployment["state"], "DEPLOYMENT_STATE_READY", "{after}: {deployment}\n{}", site.log());
        assert!(site.processes.path("data/artifacts").join(&site.id).is_dir());
        let (log, attempts) = (site.log(), deployment["attempt"].as_u64().unwrap());
        let told = log.lines().filter(|line| *line == "only").count() as u64;
        assert!((1..=attempts).contains(&told), "{after}: {told} in {attempts}: {log}");
        site.nothing_is_left();
    }
}
