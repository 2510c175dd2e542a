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
    for (path, content) in BESIDE {
        repository.write(&format!("public/{path}"), content);
    }
    repository.commit("Second edition");
    let second = grapnel.ready(&grapnel.trigger(&url).await).await;
    assert_ne!(first.commit, second.commit);
    grapnel.page_says("harbour", "/", "<title>Second edition</title>").await;
    grapnel.page_says("harbour--main", "/", "<title>Second edition</title>").await;
    let old = grapnel.page(&first.id, "/").await.text().await.unwrap();
    assert!(old.contains("<title>The Harbour Log</title>"), "an artifact never changes");
    assert_eq!(
        grapnel.page("harbour", "/anchor.svg").await.headers()["content-type"],
        "image/svg+xml; charset=utf-8"
    );
    what_vite_has_named_is_kept_for_ever_and_the_rest_is_asked_for_again(&grapnel, &second.id).await;
    what_stands_beside_it_is_found_as_readers_expect(&grapnel, &second.id).await;
    assert_eq!(grapnel.page("harbour", "/../../etc/passwd").await.status(), 404);
    assert_eq!(grapnel.page("nothing", "/").await.status(), 404);
    grapnel.nothing_is_left().await;
}

/// What the second edition has beside what Vite makes.
const BESIDE: [(&str, &str); 6] = [
    ("404.html", "nothing is moored here"),
    ("about.html", "about"),
    ("docs/index.html", "the handbook"),
    ("tides.txt", "high, low, high, low"),
    ("tides.txt.br", "as if compressed"),
    (".draft.txt", "not for readers"),
];

async fn what_vite_has_named_is_kept_for_ever_and_the_rest_is_asked_for_again(grapnel: &Grapnel, id: &str) {
    let page = grapnel.page(id, "/").await;
    assert_eq!(page.headers()["cache-control"], "public, max-age=0, must-revalidate");
    let tag = page.headers()["etag"].clone();
    let page = page.text().await.unwrap();
    let known = grapnel.page_request(id, "/").header("if-none-match", tag).send().await.unwrap();
    assert_eq!(known.status(), 304);
    let named: Vec<_> = page.split('"').filter(|it| it.starts_with("/assets/")).collect();
    assert!(named.len() > 1, "a script and a style: {page}");
    for path in named {
        let file = grapnel.page(id, path).await;
        assert_eq!(file.status(), 200);
        assert!(file.headers()["content-type"].to_str().unwrap().ends_with("; charset=utf-8"));
        assert_eq!(file.headers()["cache-control"], "public, max-age=31536000, immutable", "{path}");
        let whole = file.bytes().await.unwrap();
        let part = grapnel.page_request(id, path).header("range", "bytes=1-3").send().await.unwrap();
        assert_eq!(part.status(), 206);
        assert_eq!(part.bytes().await.unwrap(), whole[1..4]);
    }
}

async fn what_stands_beside_it_is_found_as_readers_expect(grapnel: &Grapnel, id: &str) {
    for (path, status, content) in [
        ("/about", 200, "about"),
        ("/about.html", 200, "about"),
        ("/docs/", 200, "the handbook"),
        ("/tides.txt", 200, "high, low, high, low"),
        ("/.draft.txt", 404, "nothing is moored here"),
        ("/no-such-page", 404, "nothing is moored here"),
    ] {
        let answer = grapnel.page(id, path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(answer.text().await.unwrap(), content, "{path}");
    }
    let directory = grapnel.page(id, "/docs?from=tides").await;
    assert_eq!(
        (directory.status().as_u16(), &directory.headers()["location"]),
        (308, &"/docs/?from=tides".parse().unwrap())
    );
    let compressed =
        grapnel.page_request(id, "/tides.txt").header("accept-encoding", "gzip, br").send().await.unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "br");
    assert_eq!(compressed.headers()["vary"], "accept-encoding");
    assert_eq!(compressed.text().await.unwrap(), "as if compressed");
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
