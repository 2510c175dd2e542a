//! Which branches a repository has, as git really tells it.

use std::{fmt::Write as _, fs, time::Duration};

use grapnel_domain::{BranchName, RepositoryUrl, failure::FailureCode, source::SourceAccess};
use grapnel_e2e::{GitServer, Repository, SshKeyPair, SshServer};
use grapnel_executor::source::{Branches, Source, SourceConfig, SourceError};
use grapnel_runtime::CancellationToken;
use tokio::net::TcpListener;

use crate::source_site::{SourceSite, with_key, with_token};

const NOBODY: fn() -> SourceAccess = SourceAccess::default;

/// Mirrors of an executor whose operator allows the directory of the test's repositories.
fn site() -> SourceSite {
    SourceSite::limited(allow_own)
}

fn allow_own(config: &mut SourceConfig) {
    config.allowed_dirs = vec![config.mirrors.parent().unwrap().join("git")];
}

async fn ask(site: &SourceSite, url: &str, access: &SourceAccess) -> Result<Branches, SourceError> {
    let url = RepositoryUrl::parse(url).unwrap();
    site.mirrors.branches(Source::new(&url, access), &CancellationToken::new()).await
}

async fn refused(site: &SourceSite, url: &str, access: &SourceAccess) -> FailureCode {
    ask(site, url, access).await.unwrap_err().failure().code
}

fn names(branches: &Branches) -> Vec<&str> {
    branches.branches.iter().map(|(name, _)| name.as_str()).collect()
}

fn default(branches: &Branches) -> &str {
    branches.default_branch.as_ref().map(BranchName::as_str).unwrap_or_default()
}

#[tokio::test]
async fn branches_are_told_by_path_over_http_and_over_ssh_and_nothing_is_kept() {
    let site = site();
    let repository = site.repository("site", &[("index.html", "one")]);
    repository.git(&["branch", "--quiet", "release/2.0"]);
    repository.git(&["tag", "v1"]);
    repository.git(&["checkout", "--quiet", "-b", "Ünïcode"]);
    repository.write("index.html", "two");
    repository.commit("Two");
    // Somebody's branch that is called as git's own names are, and what is no branch.
    repository.git(&["update-ref", "refs/heads/x/HEAD", "main"]);
    repository.git(&["update-ref", "refs/pull/1/head", "main"]);
    repository.git(&["checkout", "--quiet", "main"]);
    let http = GitServer::start(&site.root()).await.unwrap();
    http.protect("site", "robot", "hunter2-hunter2");
    let ssh = SshServer::start(&site.root());
    let pair = SshKeyPair::generate();
    ssh.authorise(&pair);
    let token = with_token(&http.origin(), "robot", "hunter2-hunter2");
    let key = with_key(&ssh.origin(), &pair, Some(ssh.known()));
    for (url, access) in [(repository.path(), &NOBODY()), (http.url("site"), &token), (ssh.url("site"), &key)]
    {
        let found = ask(&site, &url, access).await.unwrap();
        assert_eq!(names(&found), ["main", "release/2.0", "x/HEAD", "Ünïcode"], "{url}");
        assert_eq!((default(&found), found.truncated), ("main", false), "{url}");
        let (main, other) = (&found.branches[0].1, &found.branches[3].1);
        assert_eq!((main.len(), main == other, main == &found.branches[1].1), (40, false, true), "{url}");
        let parsed = RepositoryUrl::parse(&url).unwrap();
        assert!(!site.mirrors.path_of(Source::new(&parsed, access)).exists(), "{url} was fetched");
    }
    repository.git(&["symbolic-ref", "HEAD", "refs/heads/release/2.0"]);
    let found = ask(&site, &repository.path(), &NOBODY()).await.unwrap();
    assert_eq!(default(&found), "release/2.0");
    repository.git(&["checkout", "--quiet", "--detach"]);
    let found = ask(&site, &repository.path(), &NOBODY()).await.unwrap();
    assert_eq!((default(&found), found.branches.len()), ("", 4), "it names none");
}

#[tokio::test]
async fn an_empty_repository_has_no_branches_and_that_is_no_error() {
    let site = site();
    let repository = Repository::empty(&site.root().join("empty"));
    let http = GitServer::start(&site.root()).await.unwrap();
    for url in [repository.path(), http.url("empty")] {
        assert_eq!(ask(&site, &url, &NOBODY()).await.unwrap(), Branches::default(), "{url}");
    }
}

#[tokio::test]
async fn of_very_many_branches_a_thousand_are_told_of_and_the_default_is_among_them() {
    let site = site();
    let repository = site.repository("site", &[("index.html", "one")]);
    let found = ask(&site, &repository.path(), &NOBODY()).await.unwrap();
    let commit = &found.branches[0].1;
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for number in 0..2_000 {
        // Long names: what git prints is cut before its end.
        writeln!(packed, "{commit} refs/heads/{number:04}/{}", "x/".repeat(120).trim_end_matches('/'))
            .unwrap();
    }
    fs::write(site.root().join("site/.git/packed-refs"), &packed).unwrap();
    let found = ask(&site, &repository.path(), &NOBODY()).await.unwrap();
    assert_eq!((found.branches.len(), found.truncated, default(&found)), (1_000, true, "main"));
    assert_eq!(names(&found)[..2].iter().map(|name| &name[..5]).collect::<Vec<_>>(), ["0000/", "0001/"]);
    assert!(found.branches.is_sorted());
    assert_eq!(found.branches.last().unwrap().0.as_str(), "main");
}

#[tokio::test]
async fn what_is_wrong_with_a_repository_is_told_as_for_a_deployment() {
    let site = site();
    site.repository("site", &[("index.html", "private")]);
    let http = GitServer::start(&site.root()).await.unwrap();
    http.protect("site", "robot", "hunter2-hunter2");
    let url = http.url("site");
    assert_eq!(refused(&site, &url, &NOBODY()).await, FailureCode::RepositoryAccessDenied);
    let wrong = ask(&site, &url, &with_token(&http.origin(), "robot", "hunter3-hunter3")).await.unwrap_err();
    assert_eq!(wrong.failure().code, FailureCode::RepositoryAccessDenied);
    assert!(!wrong.to_string().contains("hunter"), "{wrong}");
    assert_eq!(refused(&site, &http.url("nothing"), &NOBODY()).await, FailureCode::RepositoryNotFound);

    let ssh = SshServer::start(&site.root());
    let pair = SshKeyPair::generate();
    ssh.authorise(&pair);
    let unknown = with_key(&ssh.origin(), &pair, None);
    assert_eq!(refused(&site, &ssh.url("site"), &unknown).await, FailureCode::HostKeyUnknown);

    // Nobody listens there, and nobody else gets the port meanwhile.
    let unheard = tokio::net::TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = format!("http://{}/site.git", unheard.local_addr().unwrap());
    assert_eq!(refused(&site, &away, &NOBODY()).await, FailureCode::RepositoryUnreachable);
    let outside = tempfile::tempdir().unwrap();
    let outside = Repository::with(&outside.path().join("site"), &[("index.html", "secret")]);
    assert_eq!(refused(&site, &outside.path(), &NOBODY()).await, FailureCode::RepositoryRefused);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_when_its_branches_are_asked_for_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/site.git", listener.local_addr().unwrap());
    // Nobody takes the connection: the system holds it open.
    let hasty = SourceSite::limited(|config| config.timeout = Duration::from_secs(2));
    let given_up = ask(&hasty, &url, &NOBODY()).await.unwrap_err();
    assert_eq!(given_up.failure().code, FailureCode::RepositoryUnreachable, "{given_up}");
    assert!(given_up.to_string().contains("2 s"), "{given_up}");

    let (site, cancel) = (SourceSite::new(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = RepositoryUrl::parse(&format!("http://{}/site.git", listener.local_addr().unwrap())).unwrap();
    let access = NOBODY();
    let asking = site.mirrors.branches(Source::new(&url, &access), &cancel);
    let ending = async {
        let held = listener.accept().await.unwrap();
        cancel.cancel();
        held
    };
    let (ended, _held) = tokio::join!(asking, ending);
    assert_eq!(ended.unwrap_err(), SourceError::Canceled);
}

#[tokio::test]
async fn a_repository_around_the_executors_own_directory_says_nothing_of_where_to_go() {
    let site = site();
    let real = site.repository("real", &[("index.html", "real")]);
    let other = site.repository("other", &[("index.html", "other")]);
    other.git(&["branch", "--quiet", "of-the-other"]);
    let around = Repository::empty(site.directory.path());
    around.git(&["config", &format!("url.{}.insteadOf", other.path()), &real.path()]);
    let found = ask(&site, &real.path(), &NOBODY()).await.unwrap();
    assert_eq!(names(&found), ["main"]);
}
