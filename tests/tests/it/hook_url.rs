//! Every answer of a hook's URL, over real HTTP.

use grapnel_e2e::{Grapnel, Repository, Setup, http_client};
use grapnel_proto::hooks::v1::{CreateProjectRequest, ListDeploymentsRequest};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_gets_its_answer_and_only_accepted_ones_deploy() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request =
        CreateProjectRequest { name: "site".into(), repository_url: site.path(), ..Default::default() };
    let (project, url) = grapnel.project(request).await;
    let (base, token) = url.rsplit_once('/').unwrap();
    let other = "prj_01h455vb4pex5vsknk084sn02q";
    let hook = hook_id(&grapnel);

    let mut seen = Vec::new();
    let mut ask = async |what: &str, method: Method, url: String| {
        let answer = http_client().request(method, url).send().await.unwrap();
        let status = answer.status().as_u16();
        let kind =
            answer.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
        let code = body["error"]["code"].as_str().or_else(|| body["job"]["state"].as_str()).unwrap_or("-");
        seen.push(format!("{what:<28} {status} {code:<18} {kind}"));
    };
    ask("POST", Method::POST, url.clone()).await;
    ask("GET", Method::GET, url.clone()).await;
    ask("buildCache=false", Method::POST, format!("{url}?buildCache=false")).await;
    ask("buildCache=maybe", Method::POST, format!("{url}?buildCache=maybe")).await;
    ask("HEAD", Method::HEAD, url.clone()).await;
    ask("OPTIONS", Method::OPTIONS, url.clone()).await;
    ask("PUT", Method::PUT, url.clone()).await;
    ask("DELETE", Method::DELETE, url.clone()).await;
    ask("TRACE", Method::TRACE, url.clone()).await;
    ask("a method of its own", Method::from_bytes(b"DEPLOY").unwrap(), url.clone()).await;
    ask("a double slash", Method::POST, url.replace("/deploy/", "/deploy//")).await;
    ask("dots in the path", Method::POST, format!("{base}/%2e%2e/{token}")).await;
    ask("a path of 60 KiB", Method::POST, format!("{base}/{}", "x".repeat(60_000))).await;
    ask("another project's id", Method::POST, url.replace(&project.id, other)).await;
    ask("a prefix of the token", Method::POST, format!("{base}/{}", &token[..20])).await;
    ask("no token", Method::POST, format!("{base}/")).await;
    ask("a percent-encoded NUL", Method::POST, format!("{base}/%00")).await;
    ask("broken percent-encoding", Method::POST, format!("{base}/%ff%fe")).await;
    ask("nothing of the kind", Method::GET, grapnel.url("/v1/nothing")).await;
    assert!(grapnel.cli(&["hook", "pause", &hook]).status.success());
    ask("paused", Method::POST, url.clone()).await;
    assert!(grapnel.cli(&["hook", "resume", &hook]).status.success());
    ask("resumed", Method::POST, url.clone()).await;
    assert!(grapnel.cli(&["hook", "rotate", &hook]).status.success());
    ask("the old token in its grace", Method::POST, url.clone()).await;
    assert!(grapnel.cli(&["hook", "rotate", &hook, "--grace", "0"]).status.success());
    ask("a token that was replaced", Method::POST, url.clone()).await;
    assert!(grapnel.cli(&["hook", "revoke", &hook]).status.success());
    ask("revoked", Method::POST, url.clone()).await;
    insta::assert_snapshot!(seen.join("\n"));

    let request = ListDeploymentsRequest { project: project.id, ..Default::default() };
    let listed = grapnel.client().list_deployments(request).await.unwrap().into_inner();
    let accepted = seen.iter().filter(|line| line.contains(" 200 ")).count();
    assert_eq!(listed.deployments.len(), accepted);
    assert!(!grapnel.log().contains(&token[4..20]), "a token reached the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_is_no_reason_to_wait_or_refuse() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request =
        CreateProjectRequest { name: "site".into(), repository_url: site.path(), ..Default::default() };
    let (_, url) = grapnel.project(request).await;
    let (authority, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
    let head =
        format!("POST /{path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_exact(&mut answer)).await;
    read.expect("the answer does not wait for the rest of the body").unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_gibibyte_or_of_another_length_than_it_says_is_answered_all_the_same() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request =
        CreateProjectRequest { name: "site".into(), repository_url: site.path(), ..Default::default() };
    let (_, url) = grapnel.project(request).await;
    let (authority, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    for (announced, sent) in [(1 << 30, 4 << 20), (100, 10), (0, 100)] {
        let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
        let head = format!("POST /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut answers, mut body) = stream.into_split();
        // The connection may be closed before all of it is sent.
        let sending = tokio::spawn(async move {
            let _ = body.write_all(&vec![b'x'; sent]).await;
            body
        });
        let mut answer = vec![0; 12];
        let read = answers.read_exact(&mut answer);
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), read).await;
        read.expect("it is answered in time").unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200", "{announced} announced, {sent} sent");
        sending.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_or_senseless_are_refused() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let authority = grapnel.url("").trim_start_matches("http://").to_owned();
    let ask = async |head: String| {
        let mut stream = tokio::net::TcpStream::connect(&authority).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read =
            tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection is not closed");
        String::from_utf8_lossy(&answer).chars().take(12).collect::<String>()
    };
    let close = "host: x\r\nconnection: close\r\n";
    assert_eq!(
        ask(format!("GET / HTTP/1.1\r\n{close}a: {}\r\n\r\n", "x".repeat(80_000))).await,
        "HTTP/1.1 431"
    );
    let path = "x".repeat(80_000);
    assert!(matches!(
        ask(format!("GET /{path} HTTP/1.1\r\n{close}\r\n")).await.as_str(),
        "HTTP/1.1 414" | "HTTP/1.1 431"
    ));
    let headers: String = (0..1000).map(|n| format!("h{n}: x\r\n")).collect();
    assert_eq!(ask(format!("GET / HTTP/1.1\r\n{close}{headers}\r\n")).await, "HTTP/1.1 431");
    assert_eq!(
        ask(format!("POST / HTTP/1.1\r\n{close}content-length: 1\r\ncontent-length: 2\r\n\r\nx")).await,
        "HTTP/1.1 400"
    );
    assert_eq!(ask(format!("GET /../../x HTTP/1.1\r\n{close}\r\n")).await, "HTTP/1.1 404");
}

fn hook_id(grapnel: &Grapnel) -> String {
    let output = grapnel.cli(&["hook", "list", "site", "--output", "json"]);
    let hooks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    hooks["hooks"][0]["id"].as_str().unwrap().to_owned()
}
