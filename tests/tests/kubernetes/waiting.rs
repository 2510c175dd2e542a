//! What is in the way of a build is said where people look: in its log, within seconds, in the cluster's own words.

use std::time::Duration;

use grapnel_e2e::{Cluster, cluster::state};

use crate::pod_of;

/// How soon it has to be said.
const SOON: Duration = Duration::from_secs(5);

const PLAIN: &[(&str, &str)] =
    &[("package.json", r#"{"scripts":{"build":"mkdir dist && echo hi > dist/index.html"}}"#)];

#[tokio::test]
async fn a_quota_that_is_used_up_is_waited_for() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("quota", PLAIN);
    let url = cluster.hook("quota", &address, &[]);
    cluster.kubectl(&["-n", "grapnel-builds", "create", "quota", "none", "--hard=pods=0"]);
    let id = cluster.trigger(&url).await;
    let building = || cluster.deployment(&id).filter(|it| state(it) == "BUILDING");
    cluster.until(building, || cluster.log(&id)).await;
    let after = cluster.says(&id, "exceeded quota").await;
    cluster.kubectl(&["-n", "grapnel-builds", "delete", "quota", "none"]);
    assert!(after < SOON, "{after:?}");
    cluster.ready(&id).await;
}

#[tokio::test]
async fn a_node_that_lets_nothing_on_it_is_waited_for() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("taint", PLAIN);
    let url = cluster.hook("taint", &address, &[]);
    cluster.kubectl(&["taint", "nodes", "--all", "kept=free:NoSchedule"]);
    let id = cluster.trigger(&url).await;
    let building = || cluster.deployment(&id).filter(|it| state(it) == "BUILDING");
    cluster.until(building, || cluster.log(&id)).await;
    let after = cluster.says(&id, "Unschedulable: 0/2 nodes are available").await;
    cluster.kubectl(&["taint", "nodes", "--all", "kept:NoSchedule-"]);
    assert!(after < SOON, "{after:?}");
    cluster.ready(&id).await;
}

#[tokio::test]
async fn an_image_that_nobody_has_is_the_projects_fault() {
    let cluster = Cluster::find().await;
    let (_repository, address) = cluster.repository("image", PLAIN);
    let url = cluster.hook("image", &address, &["--image", "no/such:image"]);
    let id = cluster.trigger(&url).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(state(&ended), "ERROR");
    let told = ended.to_string();
    assert!(told.contains("IMAGE_MISSING") && told.contains("ErrImageNeverPull"), "{told}");
    let shown = cluster.cli(&["deployment", "show", &id]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("no/such:image"));
}

#[tokio::test]
async fn a_build_whose_pod_is_taken_away_begins_again() {
    let cluster = Cluster::find().await;
    let build = r#"{"scripts":{"build":"echo begun; sleep 8; mkdir dist && echo hi > dist/index.html"}}"#;
    let (_repository, address) = cluster.repository("taken", &[("package.json", build)]);
    let url = cluster.hook("taken", &address, &[]);
    let id = cluster.trigger(&url).await;
    cluster.says(&id, "begun").await;
    let pod = format!("pod/{}", pod_of(&id, 1));
    cluster.kubectl(&["-n", "grapnel-builds", "delete", &pod, "--wait=false"]);
    let ready = cluster.ready(&id).await;
    assert_eq!(ready["attempt"], 2, "{ready:#}");
    let log = cluster.log(&id);
    assert!(log.contains("the sandbox was taken away: somebody deleted its pod"), "{log}");
}
