//! Build caches, as people and programs see them.

use std::process::Command;

use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{BuildSettings, CachedPaths, CreateProjectRequest, DeploymentState};
use serde_json::Value;

/// Fails where the last build's files are not as it left them; with `spoil` in the repository it spoils them and waits.
const BUILD: &str = "set -e; mkdir -p kept dist
if [ -e kept/file ]; then test \"$(cat kept/file)\" = kept; test \"$(cat /cache/tool)\" = tool; fi
if [ -e spoil ]; then rm -f /cache/tool; echo spoiled > kept/file; echo SPOILED; sleep 1000; fi
echo kept > kept/file; echo tool > /cache/tool; echo \"$DEPLOY_CACHE\" > dist/index.html";

async fn start() -> (Grapnel, Repository, String) {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("README", "hi")]);
    let settings = BuildSettings {
        build_command: Some(BUILD.into()),
        cached_paths: Some(CachedPaths { paths: vec!["kept".into()] }),
        ..Default::default()
    };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    (grapnel, site, url)
}

fn listed(grapnel: &Grapnel) -> Value {
    let output = grapnel.cli(&["cache", "list", "site", "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The digests of every file that is kept.
fn digests(grapnel: &Grapnel) -> String {
    let script = "find layers -type f | sort | xargs sha256sum";
    let caches = grapnel.data().join("caches");
    let output = Command::new("sh").args(["-c", script]).current_dir(caches).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_are_listed_told_of_and_purged() {
    let (grapnel, _site, url) = start().await;
    assert_eq!(listed(&grapnel), serde_json::json!({ "caches": [] }));
    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;
    let log = grapnel.cli(&["deployment", "logs", &id]);
    let log = String::from_utf8_lossy(&log.stdout);
    assert!(log.contains("cache miss: nothing is kept for this branch"), "{log}");
    assert!(log.contains("cache kept: the next build finds generation 1 (2 layers, "), "{log}");
    let kept = listed(&grapnel);
    assert_eq!(
        (&kept["caches"][0]["branch"], &kept["caches"][0]["layers"]),
        (&"main".into(), &2.into()),
        "{kept}"
    );

    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;
    let page = grapnel.page(&id, "/").await.text().await.unwrap();
    assert_eq!(page, "hit\n");
    assert_eq!(listed(&grapnel)["caches"][0]["generation"], "2");
    let table = String::from_utf8(grapnel.cli(&["cache", "list", "site"]).stdout).unwrap();
    assert!(table.contains("GENERATION") && table.contains("main"), "{table}");

    let purged = grapnel.cli(&["cache", "purge", "site", "--branch", "other"]);
    assert!(String::from_utf8_lossy(&purged.stdout).contains(": 0 caches"), "{purged:?}");
    let purged = grapnel.cli(&["cache", "purge", "site"]);
    assert!(String::from_utf8_lossy(&purged.stdout).contains(": 1 cache, "), "{purged:?}");
    assert_eq!(listed(&grapnel), serde_json::json!({ "caches": [] }));
    let id = grapnel.trigger(&format!("{url}?buildCache=true")).await;
    grapnel.ready(&id).await;
    assert_eq!(grapnel.page(&id, "/").await.text().await.unwrap(), "miss\n");
    grapnel.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_killed_with_its_executor_leaves_the_next_one_the_old_snapshot() {
    let (mut grapnel, site, url) = start().await;
    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;
    let before = digests(&grapnel);
    assert_eq!(before.lines().count(), 2, "{before}");
    site.write("spoil", "");
    site.commit("Spoil");
    let spoiling = grapnel.trigger(&url).await;
    let begun = std::time::Instant::now();
    while !String::from_utf8_lossy(&grapnel.cli(&["deployment", "logs", &spoiling]).stdout)
        .contains("SPOILED")
    {
        assert!(begun.elapsed().as_secs() < 60, "{}", grapnel.log());
    }
    grapnel.kill();
    grapnel.start_again().await;
    assert_eq!(digests(&grapnel), before);
    grapnel.cli(&["deployment", "cancel", &spoiling]);
    assert_eq!(grapnel.ended(&spoiling).await.state(), DeploymentState::Canceled);
    assert_eq!(digests(&grapnel), before);
    std::fs::remove_file(grapnel.repositories().join("site/spoil")).unwrap();
    site.commit("Do not");
    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;
    assert_eq!(grapnel.page(&id, "/").await.text().await.unwrap(), "hit\n");
    grapnel.nothing_is_left().await;
}
