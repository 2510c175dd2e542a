//! Submodules, as good repositories and hostile ones have them.

use std::{fs, process::Command, time::Duration};

use grapnel_domain::{failure::FailureCode, source::SourceAccess};
use grapnel_e2e::{GitServer, Repository, SshKeyPair, SshServer};
use grapnel_executor::source::SourceError;
use tokio::net::TcpListener;

use crate::source_site::{Beside, SourceSite, Tree, with_key, with_token};

const SUBMODULES: Beside = Beside { submodules: true, lfs: false };

fn code(refused: &SourceError) -> FailureCode {
    refused.failure().code
}

fn head(repository: &Repository) -> String {
    output(&repository.path(), &["rev-parse", "HEAD"])
}

fn output(directory: &str, arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Puts a submodule into a repository as anybody can: a gitlink, and a section of `.gitmodules`.
fn link(repository: &Repository, path: &str, commit: &str, url: &str) {
    let file = fs::read_to_string(format!("{}/.gitmodules", repository.path())).unwrap_or_default();
    let section = format!("{file}[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
    repository.write(".gitmodules", &section);
    repository.git(&["add", ".gitmodules"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
    repository.git(&["commit", "--quiet", "--message", "Link"]);
}

async fn fetch(site: &SourceSite, url: &str) -> Result<Tree, SourceError> {
    site.fetch(url, &SourceAccess::default(), SUBMODULES).await
}

#[tokio::test]
async fn submodules_are_checked_out_at_their_commits_each_with_a_history_of_its_own() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    let inner = site.repository("inner", &[("inner.txt", "inner")]);
    let lib = site.repository("lib", &[("lib.txt", "lib")]);
    link(&lib, "deep/inner", &head(&inner), &server.url("inner"));
    let pinned = head(&lib);
    lib.write("lib.txt", "newer");
    lib.git(&["commit", "--quiet", "--all", "--message", "Newer"]);
    let top = site.repository("site", &[("index.html", "hi")]);
    link(&top, "vendor/lib", &pinned, "../../lib/.git");

    let url = server.url("site");
    let without = site.fetch(&url, &SourceAccess::default(), Beside::default()).await.unwrap();
    assert!(!without.has("vendor/lib/lib.txt"), "submodules are for who asks for them");
    let tree = fetch(&site, &url).await.unwrap();
    assert_eq!(tree.read("vendor/lib/lib.txt"), "lib");
    assert_eq!(tree.read("vendor/lib/deep/inner/inner.txt"), "inner");
    let module = tree.path.join("vendor/lib").display().to_string();
    assert_eq!(output(&module, &["rev-parse", "HEAD"]), pinned);
    assert_eq!(output(&module, &["remote", "get-url", "origin"]), server.url("lib"));
    assert!(!tree.read("vendor/lib/.git/config").contains("mirrors"));
    assert_eq!(
        tree.notes,
        [
            format!("submodule vendor/lib is at {}", &pinned[..12]),
            format!("submodule vendor/lib/deep/inner is at {}", &head(&inner)[..12]),
        ]
    );
    assert_eq!(output(&tree.path.display().to_string(), &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_commit_that_no_branch_has_any_more_is_fetched_where_the_server_gives_it_out() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    let lib = site.repository("lib", &[("lib.txt", "first")]);
    let pinned = head(&lib);
    lib.write("lib.txt", "rewritten");
    lib.git(&["commit", "--quiet", "--all", "--amend", "--message", "Rewrite"]);
    let top = site.repository("site", &[("index.html", "hi")]);
    link(&top, "lib", &pinned, &server.url("lib"));
    lib.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    assert_eq!(fetch(&site, &server.url("site")).await.unwrap().read("lib/lib.txt"), "first");

    link(&top, "gone", "0123456789012345678901234567890123456789", &server.url("lib"));
    let gone = fetch(&site, &server.url("site")).await.unwrap_err();
    assert_eq!(code(&gone), FailureCode::CommitNotFound);
    assert!(gone.to_string().starts_with("submodule `gone`: "), "{gone}");
}

#[tokio::test]
async fn private_submodules_are_fetched_with_the_same_credentials_and_say_so_where_they_cannot() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    let lib = site.repository("lib", &[("lib.txt", "private")]);
    let top = site.repository("site", &[("index.html", "hi")]);
    link(&top, "lib", &head(&lib), "../../lib/.git");
    server.protect("lib", "robot", "right-token");
    let right = with_token(&server.origin(), "robot", "right-token");
    let tree = site.fetch(&server.url("site"), &right, SUBMODULES).await.unwrap();
    assert_eq!(tree.read("lib/lib.txt"), "private");
    let none = fetch(&site, &server.url("site")).await.unwrap_err();
    assert_eq!(code(&none), FailureCode::RepositoryAccessDenied);
    let says = none.to_string();
    assert!(says.starts_with("submodule `lib`: ") && says.contains("credential create"), "{says}");

    let ssh = SshServer::start(&site.root());
    let key = SshKeyPair::generate();
    ssh.authorise(&key);
    let access = with_key(&ssh.origin(), &key, Some(ssh.known()));
    let tree = site.fetch(&ssh.url("site"), &access, SUBMODULES).await.unwrap();
    assert_eq!(tree.read("lib/lib.txt"), "private");
}

#[tokio::test]
async fn a_submodule_by_path_is_fetched_only_where_the_operator_allows_it() {
    let site = SourceSite::new();
    let open = SourceSite::limited(|config| config.allowed_dirs = vec![site.root()]);
    let lib = site.repository("lib", &[("lib.txt", "lib")]);
    let top = site.repository("site", &[("index.html", "hi")]);
    link(&top, "lib", &head(&lib), "../lib");
    assert_eq!(fetch(&open, &top.path()).await.unwrap().read("lib/lib.txt"), "lib");
    let outside = SourceSite::new();
    let other = outside.repository("other", &[("secret.txt", "secret")]);
    link(&top, "other", &head(&other), &other.path());
    let refused = fetch(&open, &top.path()).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::RepositoryRefused, "{refused}");
    assert!(refused.to_string().starts_with("submodule `other`: "), "{refused}");
}

#[tokio::test]
async fn a_submodule_whose_server_is_away_is_the_infrastructures_fault() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    let top = site.repository("site", &[("index.html", "hi")]);
    link(&top, "lib", &"1".repeat(40), "http://no-such-host.invalid/lib.git");
    let away = fetch(&site, &server.url("site")).await.unwrap_err();
    assert_eq!(code(&away), FailureCode::RepositoryUnreachable, "{away}");
    assert!(away.to_string().starts_with("submodule `lib`: "), "{away}");
}

#[tokio::test]
async fn what_is_no_gitlink_and_what_is_not_to_be_updated_is_left_out() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    let lib = site.repository("lib", &[("lib.txt", "lib")]);
    let top = site.repository("site", &[("index.html", "hi"), ("plain/file", "mine")]);
    let nobody = "[submodule \"plain\"]\n\tpath = plain\n\turl = ../../lib/.git\n[submodule \"nowhere\"]\n\tpath = nowhere\n\turl = ../../lib/.git\n";
    top.write(".gitmodules", nobody);
    link(&top, "none", &head(&lib), "../../lib/.git\n\tupdate = none");
    let tree = fetch(&site, &server.url("site")).await.unwrap();
    assert_eq!(tree.read("plain/file"), "mine");
    assert!(!tree.has("nowhere") && !tree.has("none/lib.txt"));
    assert!(tree.notes.is_empty(), "{:?}", tree.notes);
}

#[tokio::test]
async fn r3_hostile_addresses_of_submodules_are_refused_and_nothing_is_run() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    site.repository("lib", &[("lib.txt", "lib")]);
    let marker = site.directory.path().join("ran");
    for (index, url) in [
        format!("ext::sh -c touch% {}", marker.display()),
        "-oProxyCommand=id".to_owned(),
        "--upload-pack=id".to_owned(),
        "ssh://-oProxyCommand=id/x".to_owned(),
        site.root().join("lib").display().to_string(),
        format!("file://{}", site.root().join("lib").display()),
        "http://user:password@127.0.0.1/x".to_owned(),
        "../../../../../lib".to_owned(),
        "\"http://127.0.0.1/lib.git\\r\"".replace("\\r", "\r"),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("site{index}");
        let top = site.repository(&name, &[("index.html", "hi")]);
        link(&top, "lib", &"1".repeat(40), url);
        let refused = fetch(&site, &server.url(&name)).await.unwrap_err();
        // Git itself refuses some of them when it fetches.
        assert_eq!(code(&refused), FailureCode::RepositoryRefused, "{url}: {refused}");
    }
    assert!(!marker.exists(), "something ran");
}

#[tokio::test]
async fn r3_a_submodule_leads_to_nothing_private_but_the_projects_own_server() {
    let site = SourceSite::new();
    let (server, other) = (GitServer::start(&site.root()).await, GitServer::start(&site.root()).await);
    let (server, other) = (server.unwrap(), other.unwrap());
    let lib = site.repository("lib", &[("lib.txt", "lib")]);
    // Whoever owns a project there may fetch it, and then it is in a mirror.
    site.resolve(&other.url("lib"), &SourceAccess::default()).await.unwrap();
    let ours = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = ours.local_addr().unwrap().port();
    for (index, url) in [
        other.url("lib"),
        format!("http://127.0.0.1:{port}/lib.git"),
        format!("http://localhost:{port}/lib.git"),
        format!("ssh://git@127.0.0.1:{port}/lib.git"),
        "http://169.254.169.254/latest".to_owned(),
        "http://10.0.0.1/lib.git".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("site{index}");
        let top = site.repository(&name, &[("index.html", "hi")]);
        link(&top, "lib", &head(&lib), url);
        let refused = fetch(&site, &server.url(&name)).await.unwrap_err();
        assert_eq!(code(&refused), FailureCode::RepositoryRefused, "{url}: {refused}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(100), ours.accept()).await;
    assert!(nobody.is_err(), "somebody came");
}

#[tokio::test]
async fn r3_submodules_nested_without_end_are_given_up() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    let endless = site.repository("endless", &[("index.html", "hi")]);
    for _ in 0..12 {
        endless.git(&["rm", "--quiet", "--cached", "--ignore-unmatch", "again", ".gitmodules"]);
        let _ = fs::remove_file(format!("{}/.gitmodules", endless.path()));
        let before = head(&endless);
        link(&endless, "again", &before, "../.git");
    }
    let refused = fetch(&site, &server.url("endless")).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::RepositoryRefused);
    assert!(refused.to_string().contains("nested deeper than 8"), "{refused}");

    let lib = site.repository("lib", &[("lib.txt", "lib")]);
    let wide = site.repository("wide", &[("index.html", "hi")]);
    let mut modules = String::new();
    let mut index = String::new();
    for number in 0..202 {
        modules += &format!("[submodule \"m{number}\"]\n\tpath = m{number}\n\turl = ../../lib/.git\n");
        index += &format!("160000 {}\tm{number}\n", head(&lib));
    }
    wide.write(".gitmodules", &modules);
    wide.write("index", &index);
    wide.git(&["add", ".gitmodules"]);
    let fed = Command::new("sh")
        .args(["-c", "git update-index --index-info < index"])
        .current_dir(wide.path())
        .status();
    assert!(fed.unwrap().success());
    wide.git(&["commit", "--quiet", "--message", "Wide"]);
    let refused = fetch(&site, &server.url("wide")).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::RepositoryRefused);
    assert!(refused.to_string().contains("more than 200 submodules"), "{refused}");
}

#[tokio::test]
async fn r3_nothing_of_a_submodule_is_run_or_written_outside_its_own_directory() {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    let marker = site.directory.path().join("ran");
    let run = format!("touch {}", marker.display());
    let hook = format!("#!/bin/sh\n{run}\n");
    let lib = site.repository("lib", &[("post-checkout", hook.as_str())]);
    lib.write(".gitattributes", "* filter=evil\n");
    lib.commit("Attack");
    // Names that differ in case only, one of them a link into git's own directory: as in CVE-2024-32002.
    let top = site.repository("site", &[("index.html", "hi")]);
    std::os::unix::fs::symlink(".git", format!("{}/a", top.path())).unwrap();
    top.commit("A link");
    link(&top, "A/modules/x", &head(&lib), "../../lib/.git");
    let tree = fetch(&site, &server.url("site")).await.unwrap();
    assert!(tree.path.join("a").is_symlink(), "it stays a link");
    assert!(!tree.has(".git/modules") && tree.has("A/modules/x/post-checkout"));
    assert!(!marker.exists(), "something ran");

    // What git refuses to be told is the repository's fault.
    let update = site.repository("update", &[("index.html", "hi")]);
    link(&update, "lib", &head(&lib), &format!("../../lib/.git\n\tupdate = !{run}"));
    let refused = fetch(&site, &server.url("update")).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::RepositoryRefused, "{refused}");
    assert!(!marker.exists(), "something ran");
}
