//! Builds that take all they can get.

use std::time::{Duration, Instant};

use grapnel_e2e::Cluster;

use super::{attack, attacked, hook_of};
use crate::only_on;

/// What attacks may have.
const MEMORY: &str = "268435456";
const DISK: &str = "67108864";

#[tokio::test]
async fn b1_a_fork_bomb_in_a_pod_hits_the_limit_of_its_kubelet_and_others_go_on() {
    let cluster = Cluster::find().await;
    let neighbours =
        hook_of(&cluster, "b1-neighbour", "echo begun; for i in $(seq 80); do sleep 0.1; done", &[]);
    only_on(&cluster, "node1", async {
        let beside = cluster.trigger(&neighbours).await;
        cluster.says(&beside, "begun").await;
        let bomb =
            "f() { f | f & }; f; sleep 2; for i in 1 2 3; do bash -c true || echo refused; done; exit 4";
        let came = attacked(&cluster, "b1", bomb, &["--memory", MEMORY]).await;
        assert!(!came.is_ready(), "{}", came.log);
        came.says("Resource temporarily unavailable");
        let beside = cluster.ready(&beside).await;
        assert_eq!(beside["attempt"], 1, "{beside:#}");
    })
    .await;
    let after = attack(&cluster, "b1-after", "echo well", &[]).await;
    assert!(after.is_ready(), "{}", after.log);
}

#[tokio::test]
async fn b2_a_memory_bomb_in_a_pod_is_told_as_one_and_others_go_on() {
    let cluster = Cluster::find().await;
    let neighbours =
        hook_of(&cluster, "b2-neighbour", "echo begun; for i in $(seq 80); do sleep 0.1; done", &[]);
    only_on(&cluster, "node1", async {
        let beside = cluster.trigger(&neighbours).await;
        cluster.says(&beside, "begun").await;
        let bomb = "python3 -c 'x = [bytearray(1 << 24) for _ in range(1000)]'";
        for (name, script) in [("b2", bomb), ("b2-memory", "head -c 500M /dev/zero > /tmp/big; exit 3")] {
            let came = attacked(&cluster, name, script, &["--memory", MEMORY]).await;
            came.failed("OUT_OF_MEMORY");
            assert!(came.deployment["failure"].to_string().contains(MEMORY), "{:#}", came.deployment);
        }
        let beside = cluster.ready(&beside).await;
        assert_eq!(beside["attempt"], 1, "{beside:#}");
    })
    .await;
    cluster.nothing_is_left().await;
}

#[tokio::test]
async fn b3_a_pod_that_fills_its_workspace_or_its_cache_is_stopped_within_five_seconds() {
    let cluster = Cluster::find().await;
    for (name, script) in [
        ("b3", "echo begun; head -c 80M /dev/zero > big; sleep 60"),
        ("b3-cache", "echo begun; fallocate -l 80M /cache/big; sleep 60"),
    ] {
        let url = hook_of(&cluster, name, script, &["--disk", DISK]);
        let id = cluster.trigger(&url).await;
        cluster.says(&id, "begun").await;
        let begun = Instant::now();
        let deployment = cluster.ended(&id).await;
        let took = begun.elapsed();
        let came = super::Came { log: cluster.log(&id), deployment };
        came.failed("DISK_LIMIT");
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
    cluster.nothing_is_left().await;
    cluster.nothing_is_left_on_nodes().await;
}

#[tokio::test]
async fn b3_a_pod_can_write_to_no_other_disk_of_its_node() {
    let cluster = Cluster::find().await;
    // All that is not in memory and not the workspace, the cache, or the log of a step.
    let script = r#"
for place in $(cut -d' ' -f5 /proc/self/mountinfo) / /dev /etc /var /var/tmp /var/log /opt /usr /run /srv /mnt; do
    case $place in /workspace*|/cache*|/tmp|/home/builder|/dev/shm|/proc|/proc/*) continue ;; esac
    if [ -d "$place" ]; then target=$place/b3-file; else target=$place; fi
    (echo x >> "$target") 2>/dev/null || continue
    [ "$(stat -f -c %T "$target")" = tmpfs ] && [ -d "$place" ] && continue
    [ -c "$target" ] && continue
    echo "WRITTEN $target"
done
echo looked"#;
    let came = attack(&cluster, "b3-elsewhere", script, &[]).await;
    came.says("looked");
    assert!(!came.log.contains("WRITTEN"), "{}", came.log);
}
