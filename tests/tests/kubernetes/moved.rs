//! Processes of ours, and of the cluster's, come and go while builds run.

use std::time::Duration;

use grapnel_e2e::Cluster;
use tokio::time::Instant;

use crate::{executor, only_on};

/// A build that says a number every tenth of a second, so that a gap in its log is seen.
fn counting(to: u32) -> String {
    let count = format!(
        "for i in $(seq {to}); do echo line $i; sleep 0.1; done; mkdir dist && echo hi > dist/index.html"
    );
    serde_json::json!({"scripts": {"build": count}}).to_string()
}

/// Asserts that a log has every line of a build that counted, once and in order.
pub fn assert_whole(log: &str, to: u32) {
    let said: Vec<_> = log.lines().filter_map(|line| line.strip_prefix("line ")).collect();
    let wanted: Vec<_> = (1..=to).map(|number| number.to_string()).collect();
    assert_eq!(said, wanted, "{log}");
}

#[tokio::test]
async fn a_build_goes_on_where_its_executors_pod_is_replaced() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("replaced", &[("package.json", &counting(150))]);
    let url = cluster.hook("replaced", &address, &[]);
    let id = only_on(&cluster, "node1", async {
        let id = cluster.trigger(&url).await;
        cluster.says(&id, "line 20").await;
        id
    })
    .await;
    let on_node = "--field-selector=spec.nodeName=node1";
    let executors = "app.kubernetes.io/component=executor";
    cluster.kubectl(&["-n", "grapnel", "delete", "pod", "-l", executors, on_node, "--wait=false"]);
    let ready = cluster.ready(&id).await;
    assert_whole(&cluster.log(&id), 150);
    assert_eq!(ready["attempt"], 1, "{ready:#}");
    cluster.kubectl(&["-n", "grapnel", "rollout", "status", "daemonset/grapnel-executor", "--timeout=120s"]);
    cluster.executor_is("node1", "READY").await;
    cluster.nothing_is_left().await;
}

#[tokio::test]
async fn a_build_goes_on_while_the_clusters_api_server_and_its_store_are_away() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("plane", &[("package.json", &counting(100))]);
    let (url, other) = (cluster.hook("plane", &address, &[]), cluster.hook("plane-too", &address, &[]));
    let runs = cluster.trigger(&url).await;
    cluster.says(&runs, "line 20").await;
    cluster.script(&["plane-down"]);
    let began = Instant::now();
    let waits = cluster.trigger(&other).await;
    cluster.says(&runs, "line 100").await;
    cluster.says(&waits, "the sandbox waits").await;
    tokio::time::sleep_until(began + Duration::from_secs(60)).await;
    cluster.script(&["plane-up"]);
    for id in [&runs, &waits] {
        cluster.ready(id).await;
        assert_whole(&cluster.log(id), 100);
    }
    cluster.nothing_is_left().await;
}

#[tokio::test]
async fn the_builds_of_a_node_that_is_lost_are_made_again_on_another_one() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("lost", &[("package.json", &counting(100))]);
    let url = cluster.hook("lost", &address, &[]);
    let id = only_on(&cluster, "node2", async {
        let id = cluster.trigger(&url).await;
        cluster.says(&id, "line 20").await;
        id
    })
    .await;
    cluster.script(&["node-down", "2"]);
    let ready = cluster.ready(&id).await;
    assert_eq!((executor(&ready), &ready["attempt"]), ("node1", &serde_json::json!(2)), "{ready:#}");
    cluster.script(&["node-up", "2"]);
    cluster.executor_is("node2", "READY").await;
    cluster.nothing_is_left().await;
    let left = || {
        let below = "/var/lib/grapnel";
        let look = format!(
            "ls {below}/kubernetes/volumes {below}/workspaces | grep dpl_ | grep -v -e '-0'; grep -c {below}/kubernetes /proc/mounts"
        );
        cluster.on_node("2", &["sh", "-c", &look])
    };
    cluster.until(|| (left().trim() == "0").then_some(()), left).await;
}
