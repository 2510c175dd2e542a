//! Repositories that are not everybody's: git's own http-backend behind Basic auth, and OpenSSH's own daemon.

use std::{fs, path::PathBuf, time::Duration};

use grapnel_domain::{failure::FailureCode, source::SourceAccess};
use grapnel_e2e::{GitServer, SshKeyPair, SshServer};
use grapnel_executor::source::{ScanError, SourceError};
use grapnel_runtime::CancellationToken;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::source_site::{Beside, SourceSite, with_key, with_token};

const TOKEN: &str = "tok/en:with@odd %characters";

fn code(refused: &SourceError) -> FailureCode {
    refused.failure().code
}

/// The directories of private files that an executor has now.
fn private_files(site: &SourceSite) -> Vec<PathBuf> {
    let prefix = private_prefix(site);
    let below = ["/dev/shm".into(), site.directory.path().join("mirrors/private")];
    let entries = below.iter().filter_map(|below| fs::read_dir(below).ok()).flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains(&prefix)).collect()
}

fn private_prefix(site: &SourceSite) -> String {
    use sha2::{Digest as _, Sha256};
    let own = site.directory.path().join("mirrors");
    format!("grapnel-{}-", &hex::encode(Sha256::digest(own.as_os_str().as_encoded_bytes()))[..16])
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{what}");
}

/// The command lines and environments of all processes but this one.
fn of_processes() -> String {
    let mut text = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let number: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if number.is_some_and(|number| number != std::process::id()) {
            for name in ["environ", "cmdline"] {
                text += &String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default());
            }
        }
    }
    text
}

#[tokio::test]
async fn a_private_repository_is_fetched_with_its_token_and_with_nothing_else() {
    let site = SourceSite::new();
    let repository = site.repository("site", &[("index.html", "private")]);
    let server = GitServer::start(&site.root()).await.unwrap();
    server.protect("site", "ro:bot", TOKEN);
    let url = server.url("site");
    let right = with_token(&server.origin(), "ro:bot", TOKEN);
    let tree = site.fetch(&url, &right, Beside::default()).await.unwrap();
    assert_eq!(tree.read("index.html"), "private");
    assert!(!tree.read(".git/config").contains('@'), "{}", tree.read(".git/config"));
    repository.write("index.html", "more");
    repository.commit("More");
    assert_eq!(site.fetch(&url, &right, Beside::default()).await.unwrap().read("index.html"), "more");

    let none = site.resolve(&url, &SourceAccess::default()).await.unwrap_err();
    assert_eq!(code(&none), FailureCode::RepositoryAccessDenied);
    assert!(none.to_string().contains("`grapnel credential create <project>`"), "{none}");
    let wrong = with_token(&server.origin(), "ro:bot", "wrong-token");
    let wrong = site.resolve(&url, &wrong).await.unwrap_err();
    assert_eq!(code(&wrong), FailureCode::RepositoryAccessDenied);
    let says = wrong.to_string();
    assert!(says.contains(&format!("refuses the credential for {}", server.origin())), "{says}");
    assert!(!says.contains("wrong-token") && !says.contains("bot"), "{says}");

    server.hide("site");
    let hidden = site.resolve(&url, &right).await.unwrap_err();
    assert_eq!(code(&hidden), FailureCode::RepositoryNotFound, "{hidden}");
    let nothing = site.resolve(&server.url("nothing"), &right).await.unwrap_err();
    assert_eq!(code(&nothing), FailureCode::RepositoryNotFound, "{nothing}");
}

#[tokio::test]
async fn a_branch_that_is_missing_in_a_private_repository_is_told_as_that() {
    let site = SourceSite::new();
    let repository = site.repository("site", &[("index.html", "private")]);
    repository.git(&["branch", "--quiet", "--move", "main", "trunk"]);
    let server = GitServer::start(&site.root()).await.unwrap();
    server.protect("site", "robot", TOKEN);
    let access = with_token(&server.origin(), "robot", TOKEN);
    let missing = site.resolve(&server.url("site"), &access).await.unwrap_err();
    assert_eq!(code(&missing), FailureCode::BranchNotFound);
    assert!(missing.to_string().contains("`main`"), "{missing}");
}

#[tokio::test]
async fn a_token_is_shown_to_its_own_origin_only() {
    let site = SourceSite::new();
    site.repository("site", &[("index.html", "hi")]);
    let (own, other) = (GitServer::start(&site.root()).await, GitServer::start(&site.root()).await);
    let (own, other) = (own.unwrap(), other.unwrap());
    own.protect("site", "robot", TOKEN);
    other.protect("site", "robot", TOKEN);
    let access = with_token(&own.origin(), "robot", TOKEN);
    for origin in [other.origin(), own.origin().replace("http://", "https://")] {
        let elsewhere = with_token(&origin, "robot", TOKEN);
        let refused = site.resolve(&own.url("site"), &elsewhere).await.unwrap_err();
        assert_eq!(code(&refused), FailureCode::RepositoryAccessDenied, "{origin}");
    }
    assert!(own.shown().iter().all(|shown| shown == "Basic Og=="), "{:?}", own.shown());
    site.resolve(&own.url("site"), &access).await.unwrap();
}

/// A server that wants the token, and then sends everybody elsewhere.
async fn redirecting_after_the_token(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/");
            let head = if request.to_lowercase().contains("\r\nauthorization:") {
                format!("302 Found\r\nLocation: {to}{path}")
            } else {
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"".to_owned()
            };
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_redirect_does_not_take_the_token_along() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let site = SourceSite::new();
    // Another port, another host, another transport: each is another origin.
    for to in
        [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}"), "https://192.0.2.1".into()]
    {
        let origin = redirecting_after_the_token(to.clone()).await;
        let access = with_token(&origin, "robot", TOKEN);
        let refused = site.resolve(&format!("{origin}/site.git"), &access).await.unwrap_err();
        assert!(matches!(refused, SourceError::LedElsewhere { .. }), "{to}: {refused:?}");
        assert!(refused.to_string().contains("where its credential is not taken"), "{refused}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(100), elsewhere.accept()).await;
    assert!(nobody.is_err(), "somebody came");
    assert_eq!(private_files(&site), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_one_teams_credential_fetched_is_no_other_teams() {
    let site = SourceSite::new();
    site.repository("site", &[("index.html", "private")]);
    let server = GitServer::start(&site.root()).await.unwrap();
    server.protect("site", "robot", TOKEN);
    let url = server.url("site");
    let owner = with_token(&server.origin(), "robot", TOKEN);
    let commit = site.resolve(&url, &owner).await.unwrap();
    let other = with_token(&server.origin(), "robot", "another");
    for access in [SourceAccess::default(), other] {
        let refused = site.checkout(&url, &access, &commit, Beside::default()).await.unwrap_err();
        assert_eq!(code(&refused), FailureCode::RepositoryAccessDenied, "{refused}");
    }
    site.checkout(&url, &owner, &commit, Beside::default()).await.unwrap();
}

#[tokio::test]
async fn a_private_repository_is_fetched_over_ssh_with_its_key_from_the_host_that_is_known() {
    let site = SourceSite::new();
    let repository = site.repository("site", &[("index.html", "private")]);
    let mut server = SshServer::start(&site.root());
    let (key, other) = (SshKeyPair::generate(), SshKeyPair::generate());
    server.authorise(&key);
    let (url, origin) = (server.url("site"), server.origin());
    let right = with_key(&origin, &key, Some(server.known()));
    let tree = site.fetch(&url, &right, Beside::default()).await.unwrap();
    assert_eq!(tree.read("index.html"), "private");
    repository.write("index.html", "more");
    repository.commit("More");
    assert_eq!(site.fetch(&url, &right, Beside::default()).await.unwrap().read("index.html"), "more");

    let nothing = site.resolve(&server.url("nothing"), &right).await.unwrap_err();
    assert_eq!(code(&nothing), FailureCode::RepositoryNotFound, "{nothing}");
    let wrong = with_key(&origin, &other, Some(server.known()));
    let wrong = site.resolve(&url, &wrong).await.unwrap_err();
    assert_eq!(code(&wrong), FailureCode::RepositoryAccessDenied, "{wrong}");
    assert!(wrong.to_string().contains("refuses the credential"), "{wrong}");
    let none = SourceAccess { known_hosts: vec![server.known()], ..SourceAccess::default() };
    let none = site.resolve(&url, &none).await.unwrap_err();
    assert_eq!(code(&none), FailureCode::RepositoryAccessDenied);
    assert!(none.to_string().contains("has none for it"), "{none}");

    let unknown = site.resolve(&url, &with_key(&origin, &key, None)).await.unwrap_err();
    assert_eq!(code(&unknown), FailureCode::HostKeyUnknown);
    let says = unknown.to_string();
    assert!(says.contains(&format!("127.0.0.1:{}", server.port())) && says.contains("trust-host"), "{says}");

    server.change_host_key();
    let changed = site.resolve(&url, &right).await.unwrap_err();
    assert_eq!(code(&changed), FailureCode::HostKeyChanged);
    assert!(changed.to_string().contains("HAS CHANGED"), "{changed}");
    let trusted = with_key(&origin, &key, Some(server.known()));
    site.resolve(&url, &trusted).await.unwrap();
    assert!(private_files(&site).is_empty());
}

#[tokio::test]
async fn what_a_git_host_says_over_ssh_is_told_apart() {
    let site = SourceSite::new();
    site.repository("site", &[("index.html", "private")]);
    let server = SshServer::start(&site.root());
    let key = SshKeyPair::generate();
    server.authorise(&key);
    let access = with_key(&server.origin(), &key, Some(server.known()));
    for (said, expected) in [
        ("ERROR: Repository not found.\n", FailureCode::RepositoryNotFound),
        ("Gitea: Cannot find repository: a/b\n", FailureCode::RepositoryNotFound),
        ("repository access denied.\n", FailureCode::RepositoryAccessDenied),
    ] {
        server.refuse_with(said);
        let refused = site.resolve(&server.url("site"), &access).await.unwrap_err();
        assert_eq!(code(&refused), expected, "{said}: {refused}");
    }
}

#[tokio::test]
async fn an_ssh_host_that_does_not_answer_is_unreachable() {
    let site = SourceSite::new();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("ssh://git@{gone}/site.git");
    let away = site.resolve(&url, &SourceAccess::default()).await.unwrap_err();
    assert_eq!(code(&away), FailureCode::RepositoryUnreachable, "{away}");
}

#[tokio::test]
async fn a_scan_shows_the_keys_that_a_host_has_and_says_where_there_is_none() {
    let site = SourceSite::new();
    let mut server = SshServer::start(&site.directory.path().join("git"));
    let cancel = CancellationToken::new();
    let scan = async |host: &str, port: u16| site.mirrors.scan_host(host, port, &cancel).await;
    assert_eq!(scan("127.0.0.1", server.port()).await.unwrap(), server.known().keys);
    let before = server.known();
    server.change_host_key();
    assert_ne!(scan("localhost", server.port()).await.unwrap(), before.keys);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let away = scan("127.0.0.1", gone).await;
    assert!(matches!(away, Err(ScanError::Unreachable(_))), "{away:?}");
    let metadata = scan("169.254.169.254", 22).await;
    assert!(matches!(metadata, Err(ScanError::Refused(_))), "{metadata:?}");
    let closed = SourceSite::limited(|config| config.closed_networks = vec!["127.0.0.0/8".parse().unwrap()]);
    let closed = closed.mirrors.scan_host("127.0.0.1", server.port(), &cancel).await;
    assert!(matches!(closed, Err(ScanError::Refused(_))), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s0_a_sources_secrets_are_in_no_process_no_mirror_and_nowhere_when_the_call_is_over() {
    let site = SourceSite::new();
    site.repository("site", &[("index.html", "private")]);
    let http = GitServer::start(&site.root()).await.unwrap();
    http.protect("site", "robot", "hunter2-hunter2");
    let token = with_token(&http.origin(), "robot", "hunter2-hunter2");
    let ssh = SshServer::start(&site.root());
    let pair = SshKeyPair::generate();
    ssh.authorise(&pair);
    let key = with_key(&ssh.origin(), &pair, Some(ssh.known()));
    let of_key = pair.private.lines().nth(2).unwrap().to_owned();
    let basic = "cm9ib3Q6aHVudGVyMi1odW50ZXIy".to_owned();
    let secrets = ["hunter2-hunter2".to_owned(), basic, of_key];
    let nowhere = |when: &str| {
        let processes = of_processes();
        for secret in &secrets {
            assert!(!processes.contains(secret.as_str()), "{when}: a secret is in a process's own words");
            assert_eq!(site.files_with(secret), Vec::<PathBuf>::new(), "{when}");
        }
    };
    for (url, access) in [(http.url("site"), &token), (ssh.url("site"), &key)] {
        for ending in ["success", "cancel", "drop"] {
            http.hold();
            ssh.hold();
            let cancel = CancellationToken::new();
            let resolving = site.resolve_until(&url, access, &cancel);
            let mut resolving = Box::pin(resolving);
            let ready = tokio::select! {
                early = &mut resolving => panic!("{early:?}"),
                () = until("a call is under way", || of_processes().contains(&url)
                    && !private_files(&site).is_empty()) => true,
            };
            assert!(ready);
            nowhere(ending);
            match ending {
                "success" => {
                    http.release();
                    ssh.release();
                    resolving.await.unwrap();
                }
                "cancel" => {
                    cancel.cancel();
                    assert_eq!(resolving.await.unwrap_err(), SourceError::Canceled);
                }
                _ => drop(resolving),
            }
            assert_eq!(private_files(&site), Vec::<PathBuf>::new(), "{url}, {ending}");
            http.release();
            ssh.release();
        }
    }
    let wrong = with_token(&http.origin(), "robot", "hunter3-hunter3");
    site.resolve(&http.url("site"), &wrong).await.unwrap_err();
    assert_eq!(private_files(&site), Vec::<PathBuf>::new(), "after a failure");
    nowhere("in the end");
}
