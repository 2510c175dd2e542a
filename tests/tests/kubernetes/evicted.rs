//! Builds that the cluster takes away.

use grapnel_e2e::{Cluster, cluster::state};

use crate::{executor, only_on, pod_of};

const SLOW: &str = "echo begun; for i in $(seq 80); do sleep 0.1; done";

#[tokio::test]
async fn a_build_on_a_node_that_is_drained_is_made_again_on_another_and_says_why() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("drained", &[("dist/index.html", "hi")]);
    let url = cluster.hook("drained", &address, &["--install", "true", "--build", SLOW]);
    let id = only_on(&cluster, "node1", async {
        let id = cluster.trigger(&url).await;
        cluster.says(&id, "begun").await;
        id
    })
    .await;
    // Those of builds alone; ours are of controllers, and would be moved as well.
    let drain =
        ["drain", "node1", "--ignore-daemonsets", "--pod-selector=grapnel.deployment", "--timeout=60s"];
    // Their pods are nobody's, and have memory that is taken for data.
    for (given, missing) in [("--delete-emptydir-data", "--force"), ("--force", "--delete-emptydir-data")] {
        let refused = cluster.kubectl_fails(&[&drain[..], &[given]].concat());
        assert!(refused.contains(missing) && refused.contains(&pod_of(&id, 1)), "{refused}");
    }
    let drained = cluster.kubectl(&[&drain[..], &["--force", "--delete-emptydir-data"]].concat());
    assert!(drained.contains(&pod_of(&id, 1)), "{drained}");
    let ready = cluster.ready(&id).await;
    assert_eq!((executor(&ready), &ready["attempt"]), ("node2", &serde_json::json!(2)), "{ready:#}");
    let log = cluster.log(&id);
    assert!(log.contains("the sandbox was taken away: somebody deleted its pod"), "{log}");
    cluster.kubectl(&["uncordon", "node1"]);
    cluster.executor_is("node1", "READY").await;
    cluster.nothing_is_left().await;
    cluster.nothing_is_left_on_nodes().await;
}

#[tokio::test]
async fn a_build_that_its_kubelet_evicts_is_made_again_and_says_why_in_the_kubelets_words() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("evicted", &[("dist/index.html", "hi")]);
    // More than /tmp may hold, which is half of the memory: a kubelet of 1.20 finds it out when it looks.
    let fill = "head -c 160M /dev/zero > /tmp/big; echo full; for i in $(seq 600); do sleep 0.1; done";
    let settings = ["--install", "true", "--build", fill, "--memory", "268435456"];
    let url = cluster.hook("evicted", &address, &settings);
    let id = cluster.trigger(&url).await;
    let words = "[QUEUED] SANDBOX_LOST: the sandbox was taken away: Evicted: Usage of EmptyDir volume";
    cluster.says(&id, words).await;
    let again = || cluster.deployment(&id).filter(|it| it["attempt"] == 2 && state(it) == "BUILDING");
    cluster.until(again, || cluster.log(&id)).await;
    cluster.cli(&["deployment", "cancel", &id]);
    assert_eq!(state(&cluster.ended(&id).await), "CANCELED");
    cluster.nothing_is_left().await;
    cluster.nothing_is_left_on_nodes().await;
}
