//! Builds that are cancelled are gone: their processes, and their pods.

use std::time::{Duration, Instant};

use grapnel_e2e::{Cluster, cluster::state};

use crate::pod_of;

/// How soon nothing may be left.
const GONE: Duration = Duration::from_secs(2);

/// How long it took until nothing of a cancelled build was there any more.
#[derive(Debug)]
struct Gone {
    processes: Duration,
    pod: Duration,
    final_state: Duration,
}

/// Cancels a deployment, and measures from before the request until its processes are gone, by their command line on the nodes;
/// until the API server has no such pod; and until the deployment says that it is cancelled.
async fn cancelled(cluster: &Cluster, id: &str, command: &str) -> Gone {
    let asked = Instant::now();
    cluster.cli(&["deployment", "cancel", id]);
    let pod = pod_of(id, 1);
    let (mut processes, mut gone, mut final_state) = (None, None, None);
    let is_over = |it: &serde_json::Value| state(it) == "CANCELED";
    while processes.is_none() || gone.is_none() || final_state.is_none() {
        assert!(asked.elapsed() < Duration::from_secs(60), "{processes:?} {gone:?} {final_state:?}");
        if processes.is_none() && cluster.on_node("1", &["pgrep", "-f", command]).is_empty() {
            processes = Some(asked.elapsed());
        }
        let named = ["-n", "grapnel-builds", "get", "pod", &pod, "--ignore-not-found", "-o", "name"];
        if gone.is_none() && cluster.kubectl(&named).is_empty() {
            gone = Some(asked.elapsed());
        }
        if final_state.is_none() && cluster.deployment(id).is_some_and(|it| is_over(&it)) {
            final_state = Some(asked.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unknown = Duration::MAX;
    Gone {
        processes: processes.unwrap_or(unknown),
        pod: gone.unwrap_or(unknown),
        final_state: final_state.unwrap_or(unknown),
    }
}

#[tokio::test]
async fn the_pods_of_cancelled_builds_are_gone_within_two_seconds_whether_they_run_or_wait() {
    let cluster = Cluster::find().await;
    let deaf = "trap '' TERM INT; echo begun; for i in 1 2 3; do exec -a cancel-mark sleep 600; done";
    let package = serde_json::json!({"scripts": {"build": deaf}}).to_string();
    let (_repository, address) = cluster.repository("cancel", &[("package.json", &package)]);
    let settings = ["--install", "true", "--build", &format!("bash -c \"{deaf}\"")];
    let url = cluster.hook("cancel", &address, &settings);

    let id = cluster.trigger(&url).await;
    cluster.says(&id, "begun").await;
    let mark = "cancel-[m]ark 600";
    assert!(!cluster.on_node("1", &["pgrep", "-f", mark]).is_empty(), "its processes are seen on the node");
    let running = cancelled(&cluster, &id, mark).await;

    cluster.kubectl(&["taint", "nodes", "--all", "kept=free:NoSchedule"]);
    let id = cluster.trigger(&url).await;
    cluster.says(&id, "Unschedulable").await;
    let waiting = cancelled(&cluster, &id, mark).await;
    cluster.kubectl(&["taint", "nodes", "--all", "kept:NoSchedule-"]);

    println!("a running one: {running:?}; a waiting one: {waiting:?}");
    for gone in [running, waiting] {
        assert!(gone.processes < GONE && gone.pod < GONE && gone.final_state < GONE, "{gone:?}");
    }
    cluster.nothing_is_left().await;
    cluster.nothing_is_left_on_nodes().await;
}
