//! What a git host is told of a deployment, from the command line to the page that it leads to.

use std::{fs, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use grapnel_e2e::{GitServer, Grapnel, Repository, Setup};
use serde_json::Value;
use tokio::sync::watch;

const TOKEN: &str = "status-token-that-nobody-may-see";

/// What a host was told: where, with what authorization, and what.
type Told = Arc<watch::Sender<Vec<(String, String, Value)>>>;

/// Starts a host that hears everything, and returns where its interface begins.
async fn git_host() -> (String, Told) {
    let told: Told = Arc::new(watch::channel(Vec::new()).0);
    let hears = async |State(told): State<Told>, uri: Uri, headers: HeaderMap, body: Bytes| {
        let shown = headers["authorization"].to_str().unwrap().to_owned();
        let body = serde_json::from_slice(&body).unwrap();
        told.send_modify(|told| told.push((uri.path().to_owned(), shown, body)));
        StatusCode::CREATED
    };
    let router = Router::new().fallback(hears).with_state(told.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/api/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (base, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_told_of_and_leads_to_a_page_and_the_token_is_seen_nowhere() {
    let grapnel = Grapnel::start(Setup::default().set("OUTBOUND_ALLOW", "127.0.0.0/8")).await;
    Repository::with(&grapnel.repositories().join("team/site"), &[("index.html", "hi")]);
    let server = GitServer::start(&grapnel.repositories()).await.unwrap();
    let (base, told) = git_host().await;
    let run = |arguments: &[&str]| {
        let output = grapnel.cli(arguments);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    run(&["project", "create", "harbour", "--repo", &server.url("team/site")]);
    let silent = run(&["status", "show", "harbour"]);
    assert!(silent.contains("no: the repository's host is none that everybody knows"), "{silent}");
    let file = grapnel.data().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let file = file.display().to_string();
    let set = ["status", "set", "harbour", "--host", "gitea", "--api-base", &base, "--token-file", &file];
    let shown = run(&set);
    for part in ["yes", "set by hand", "gitea", &base, "team/site", "given, …-see"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let id = run(&["deploy", "harbour", "--wait"]).lines().next().unwrap().to_owned();
    let mut hears = told.subscribe();
    let ended = hears.wait_for(|told| told.iter().any(|(.., body)| body["state"] == "success"));
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the end is not told").unwrap();
    let deployment = grapnel.until(&id, |it| it.commit_status.as_ref().is_some_and(|it| it.delivered)).await;
    let heard = told.borrow().clone();
    for (path, shown, body) in &heard {
        assert_eq!(path, &format!("/api/v1/repos/team/site/statuses/{}", deployment.commit));
        assert_eq!(shown, &format!("token {TOKEN}"));
        assert_eq!(body["context"], "grapnel/harbour");
    }
    let (.., last) = heard.last().unwrap();
    assert_eq!(last["state"], "success");
    assert!(last["description"].as_str().unwrap().starts_with("Ready in "), "{last}");
    let line = run(&["deployment", "show", &id]);
    assert!(line.contains("grapnel/harbour success") && line.contains("(told)"), "{line}");

    let url = last["target_url"].as_str().unwrap();
    let client = grapnel_e2e::http_client();
    let page = client.get(url).header("accept", "text/html,*/*;q=0.8").send().await.unwrap();
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("text/html"));
    assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!((header("cache-control"), header("vary")), ("no-store".into(), "Accept".into()));
    let page = page.text().await.unwrap();
    assert!(page.contains(&id) && page.contains(&deployment.site_url) && page.contains(">ready<"), "{page}");
    let json: Value = client.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((json["state"].as_str(), json["id"].as_str()), (Some("READY"), Some(id.as_str())));

    let all = [run(&["status", "show", "harbour", "--output", "json"]), grapnel.log(), line, shown];
    for text in all {
        assert!(!text.contains(TOKEN), "the token is seen: {text}");
    }
    for entry in fs::read_dir(grapnel.data()).unwrap().flatten().filter(|it| it.path().is_file()) {
        let bytes = fs::read(entry.path()).unwrap();
        let seen = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
        assert!(!seen || entry.file_name() == "token", "the token is in {:?}", entry.file_name());
    }
}
