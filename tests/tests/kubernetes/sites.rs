//! Sites come out of builds on any node.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_e2e::{Cluster, Repository};
use serde_json::Value;

use crate::{executor, only_on};

/// How long a cache that is on the node may take to be put in place.
const IN_PLACE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_example_site_is_built_on_each_node_and_finds_its_cache_there_and_from_the_other_one() {
    let cluster = Cluster::find().await;
    let (repository, address) = cluster.example("harbour", "vite-site");
    let url = cluster.hook("harbour", &address, &[]);
    let from_nothing = only_on(&cluster, "node1", async {
        let first = built_on("node1", &cluster, &url).await;
        assert!(cluster.log(&first).contains("cache miss"));
        finds_its_cache_in_place("node1", &cluster, &repository, &url).await;
        took(&cluster, &first, "STEP_INSTALL")
    })
    .await;
    let shared = || {
        let listed = cluster.cli(&["cache", "list", "harbour", "--output", "json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).ok()?;
        (listed["caches"][0]["shared"] == true).then_some(())
    };
    cluster.until(shared, || "it is not sent to the bucket".to_owned()).await;
    only_on(&cluster, "node2", async {
        let first = built_on("node2", &cluster, &url).await;
        let told = hit(&cluster.log(&first));
        assert!(told.contains("of it came from the bucket in"), "{told}");
        let waited = took(&cluster, &first, "STEP_CACHE");
        eprintln!("an install from nothing: {from_nothing:?}; on the other node: {told}, {waited:?} of it waited for");
        assert!(waited < from_nothing, "{waited:?} of {from_nothing:?}: {told}");
        finds_its_cache_in_place("node2", &cluster, &repository, &url).await;
    })
    .await;
    let page = cluster.page("harbour").await;
    assert!(page.contains("<title>"), "{page}");
    cluster.nothing_is_left().await;
}

async fn built_on(node: &str, cluster: &Cluster, url: &str) -> String {
    let id = cluster.trigger(url).await;
    let built = cluster.ready(&id).await;
    assert_eq!(executor(&built), node, "a cordoned node takes nothing new");
    id
}

/// Builds again what has changed.
async fn finds_its_cache_in_place(node: &str, cluster: &Cluster, repository: &Repository, url: &str) {
    repository.write("public/said.txt", node);
    repository.commit("Say where");
    let again = built_on(node, cluster, url).await;
    let told = hit(&cluster.log(&again));
    assert!(!told.contains("bucket"), "{told}");
    let took = told.rsplit(", ").next().and_then(|took| took.strip_suffix(" ms)"));
    let took = Duration::from_millis(took.expect("it says how long").parse().expect("a number"));
    assert!(took < IN_PLACE, "{told}");
}

fn hit(log: &str) -> String {
    log.lines().find(|line| line.starts_with("cache hit")).expect("it finds a cache").to_owned()
}

/// Returns how long a step has taken.
fn took(cluster: &Cluster, id: &str, step: &str) -> Duration {
    let told = cluster.cli(&["deployment", "logs", id, "--output", "json"]);
    let events = String::from_utf8_lossy(&told.stdout).into_owned();
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let times: Vec<DateTime<Utc>> = events
        .flat_map(|event| [event["stepStarted"].clone(), event["stepFinished"].clone()])
        .filter(|event| event["step"] == step)
        .filter_map(|event| event["at"].as_str()?.parse().ok())
        .collect();
    let [began, ended] = times.as_slice() else {
        panic!("it tells of the step {step} {} times", times.len())
    };
    (*ended - *began).to_std().expect("it ends after it begins")
}
