//! Ends that are asked for.

use std::time::{Duration, Instant};

use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{BuildSettings, CancelReason, CreateProjectRequest, DeploymentState};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_runs_and_one_that_waits_end_when_asked_to() {
    let grapnel = Grapnel::start(Setup::default().set("EXECUTOR_SLOTS", "1")).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let settings =
        BuildSettings { build_command: Some("trap '' TERM; sleep 600".into()), ..Default::default() };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    let running = grapnel.trigger(&url).await;
    grapnel.until(&running, |it| it.state() == DeploymentState::Building).await;
    // At the same commit the newer one would take the place of the older.
    site.write("index.html", "hello");
    site.commit("Say hello");
    let waiting = grapnel.trigger(&url).await;
    grapnel.until(&waiting, |it| it.state() == DeploymentState::Queued).await;

    assert!(grapnel.cli(&["deployment", "cancel", &waiting]).status.success());
    let waiting = grapnel.deployment(&waiting).await;
    assert_eq!(waiting.state(), DeploymentState::Canceled, "what waits ends at once");
    assert_eq!(waiting.cancellation.unwrap().reason(), CancelReason::User);

    let asked = Instant::now();
    assert!(grapnel.cli(&["deployment", "cancel", &running]).status.success());
    let ended = grapnel.ended(&running).await;
    assert_eq!(ended.state(), DeploymentState::Canceled);
    assert!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
    grapnel.nothing_is_left().await;
    let again = grapnel.cli(&["deployment", "cancel", &running]);
    assert!(again.status.success(), "asking for what has ended is no error");
}
