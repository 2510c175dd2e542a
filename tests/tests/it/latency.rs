//! How long things take that people wait for. The bounds are generous; the figures are printed.

use std::{
    fs,
    time::{Duration, Instant},
};

use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{
    BuildSettings, CreateProjectRequest, Step, WatchDeploymentRequest, deployment_event::Event,
};
use grapnel_runtime::Clock;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_a_line_soon_after_it_was_printed_and_a_build_begins_soon() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let lines = "for n in 1 2 3 4 5 6 7 8 9 10; do date +%s%N; sleep 0.1; done";
    let settings = BuildSettings { install_command: Some(lines.into()), ..Default::default() };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    // The first build warms up what the second one finds.
    grapnel.ready(&grapnel.trigger(&url).await).await;

    let clock = Clock::system();
    let asked = Instant::now();
    let id = grapnel.trigger(&url).await;
    let request = WatchDeploymentRequest { deployment_id: id, after_position: 0, ..Default::default() };
    let mut events = grapnel.client().watch_deployment(request).await.unwrap().into_inner();
    let mut first = None;
    let mut delays = Vec::new();
    while let Some(message) = events.message().await.unwrap() {
        let Some(Event::Log(log)) = message.event.unwrap().event else { continue };
        if log.step() != Step::Install {
            continue;
        }
        first.get_or_insert_with(|| asked.elapsed());
        let now = clock.now().timestamp_nanos_opt().unwrap();
        delays.extend(
            log.lines.iter().filter_map(|line| line.text.parse::<i64>().ok()).map(|printed| now - printed),
        );
    }
    delays.sort_unstable();
    let (median, worst) = (delays[delays.len() / 2] / 1_000_000, delays[delays.len() - 1] / 1_000_000);
    let first = first.expect("the install step printed something");
    let resident = resident_mib(grapnel.pid());
    println!(
        "first line {first:?} after the request; a line is seen after {median} ms (worst {worst}); {resident} MiB resident"
    );
    assert_eq!(delays.len(), 10);
    assert!(median < 300, "a line is seen after {median} ms");
    assert!(first < Duration::from_secs(3), "the first line came after {first:?}");
    assert!(resident < 120, "a debug build uses {resident} MiB");
}

fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
