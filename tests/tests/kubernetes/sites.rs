//! Sites come out of builds on any node.

use std::time::Duration;

use grapnel_e2e::Cluster;

use crate::{executor, only_on};

#[tokio::test]
async fn the_example_site_is_built_on_each_node_and_finds_its_cache_there() {
    let cluster = Cluster::find().await;
    let (repository, address) = cluster.example("harbour", "vite-site");
    let url = cluster.hook("harbour", &address, &[]);
    for node in ["node1", "node2"] {
        only_on(&cluster, node, async {
            let first = cluster.trigger(&url).await;
            let first = cluster.ready(&first).await;
            assert_eq!(executor(&first), node);

            repository.write("public/said.txt", node);
            repository.commit("Say where");
            let second = cluster.trigger(&url).await;
            let built = cluster.ready(&second).await;
            assert_eq!(executor(&built), node, "a cordoned node takes nothing new");
            let log = cluster.log(&second);
            let hit = log.lines().find(|line| line.starts_with("cache hit")).expect("it finds its cache");
            let took = hit.rsplit(", ").next().and_then(|took| took.strip_suffix(" ms)"));
            let took = Duration::from_millis(took.expect("it says how long").parse().expect("a number"));
            assert!(took < Duration::from_millis(100), "{hit}");
        })
        .await;
    }
    let page = cluster.page("harbour").await;
    assert!(page.contains("<title>"), "{page}");
    cluster.nothing_is_left().await;
}
