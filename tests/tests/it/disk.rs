//! What was answered is on the disk: seen by a kernel that is slow to bring it there, or fails to.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use grapnel_e2e::{Grapnel, Repository, Setup, http_client};
use grapnel_proto::hooks::v1::{CreateProjectRequest, ListTriggersRequest};
use reqwest::{Response, StatusCode};

/// What SQLite, and what answers triggers, bring a file to the disk with.
const CALL: &str = "fdatasync";

/// A process whose calls of the kernel end otherwise than they would, until that is over.
struct Tampered {
    strace: Child,
    report: std::path::PathBuf,
}

impl Tampered {
    async fn with(grapnel: &Grapnel, how: &str) -> Self {
        let report = grapnel.repositories().join("calls");
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-p", &grapnel.pid().to_string(), "-o"])
            .arg(&report)
            .args(["-e", &format!("trace={CALL}"), "-e", &format!("inject={CALL}:{how}")])
            .stdin(Stdio::null())
            .spawn()
            .expect("strace is installed; `make setup` does that");
        let tampered = Self { strace, report };
        let begun = Instant::now();
        while !all_are_traced(grapnel.pid()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "strace does not hold the process");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tampered
    }

    /// Gives the process back, and returns the calls that it has made.
    fn over(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.strace.wait().unwrap();
        fs::read_to_string(&self.report).unwrap()
    }
}

/// Tells whether somebody follows each thread of a process.
fn all_are_traced(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .all(|status| !status.contains("TracerPid:\t0\n"))
}

/// A hook whose triggers are stored, and do nothing else for the time of a test.
async fn waiting_hook(grapnel: &Grapnel) -> String {
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request =
        CreateProjectRequest { name: "site".into(), repository_url: site.path(), ..Default::default() };
    let (_, url) = grapnel.project(request).await;
    let hooks = grapnel.cli(&["hook", "list", "site", "--output", "json"]);
    let hooks: serde_json::Value = serde_json::from_slice(&hooks.stdout).unwrap();
    let hook = hooks.pointer("/hooks/0/id").and_then(|it| it.as_str()).expect("there is a hook").to_owned();
    assert!(grapnel.cli(&["hook", "update", &hook, "--quiet-period", "10m"]).status.success());
    url
}

async fn post(url: &str) -> Response {
    http_client().post(url).send().await.unwrap()
}

async fn stored(grapnel: &Grapnel) -> usize {
    let request = ListTriggersRequest { project: "site".into(), ..Default::default() };
    grapnel.client().list_triggers(request).await.unwrap().into_inner().triggers.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_is_answered_when_it_is_on_the_disk_and_not_before() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let url = waiting_hook(&grapnel).await;
    assert_eq!(post(&url).await.status(), StatusCode::OK);
    let slow = Duration::from_millis(800);
    let tampered = Tampered::with(&grapnel, &format!("delay_enter={}", slow.as_micros())).await;
    let begun = Instant::now();
    let answered = tokio::spawn({
        let url = url.clone();
        async move { (post(&url).await.status(), begun.elapsed()) }
    });
    // The log has it at once, for everybody to see.
    while stored(&grapnel).await < 2 {
        assert!(begun.elapsed() < slow, "it is not stored before it is on the disk");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!answered.is_finished(), "it is answered before it is on the disk");
    let (status, took) = answered.await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(took >= slow, "answered after {took:?}, the disk takes {slow:?}");
    assert!(tampered.over().contains(CALL));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_cannot_be_brought_to_the_disk_is_not_said_to_be_stored() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let url = waiting_hook(&grapnel).await;
    let tampered = Tampered::with(&grapnel, "error=EIO").await;
    assert_refused(&url).await;
    assert!(tampered.over().contains("EIO"));
    let log = grapnel.log();
    assert!(log.contains("-wal: it cannot be brought to the disk: Input/output error"), "{log}");

    // The disk takes all again, and says nothing of what it has lost, so it is believed once the log was brought home and
    // begins anew.
    until_stored(&grapnel, &url).await;

    // Whoever reads keeps it from that: the first what is stored next from being brought home, the second the log that has it
    // from beginning anew.
    let first = Reader::of(&grapnel);
    assert_eq!(post(&url).await.status(), StatusCode::OK);
    let second = Reader::of(&grapnel);
    let tampered = Tampered::with(&grapnel, "error=EIO").await;
    assert_refused(&url).await;
    assert!(tampered.over().contains("EIO"));
    for _ in 0..3 {
        assert_refused(&url).await;
    }
    let log = grapnel.log();
    assert!(log.contains("the log has not begun anew since"), "{log}");
    first.over();
    second.over();
    until_stored(&grapnel, &url).await;
}

async fn until_stored(grapnel: &Grapnel, url: &str) {
    let begun = Instant::now();
    while post(url).await.status() != StatusCode::OK {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is stored any more: {}", grapnel.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_refused(url: &str) {
    let answer = post(url).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let said: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(said.pointer("/error/code").and_then(|it| it.as_str()), Some("unavailable"), "{said}");
}

/// A program that reads from the database, and keeps what it has seen.
struct Reader(Child);

impl Reader {
    fn of(grapnel: &Grapnel) -> Self {
        let read = "import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
database.execute('BEGIN')
database.execute('SELECT count(*) FROM sqlite_schema').fetchone()
print('reading', flush=True)
sys.stdin.read()";
        let mut reader = Command::new("python3")
            .args(["-c", read])
            .arg(grapnel.data().join("grapnel.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python 3 is installed");
        let mut said = String::new();
        BufReader::new(reader.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "reading\n");
        Self(reader)
    }

    /// Lets it end.
    fn over(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}
