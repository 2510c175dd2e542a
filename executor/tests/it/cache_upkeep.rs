//! The build cache over many builds: side by side, in a row, purged, copied, too large, and after a crash.

use std::{fs, time::Duration};

use grapnel_domain::{
    BranchName,
    build::BuildSpec,
    event::{BuildEvent, CacheAction, CacheOutcome, Outcome},
};
use grapnel_executor::{cache::Storage, disk};

use crate::{
    caches::{FIRST, log, reports},
    site::{Site, entries},
    support::obedient,
};

#[tokio::test]
async fn twenty_overlapping_builds_each_see_the_snapshot_they_started_with_and_one_generation_stands() {
    let site = Site::real(|_| {}).await;
    let first = "mkdir -p node_modules dist && echo 0 > node_modules/by && head -c 100000 /dev/urandom > node_modules/big";
    site.ready(&site.running(first)).await;
    let site = std::sync::Arc::new(site);
    let begun = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut running = tokio::task::JoinSet::new();
    for number in 1..=20 {
        let (site, begun) = (site.clone(), begun.clone());
        running.spawn(async move {
            let build = format!(
                "while [ ! -e /run/grapnel/link/go ]; do sleep 0.05; done; test $(cat node_modules/by) = 0 \
                 && test ! -e node_modules/of && echo {number} > node_modules/by && echo {number} > node_modules/of \
                 && test $(cat node_modules/by) = {number}"
            );
            let (outcome, _) = site
                .build_beside_others(&site.running(&build), |event, _| {
                    let has_its_cache =
                        matches!(event, BuildEvent::Cache(report) if report.action == CacheAction::Restored);
                    // All of them have it before any goes on.
                    if has_its_cache && begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 19 {
                        for workspace in entries(&site.pipeline.workspaces) {
                            fs::write(workspace.join("link/go"), "").unwrap();
                        }
                    }
                })
                .await;
            (number, outcome)
        });
    }
    while let Some(built) = running.join_next().await {
        let (number, outcome) = built.unwrap();
        assert!(matches!(outcome, Outcome::Ready { .. }), "{number}: {outcome:?}");
    }
    site.settled().await;
    let listed = site.pipeline.caches.list(None);
    assert_eq!((listed.len(), listed[0].snapshot.generation), (1, 21));
    let found = site.found_by_the_next();
    assert_eq!(found["workspace/node_modules/by"], found["workspace/node_modules/of"], "one build's, whole");
    site.nothing_is_left().await;
    site.nothing_is_orphaned();
    let on_disk = disk::usage(&site.caches_directory().join("layers")).await.unwrap() - 4096;
    assert_eq!(on_disk, listed[0].snapshot.bytes());
}

#[tokio::test]
async fn forty_builds_in_a_row_never_have_a_longer_chain_than_sixteen_and_see_everything() {
    let site = Site::real(|_| {}).await;
    let mut longest = 0;
    for number in 1..=40 {
        let build = format!(
            "test {number} = 1 || test \"$(ls node_modules | wc -l)\" = {}; mkdir -p node_modules/{number} dist \
             && echo {number} > node_modules/{number}/file && echo {number} > /cache/last",
            number - 1
        );
        let (restored, _) = site.ready(&site.running(&format!("set -e; {build}"))).await;
        let listed = site.pipeline.caches.list(None);
        longest = longest.max(listed[0].snapshot.workspace.len()).max(listed[0].snapshot.tools.len());
        assert_eq!(restored.outcome, if number == 1 { CacheOutcome::Miss } else { CacheOutcome::Hit });
    }
    assert!((2..=16).contains(&longest), "{longest}");
    let found = site.found_by_the_next();
    assert_eq!(found.keys().filter(|path| path.ends_with("/file")).count(), 40);
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn a_purge_while_a_build_runs_leaves_the_build_its_cache_and_keeps_nothing_of_it() {
    let site = Site::real(|_| {}).await;
    site.ready(&site.running(FIRST)).await;
    let build = "echo waiting; while [ -e node_modules/a/index.js ] && [ ! -e /run/grapnel/link/go ]; do sleep 0.05; done; \
        cat node_modules/a/index.js";
    let project = site.project.to_string();
    let (outcome, events) = site
        .build(&site.running(build), |event, _| {
            if log(std::slice::from_ref(event)).contains("waiting\n") {
                assert_eq!(site.pipeline.caches.purge(&project, None).0, 1);
                let workspace = &entries(&site.pipeline.workspaces)[0];
                fs::write(workspace.join("link/go"), "").unwrap();
            }
        })
        .await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
    let told = reports(&events);
    assert_eq!(told[1].action, CacheAction::NotKept);
    assert!(told[1].detail.contains("purged"), "{}", told[1].detail);
    assert_eq!(site.pipeline.caches.list(None), []);
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn copied_caches_do_what_mounted_ones_do() {
    let site = Site::real(|config| config.storage = Storage::Copy).await;
    let (_, kept) = site.ready(&site.running(FIRST)).await;
    assert_eq!(kept.layers, 2);
    let before = site.found_by_the_next();
    let spoil = "rm -rf node_modules/a /cache/tool; echo x > node_modules/x; exit 1";
    site.build(&site.running(spoil), |_, _| {}).await;
    assert_eq!(site.found_by_the_next(), before);
    let second = "cat node_modules/a/index.js /cache/tool && rm node_modules/a/index.js && echo three > node_modules/c";
    let (restored, kept) = site.ready(&site.running(second)).await;
    assert_eq!((restored.outcome, kept.layers), (CacheOutcome::Hit, 2));
    let found = site.found_by_the_next();
    assert!(
        found.contains_key("workspace/node_modules/c")
            && !found.contains_key("workspace/node_modules/a/index.js")
    );
    site.nothing_is_left().await;
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn an_engine_that_mounts_nothing_copies_and_says_so() {
    let site = Site::new(obedient()).await;
    let why = site.pipeline.caches.overlays().await.unwrap().unwrap_err();
    assert!(why.to_string().contains("mounts nothing"), "{why}");
    let site_of = "mkdir -p node_modules dist && date +%N >> node_modules/file && cp index.html dist/";
    site.ready(&site.running(site_of)).await;
    let (restored, _) = site.ready(&site.running(&format!("test -e node_modules/file && {site_of}"))).await;
    assert_eq!(restored.outcome, CacheOutcome::Hit);
}

#[tokio::test]
async fn caches_go_when_they_are_too_large_too_old_or_too_many() {
    let site = Site::real(|config| {
        config.key_bytes = 3 << 20;
        config.total_bytes = 5 << 20;
    })
    .await;
    let fill =
        |mib: u32| format!("mkdir -p node_modules dist && head -c {mib}M /dev/urandom > node_modules/big");
    site.ready(&site.running(&fill(2))).await;
    // Two generations of 2 MiB are more than the limit, and one is not: what is hidden does not count.
    let (_, kept) = site.ready(&site.running(&fill(2))).await;
    assert_eq!((kept.action, kept.layers), (CacheAction::Kept, 1), "{kept:?}");
    let (_, kept) = site.ready(&site.running(&fill(4))).await;
    assert_eq!(kept.action, CacheAction::NotKept);
    assert!(kept.detail.contains("the limit is 3145728"), "{}", kept.detail);
    let (restored, _) = site.ready(&site.running(&fill(2))).await;
    assert_eq!(restored.outcome, CacheOutcome::Miss, "the next one begins without");
    for name in ["one", "two"] {
        let branch = BranchName::parse(name).unwrap();
        site.ready(&BuildSpec { branch, production: false, use_cache: false, ..site.running(&fill(2)) })
            .await;
    }
    site.pipeline.caches.settled().await;
    let mut branches: Vec<_> =
        site.pipeline.caches.list(None).into_iter().map(|it| it.snapshot.key.branch).collect();
    branches.sort();
    assert_eq!(branches, ["one", "two"], "the one that was used longest ago went");
    site.nothing_is_orphaned();
    let site = site.reopen(|config| config.max_age = Duration::ZERO);
    assert_eq!(site.pipeline.caches.list(None).len(), 2);
    let stop = grapnel_runtime::CancellationToken::new();
    stop.cancel();
    site.pipeline.caches.clone().watch_over(stop).await;
    site.settled().await;
    assert_eq!(site.pipeline.caches.list(None), [], "nobody has used them for that long");
    site.nothing_is_orphaned();
}

#[tokio::test]
async fn what_a_dead_process_left_half_done_goes_at_the_next_start_and_snapshots_stay() {
    let site = Site::real(|_| {}).await;
    site.ready(&site.running(FIRST)).await;
    let before = site.found_by_the_next();
    let caches = site.caches_directory();
    for left in ["layers/0123456789abcdef/node_modules", "trash/x/y", "trial-1/lower", "0123/old"] {
        fs::create_dir_all(caches.join(left)).unwrap();
    }
    fs::write(caches.join("snapshots/torn.json"), "{\"form\":1,").unwrap();
    fs::write(caches.join("snapshots/x.new"), "").unwrap();
    let reopened = site.reopen(|_| {});
    assert_eq!(reopened.found_by_the_next(), before);
    reopened.pipeline.caches.settled().await;
    reopened.nothing_is_orphaned();
}

#[tokio::test]
async fn what_may_not_have_reached_the_disk_before_the_machine_went_down_is_not_believed() {
    let site = Site::real(|_| {}).await;
    site.ready(&site.running(FIRST)).await;
    let file = entries(&site.caches_directory().join("snapshots")).remove(0);
    let written = fs::read_to_string(&file).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(&file, written.replace(boot.trim(), "another")).unwrap();
    let reopened = site.reopen(|_| {});
    assert_eq!(reopened.pipeline.caches.list(None), []);
    reopened.settled().await;
    reopened.nothing_is_orphaned();

    // What has reached it is.
    reopened.ready(&reopened.running(FIRST)).await;
    let stop = grapnel_runtime::CancellationToken::new();
    let watching = tokio::spawn(reopened.pipeline.caches.clone().watch_over(stop.clone()));
    tokio::task::yield_now().await;
    stop.cancel();
    watching.await.unwrap();
    assert_eq!(reopened.pipeline.caches.list(None)[0].snapshot.boot, None);
}
