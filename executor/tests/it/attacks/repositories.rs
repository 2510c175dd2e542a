//! Repositories against the executor. What their content tries is in `sources.rs`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use grapnel_domain::{BranchName, RepositoryUrl, source::SourceAccess};
use grapnel_e2e::{GitServer, Repository};
use grapnel_executor::source::{self, Mirrors, Source, SourceConfig, SourceError};
use grapnel_runtime::CancellationToken;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

fn mirrors(directory: &TempDir, closed: &str) -> Arc<Mirrors> {
    source::open(SourceConfig {
        mirrors: directory.path().join("mirrors"),
        allowed_dirs: Vec::new(),
        ca_bundle: None,
        closed_networks: closed.split(',').filter_map(|network| network.parse().ok()).collect(),
        timeout: Duration::from_secs(30),
        size_limit: 1 << 30,
    })
    .unwrap()
}

async fn resolve(mirrors: &Mirrors, url: &str) -> Result<String, SourceError> {
    let (url, branch) = (RepositoryUrl::parse(url).unwrap(), BranchName::parse("main").unwrap());
    let (access, cancel) = (SourceAccess::default(), CancellationToken::new());
    let source = Source::new(&url, &access);
    let resolved = mirrors.resolve(source, &branch, &cancel).await.map(|version| version.commit);
    // Who only asks for branches goes the same way.
    let asked = mirrors.branches(source, &cancel).await;
    match (&resolved, &asked) {
        (Ok(commit), Ok(found)) => assert_eq!(&found.branches[0].1, commit),
        (Err(one), Err(other)) => assert_eq!(one.failure().code, other.failure().code, "{one} {other}"),
        (_, _) => panic!("{resolved:?} {asked:?}"),
    }
    resolved
}

/// A server that sends everybody elsewhere, and counts who comes.
async fn redirecting(to: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches("/r").to_owned();
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn r1_a_redirect_to_metadata_or_to_what_is_ours_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let mirrors = mirrors(&directory, "");
    let ours = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = ours.local_addr().unwrap().port();
    for to in [
        "http://169.254.169.254".to_owned(),
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        "http://10.0.0.1".to_owned(),
    ] {
        let address = redirecting(to.clone()).await;
        let refused = resolve(&mirrors, &format!("http://{address}/r/site.git")).await.unwrap_err();
        assert!(matches!(refused, SourceError::AddressRefused { .. }), "{to}: {refused:?}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(100), ours.accept()).await;
    assert!(nobody.is_err(), "somebody came");
}

#[tokio::test]
async fn r1_a_name_that_leads_to_a_closed_address_is_refused_whatever_its_transport() {
    let directory = tempfile::tempdir().unwrap();
    let mirrors = mirrors(&directory, "127.0.0.0/8,::1/128");
    for url in [
        "http://localhost:7301/x.git",
        "https://localhost/x.git",
        "ssh://git@localhost/x.git",
        "http://0.0.0.0:7301/x",
        "http://[::ffff:127.0.0.1]:7301/x",
    ] {
        let refused = resolve(&mirrors, url).await.unwrap_err();
        assert!(matches!(refused, SourceError::AddressRefused { .. }), "{url}: {refused:?}");
    }
    let missing = resolve(&mirrors, "http://no-such-host.invalid/x.git").await.unwrap_err();
    assert!(matches!(missing, SourceError::Unreachable { .. }), "{missing:?}");
}

#[tokio::test]
async fn r1_a_repository_on_this_machine_is_fetched_where_its_own_address_says_so() {
    let directory = tempfile::tempdir().unwrap();
    Repository::with(&directory.path().join("git/site"), &[("index.html", "hi")]);
    let server = GitServer::start(&directory.path().join("git")).await.unwrap();
    let mirrors = mirrors(&directory, "");
    assert_eq!(resolve(&mirrors, &server.url("site")).await.unwrap().len(), 40);
}
