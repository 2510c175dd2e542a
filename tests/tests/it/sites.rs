//! Real sites, from a hook's URL to the page.

use grapnel_e2e::{GitServer, Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vite_site_is_built_from_a_git_server_and_built_again_when_it_changes() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let repository = Repository::from_example(&grapnel.repositories().join("site"), "vite-site");
    let server = GitServer::start(&grapnel.repositories()).await.unwrap();
    let request = CreateProjectRequest {
        name: "harbour".into(),
        repository_url: server.url("site"),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    assert_eq!(grapnel.page("harbour", "/").await.status(), 404, "nothing is served before the first build");

    let first = grapnel.ready(&grapnel.trigger(&url).await).await;
    assert!(first.promoted);
    let page = grapnel.page("harbour", "/").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("<title>The Harbour Log</title>"));

    repository.write("content/site.json", r#"{"title":"Second edition","tagline":"","posts":[]}"#);
    repository.commit("Second edition");
    let second = grapnel.ready(&grapnel.trigger(&url).await).await;
    assert_ne!(first.commit, second.commit);
    // A gateway believes an address for a second at most.
    while !grapnel.page("harbour", "/").await.text().await.unwrap().contains("<title>Second edition</title>")
    {
    }
    let old = grapnel.page(&first.id, "/").await.text().await.unwrap();
    assert!(old.contains("<title>The Harbour Log</title>"), "an artifact never changes");
    assert_eq!(
        grapnel.page("harbour", "/anchor.svg").await.headers()["content-type"],
        "image/svg+xml; charset=utf-8"
    );
    assert_eq!(grapnel.page("harbour", "/../../etc/passwd").await.status(), 404);
    assert_eq!(grapnel.page("nothing", "/").await.status(), 404);
    grapnel.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mkdocs_site_is_built_with_what_pypi_has() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let repository = Repository::from_example(&grapnel.repositories().join("docs"), "mkdocs-site");
    let settings = BuildSettings {
        install_command: Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt".into()),
        build_command: Some(".venv/bin/mkdocs build".into()),
        output_directory: Some("site".into()),
        ..Default::default()
    };
    let request = CreateProjectRequest {
        name: "handbook".into(),
        repository_url: repository.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    grapnel.ready(&grapnel.trigger(&url).await).await;
    let page = grapnel.page("handbook", "/signals/").await;
    assert!(page.text().await.unwrap().contains("I want a pilot"));
    assert_eq!(grapnel.page("handbook", "/no-such-page").await.status(), 404);
    grapnel.nothing_is_left().await;
}
