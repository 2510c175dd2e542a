//! What is left of what was deleted.

use std::time::{Duration, Instant};

use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest, DeleteProjectRequest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_project_leaves_no_artifact_and_its_addresses_say_so() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request = |name: &str| CreateProjectRequest {
        name: name.into(),
        repository_url: site.path(),
        settings: Some(BuildSettings { output_directory: Some(".".into()), ..Default::default() }),
        ..Default::default()
    };
    let (_, kept) = grapnel.project(request("kept")).await;
    let (project, url) = grapnel.project(request("deleted")).await;
    let (kept, deleted) = (grapnel.trigger(&kept).await, grapnel.trigger(&url).await);
    grapnel.ready(&kept).await;
    grapnel.ready(&deleted).await;
    assert_eq!(grapnel.page(&deleted, "/").await.text().await.unwrap(), "hi");
    grapnel.client().delete_project(DeleteProjectRequest { project: project.id }).await.unwrap();
    let artifacts = grapnel.data().join("artifacts");
    let begun = Instant::now();
    while artifacts.join(&deleted).exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", grapnel.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Also where the gateway has served it before: it believes an address for a second.
    let gone = loop {
        let gone = grapnel.page(&deleted, "/").await;
        if gone.status() == 410 {
            break gone;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", gone.status());
    };
    assert!(gone.text().await.unwrap().contains("were removed"));
    assert_eq!(grapnel.page("deleted", "/").await.status(), 404);
    assert_eq!(grapnel.page(&kept, "/").await.text().await.unwrap(), "hi");
    assert!(artifacts.join(&kept).exists());
    let shown = String::from_utf8(grapnel.cli(&["deployment", "show", &deleted]).stdout).unwrap();
    assert!(shown.contains("removed") && !shown.contains("site "), "{shown}");
}
