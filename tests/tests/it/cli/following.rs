//! A log that is followed, over a line that is cut.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    time::Duration,
};

use grapnel_e2e::{
    Grapnel, Repository, Setup,
    faults::{Line, Quality},
};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest, DeploymentState};

/// A project whose build counts, five lines a second, and fails or not.
async fn counts_to(grapnel: &Grapnel, last: u32, then: &str) -> String {
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let build = format!("for i in $(seq 1 {last}); do echo line-$i; sleep 0.2; done; {then}");
    let settings = BuildSettings {
        build_command: Some(build),
        output_directory: Some(".".into()),
        ..Default::default()
    };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    grapnel.project(request).await.1
}

async fn line_before(grapnel: &Grapnel) -> Line {
    let port = grapnel.grpc().rsplit_once(':').unwrap().1.parse().unwrap();
    Line::before(port).await
}

/// Cuts a line until whoever uses it has felt it and tries again, or has ended.
async fn cut(line: &Line, user: &mut Child) {
    let asked = line.asked();
    line.make(Quality::Cut);
    let felt = async {
        while line.asked() == asked && user.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), felt).await.expect("nobody tries again");
    line.make(Quality::Good);
}

fn follow(grapnel: &Grapnel, line: &Line, id: &str) -> Child {
    let mut command = grapnel.command(&["deployment", "logs", "--follow", id]);
    command.env("GRAPNEL_URL", format!("http://127.0.0.1:{}", line.port()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads up to a line, with it.
fn read_to(lines: &mut impl Iterator<Item = std::io::Result<String>>, last: &str, seen: &mut Vec<String>) {
    for line in lines.by_ref() {
        let line = line.unwrap();
        let found = line == last;
        seen.push(line);
        if found {
            return;
        }
    }
    panic!("it ends before {last}: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_goes_on_where_the_line_was_cut_and_ends_with_its_deployment() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let url = counts_to(&grapnel, 40, "exit 3").await;
    let line = line_before(&grapnel).await;
    let id = grapnel.trigger(&url).await;
    let mut child = follow(&grapnel, &line, &id);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for last in ["line-5", "line-15"] {
        read_to(&mut lines, last, &mut seen);
        cut(&line, &mut child).await;
    }
    seen.extend(lines.map(Result::unwrap));
    let counted: Vec<_> = seen.iter().filter(|line| line.starts_with("line-")).cloned().collect();
    let expected: Vec<_> = (1..=40).map(|number| format!("line-{number}")).collect();
    assert_eq!(counted, expected, "{seen:#?}");
    assert!(seen.iter().any(|line| line.starts_with("[ERROR] BUILD_FAILED")), "{seen:#?}");
    assert_eq!(child.wait().unwrap().code(), Some(1), "its deployment failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stays_away_is_given_up_with_a_word_on_how_to_go_on() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let url = counts_to(&grapnel, 1_000, "true").await;
    let line = line_before(&grapnel).await;
    let id = grapnel.trigger(&url).await;
    let mut child = follow(&grapnel, &line, &id);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    read_to(&mut lines, "line-3", &mut Vec::new());
    line.make(Quality::Cut);
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{rest:?}");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains(&format!("grapnel deployment logs --follow {id}")), "{said}");

    assert!(grapnel.cli(&["deployment", "cancel", &id]).status.success());
    assert_eq!(grapnel.ended(&id).await.state(), DeploymentState::Canceled);
    let watched = grapnel.cli(&["deployment", "watch", &id]);
    assert_eq!(watched.status.code(), Some(1), "a canceled one is none that is READY");
    let told = String::from_utf8(watched.stdout).unwrap();
    assert!(told.contains("[CANCELED]") && !told.contains("line-1"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_followed_outlives_the_service() {
    let mut grapnel = Grapnel::start(Setup::default()).await;
    let url = counts_to(&grapnel, 40, "true").await;
    let id = grapnel.trigger(&url).await;
    let mut command = grapnel.command(&["deployment", "logs", "--follow", &id]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    read_to(&mut lines, "line-5", &mut seen);
    grapnel.kill();
    grapnel.start_again().await;
    seen.extend(lines.map(Result::unwrap));
    let counted: Vec<_> = seen.iter().filter(|line| line.starts_with("line-")).cloned().collect();
    let expected: Vec<_> = (1..=40).map(|number| format!("line-{number}")).collect();
    assert_eq!(counted, expected, "{seen:#?}");
    assert!(child.wait().unwrap().success(), "{seen:#?}");
}
