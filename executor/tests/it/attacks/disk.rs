//! Builds against the disk.

use std::time::{Duration, Instant};

use grapnel_domain::{event::Outcome, failure::FailureCode};

use super::printed as log;
use crate::site::Site;

/// Runs a script that says when it is over its limit of 64 MiB, and returns how long it was let go on.
async fn stopped_within(
    site: &Site<grapnel_executor::engine::docker::DockerEngine>,
    script: &str,
) -> Duration {
    let mut spec = site.running(script);
    spec.settings.limits.disk_bytes = Some(64 << 20);
    let over = std::sync::Mutex::new(None);
    let (outcome, events) = site
        .build(&spec, |event, _| {
            if log(std::slice::from_ref(event)).contains("over\n") {
                over.lock().unwrap().get_or_insert_with(Instant::now);
            }
        })
        .await;
    let ended = over.lock().unwrap().map_or(Duration::ZERO, |over: Instant| over.elapsed());
    assert!(
        matches!(outcome, Outcome::Failed { ref failure } if failure.code == FailureCode::DiskLimit),
        "{outcome:?}\n{}",
        log(&events)
    );
    site.nothing_is_left().await;
    ended
}

#[tokio::test]
async fn b3_a_build_that_fills_its_workspace_or_its_cache_is_stopped_within_five_seconds() {
    let site = Site::real(|_| {}).await;
    for script in [
        "head -c 80M /dev/zero > big; echo over; sleep 60",
        "head -c 80M /dev/zero > /cache/big; echo over; sleep 60",
        "fallocate -l 80M big; echo over; sleep 60",
        "for n in $(seq 25000); do echo $n > small-$n; done; echo over; sleep 60",
    ] {
        let took = stopped_within(&site, script).await;
        assert!(took < Duration::from_secs(5), "{script}: {took:?}");
    }
}

#[tokio::test]
async fn b3_directories_deeper_than_any_path_are_counted_as_too_much() {
    let site = Site::real(|_| {}).await;
    let script = "python3 -c \"
import os
for _ in range(3000):
    os.mkdir('deep'); os.chdir('deep')
print('over', flush=True)
\"; sleep 60";
    let took = stopped_within(&site, script).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn b3_memory_that_holds_files_is_as_large_as_it_may_be() {
    let site = Site::real(|_| {}).await;
    let came = site.attack("head -c 500M /dev/zero > /tmp/big; head -c 500M /dev/zero > $HOME/big; du -sm /tmp/big $HOME/big; exit 3").await;
    assert!(
        matches!(came.failed(), Some((FailureCode::BuildFailed | FailureCode::OutOfMemory, _))),
        "{:?}\n{}",
        came.outcome,
        came.log
    );
}

#[tokio::test]
async fn the_memory_that_holds_files_is_the_builds_own() {
    let site = Site::real(|_| {}).await;
    let came = site
        .attack("for place in /tmp $HOME; do echo x > $place/x && echo $place-$((40+2)); done; exit 3")
        .await;
    for place in ["/tmp", "/home/builder"] {
        assert!(came.log.contains(&format!("{place}-42")), "{place}: {}", came.log);
    }
}

#[tokio::test]
async fn b11_outputs_that_cannot_be_published_are_refused_by_name() {
    let site = Site::real(|_| {}).await;
    for (script, code, says) in [
        ("mkdir dist && truncate -s 1T dist/sparse", FailureCode::OutputTooLarge, "bytes"),
        ("mkdir dist && truncate -s 3G dist/large", FailureCode::OutputTooLarge, "bytes"),
        (
            "mkdir dist && cd dist && python3 -c \"
for n in range(110000): open(str(n), 'w').close()\"",
            FailureCode::OutputTooLarge,
            "files",
        ),
        ("mkdir dist && ln -s /etc/passwd dist/x", FailureCode::OutputRefused, "`x`"),
        ("mkdir dist && ln -s ../../../ dist/up", FailureCode::OutputRefused, "`up`"),
        ("mkdir dist && mkfifo dist/pipe", FailureCode::OutputRefused, "`pipe`"),
        (
            "mkdir dist && python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('dist/s')\"",
            FailureCode::OutputRefused,
            "`s`",
        ),
        ("echo file > dist", FailureCode::OutputMissing, "dist"),
    ] {
        let mut spec = site.running("");
        spec.settings.build_command = Some(script.into());
        spec.settings.output_directory = grapnel_domain::project::RelativePath::parse("dist").ok();
        let (outcome, _) = site.build(&spec, |_, _| {}).await;
        let Outcome::Failed { failure } = outcome else { panic!("{script}: {outcome:?}") };
        assert_eq!(failure.code, code, "{script}: {failure}");
        assert!(failure.message.contains(says), "{script}: {failure}");
        site.nothing_is_left().await;
    }
}

#[tokio::test]
async fn b11_hard_links_and_odd_names_are_published_as_what_they_are_or_refused_by_name() {
    let site = Site::real(|_| {}).await;
    let mut spec = site.running("");
    let script = |names: &str| {
        format!(
            "mkdir dist && ln index.html dist/linked && cd dist && python3 -c '\nfor name in {names}: open(name, \"w\").write(\"x\")'"
        )
    };
    spec.settings.build_command = Some(script(
        r#"["<img src=x onerror=alert(1)>", "..\\..\\x", "\"quotes\" & more", "\u202etxt.exe"]"#,
    ));
    let (outcome, events) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { files: 5, .. }), "{outcome:?} {}", log(&events));
    for name in ["a\\r\\nSet-Cookie: x=y", "\\x1b[2J", "new\\nline"] {
        spec.id = site.spec().id;
        spec.settings.build_command = Some(script(&format!("[\"{name}\"]")));
        let (outcome, events) = site.build(&spec, |_, _| {}).await;
        let Outcome::Failed { failure } = outcome else { panic!("{name}: {outcome:?}") };
        assert_eq!(failure.code, FailureCode::OutputRefused, "{failure} {}", log(&events));
        assert!(failure.message.contains("control characters"), "{failure}");
    }
}
