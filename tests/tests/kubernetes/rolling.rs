//! Everything of ours is rolled to another version while builds run and triggers come.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use grapnel_e2e::{Cluster, cluster::state};
use serde_json::json;

use crate::{executor, load::Load, moved::assert_whole};

const LINES: u32 = 60;

/// What is rolled.
const OURS: [&str; 3] =
    ["deployment/grapnel-hooks", "deployment/grapnel-gateway", "daemonset/grapnel-executor"];

/// Returns the image that is not the present one; both have the same in them.
fn next_image(cluster: &Cluster) -> &'static str {
    let image = "-o=jsonpath={.spec.template.spec.containers[0].image}";
    let present = cluster.kubectl(&["-n", "grapnel", "get", OURS[0], image]);
    if present == "grapnel:next" { "grapnel:test" } else { "grapnel:next" }
}

#[tokio::test]
async fn all_is_rolled_to_another_version_under_load_with_no_failed_build_no_gap_and_no_refused_trigger() {
    let cluster = Cluster::find().await;
    let count = format!("for i in $(seq {LINES}); do echo line $i; sleep 0.1; done");
    let mut load = Load::of(&cluster, "rolling", 8, &count, &[]);
    let (_repository, address) = cluster.repository("knocking", &[("dist/index.html", "hi")]);
    // One that only waits: what is asked for again takes its place.
    let knocking = cluster.hook_with("knocking", &address, &[], &["--quiet-period", "10m"]);
    let (mut ended, mut knocks) = (Vec::new(), 0);
    let image = next_image(&cluster);
    cluster.tag("grapnel:test", image);
    // Builds run before it begins, and are asked for until it is over.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        ended.extend(load.go_on(&cluster, usize::MAX, 1).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let rolled = Instant::now();
    for what in OURS {
        let container = format!("*={image}");
        cluster.kubectl(&["-n", "grapnel", "set", "image", what, &container]);
    }
    let mut rollouts: Vec<_> = OURS
        .into_iter()
        .map(|what| {
            let status = ["-n", "grapnel", "rollout", "status", what, "--timeout=170s"];
            Command::new("kubectl").args(status).stdout(Stdio::null()).spawn().expect("kubectl is there")
        })
        .collect();
    while !rollouts.is_empty() {
        rollouts.retain_mut(|rollout| match rollout.try_wait().expect("it can be waited for") {
            Some(status) => {
                assert!(status.success(), "it is not rolled out");
                false
            }
            None => true,
        });
        // A trigger that is not answered with 200 ends the test.
        cluster.trigger(&knocking).await;
        knocks += 1;
        ended.extend(load.go_on(&cluster, usize::MAX, 1).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let took = rolled.elapsed();
    while !load.is_over() {
        assert!(rolled.elapsed() < took + Duration::from_secs(120), "{:?}", load.asked());
        ended.extend(load.go_on(&cluster, 0, 0).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!("rolled in {took:?}, with {} builds and {knocks} other triggers", ended.len());
    assert_eq!(ended.len(), load.asked().len());
    assert!(ended.len() >= 12, "{}", ended.len());
    for deployment in &ended {
        let log = cluster.log(deployment["id"].as_str().expect("it has an id"));
        assert_eq!((state(deployment).as_str(), &deployment["attempt"]), ("READY", &json!(1)), "{log}");
        assert_whole(&log, LINES);
    }
    for node in ["node1", "node2"] {
        assert!(ended.iter().any(|deployment| executor(deployment) == node), "nothing was built on {node}");
        cluster.executor_is(node, "READY").await;
    }
    let images = "-o=jsonpath={.items[*].spec.containers[*].image}";
    let pods =
        cluster.kubectl(&["-n", "grapnel", "get", "pods", "-l", "app.kubernetes.io/name=grapnel", images]);
    assert!(pods.split_whitespace().all(|found| found == image), "{pods}");
    cluster.nothing_is_left().await;
    cluster.nothing_is_left_on_nodes().await;
}
