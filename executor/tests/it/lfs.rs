//! Large files, pushed by the real `git lfs` to a server that can be wrong in the ways that servers are.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
    time::Duration,
};

use grapnel_domain::{failure::FailureCode, source::SourceAccess};
use grapnel_e2e::{GitServer, LfsFault, LfsStore, Repository, SshKeyPair, SshServer};
use grapnel_executor::source::SourceError;
use tokio::net::TcpListener;

use crate::source_site::{Beside, SourceSite, with_key, with_token};

const LFS: Beside = Beside { submodules: false, lfs: true };

fn code(refused: &SourceError) -> FailureCode {
    refused.failure().code
}

fn run(directory: &str, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=Editor", "-c", "user.email=editor@example.org"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a repository whose `*.bin` are large files, and pushes them by the real client.
fn push(site: &SourceSite, server: &GitServer, name: &str, login: &str) -> Repository {
    let repository =
        site.repository(name, &[(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")]);
    let path = repository.path();
    run(&path, &["lfs", "install", "--local", "--skip-repo"]);
    repository.write("small.txt", "small");
    repository.write("images/a.bin", &"a large file\n".repeat(10_000));
    repository.write("images/same.bin", &"a large file\n".repeat(10_000));
    repository.write("tool.bin", "#!/bin/sh\necho tool\n");
    fs::set_permissions(format!("{path}/tool.bin"), fs::Permissions::from_mode(0o755)).unwrap();
    repository.commit("Large files");
    let url = server.url(name).replace("http://", &format!("http://{login}"));
    run(&path, &["config", "lfs.locksverify", "false"]);
    run(&path, &["lfs", "push", "--all", &url]);
    repository
}

fn oid(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(text))
}

async fn served() -> (SourceSite, GitServer) {
    let site = SourceSite::new();
    let server = GitServer::start(&site.root()).await.unwrap();
    (site, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_are_what_the_real_client_pulls() {
    let (site, server) = served().await;
    server.protect("site", "robot", "right-token");
    push(&site, &server, "site", "robot:right-token@");
    let access = with_token(&server.origin(), "robot", "right-token");
    let tree = site.fetch(&server.url("site"), &access, LFS).await.unwrap();
    let clone = site.directory.path().join("clone");
    let url = server.url("site").replace("http://", "http://robot:right-token@");
    run(
        "/",
        &[
            "-c",
            "filter.lfs.smudge=",
            "-c",
            "filter.lfs.required=false",
            "clone",
            "--quiet",
            &url,
            clone.to_str().unwrap(),
        ],
    );
    run(clone.to_str().unwrap(), &["lfs", "install", "--local", "--skip-repo"]);
    run(clone.to_str().unwrap(), &["lfs", "pull"]);
    for name in ["images/a.bin", "images/same.bin", "tool.bin", "small.txt"] {
        let pulled = clone.join(name);
        assert_eq!(tree.read(name), fs::read_to_string(&pulled).unwrap(), "{name}");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&tree.path.join(name)), mode(&pulled), "{name}");
    }
    assert_eq!(tree.read("images/a.bin"), "a large file\n".repeat(10_000));
    assert_eq!(tree.notes, ["3 large files of 130020 bytes in all"]);

    let asked = server.lfs().downloads().len();
    let again = site.fetch(&server.url("site"), &access, LFS).await.unwrap();
    assert_eq!(again.read("tool.bin"), tree.read("tool.bin"));
    assert_eq!(server.lfs().downloads().len(), asked, "what is here is not fetched again");
    let without = site.fetch(&server.url("site"), &access, Beside::default()).await.unwrap();
    assert!(without.read("tool.bin").starts_with("version https://git-lfs"), "large files are for who asks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_of_submodules_come_from_their_own_repositories() {
    let (site, server) = served().await;
    push(&site, &server, "lib", "");
    let top = site.repository("site", &[("index.html", "hi")]);
    run(
        &top.path(),
        &[
            "-c",
            "protocol.file.allow=always",
            "-c",
            "filter.lfs.smudge=cat",
            "-c",
            "filter.lfs.process=",
            "-c",
            "filter.lfs.required=false",
            "submodule",
            "--quiet",
            "add",
            &server.url("lib"),
            "lib",
        ],
    );
    top.commit("Link");
    let both = Beside { submodules: true, lfs: true };
    let tree = site.fetch(&server.url("site"), &SourceAccess::default(), both).await.unwrap();
    assert_eq!(tree.read("lib/tool.bin"), "#!/bin/sh\necho tool\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_ssh_the_host_says_where_large_files_are_and_what_to_show_there() {
    let (site, server) = served().await;
    push(&site, &server, "site", "");
    server.protect("site", "lfs", "short-lived");
    let ssh = SshServer::start(&site.root());
    let key = SshKeyPair::generate();
    ssh.authorise(&key);
    let access = with_key(&ssh.origin(), &key, Some(ssh.known()));
    let basic = "Basic bGZzOnNob3J0LWxpdmVk";
    let href = format!("{}/info/lfs", server.url("site"));
    ssh.answer_lfs(&format!(r#"{{"href":"{href}","header":{{"Authorization":"{basic}"}}}}"#));
    let tree = site.fetch(&ssh.url("site"), &access, LFS).await.unwrap();
    assert_eq!(tree.read("tool.bin"), "#!/bin/sh\necho tool\n");
    assert!(server.shown().iter().any(|shown| shown == basic));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_is_not_what_its_pointer_says_is_refused_by_name() {
    let tool = oid("#!/bin/sh\necho tool\n");
    for (fault, says) in [
        (LfsFault::Missing, "does not have it"),
        (LfsFault::Sends(b"#!/bin/sh\necho evil\n".to_vec()), "something else"),
        (LfsFault::Sends(b"#!/bin/sh\necho tool\nand more".to_vec()), "more than its pointer says"),
        (LfsFault::Sends(b"#!/bin".to_vec()), "less than its pointer says"),
        (LfsFault::At("file:///etc/passwd".to_owned()), "none of the web's"),
        (LfsFault::At("no address".to_owned()), "an address that is none"),
    ] {
        let (site, server) = served().await;
        push(&site, &server, "site", "");
        server.lfs().spoil(&tool, fault.clone());
        let refused = site.fetch(&server.url("site"), &SourceAccess::default(), LFS).await.unwrap_err();
        assert_eq!(code(&refused), FailureCode::LargeFileUnavailable, "{fault:?}: {refused}");
        let text = refused.to_string();
        assert!(text.contains("`tool.bin`") && text.contains(says), "{fault:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_lead_to_nothing_private_and_take_no_credential_elsewhere() {
    let ours = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = ours.local_addr().unwrap().port();
    let tool = oid("#!/bin/sh\necho tool\n");
    for fault in [
        LfsFault::At("http://169.254.169.254/latest/meta-data".to_owned()),
        LfsFault::At(format!("http://127.0.0.1:{port}/x")),
        LfsFault::At(format!("http://localhost:{port}/x")),
        LfsFault::At(format!("http://[::ffff:127.0.0.1]:{port}/x")),
        LfsFault::RedirectsTo("http://169.254.169.254/latest/meta-data".to_owned()),
        LfsFault::RedirectsTo(format!("http://127.0.0.1:{port}/x")),
    ] {
        let (site, server) = served().await;
        push(&site, &server, "site", "");
        server.lfs().spoil(&tool, fault.clone());
        let refused = site.fetch(&server.url("site"), &SourceAccess::default(), LFS).await.unwrap_err();
        assert!(matches!(refused, SourceError::AddressRefused { .. }), "{fault:?}: {refused:?}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(100), ours.accept()).await;
    assert!(nobody.is_err(), "somebody came");

    // To where objects are, the same server, goes what the server named.
    let (site, server) = served().await;
    push(&site, &server, "site", "");
    site.fetch(&server.url("site"), &SourceAccess::default(), LFS).await.unwrap();
    let (name, ticket) = LfsStore::TICKET;
    let downloads = server.lfs().downloads();
    assert!(!downloads.is_empty() && downloads.iter().all(|headers| headers[name] == ticket));
    // A redirect on the same server is followed.
    let other = server.lfs();
    other.put("elsewhere", b"#!/bin/sh\necho tool\n");
    other.spoil(&tool, LfsFault::RedirectsTo(format!("{}elsewhere", LfsStore::OBJECTS)));
    let fresh = SourceSite::new();
    let tree = fresh.fetch(&server.url("site"), &SourceAccess::default(), LFS).await.unwrap();
    assert_eq!(tree.read("tool.bin"), "#!/bin/sh\necho tool\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_large_files_that_stalls_or_refuses_is_told_as_that() {
    let site = SourceSite::limited(|config| config.timeout = Duration::from_secs(5));
    let server = GitServer::start(&site.root()).await.unwrap();
    push(&site, &server, "site", "");
    server.lfs().spoil(&oid("#!/bin/sh\necho tool\n"), LfsFault::Stalls);
    let url = server.url("site");
    let stalled = site.fetch(&url, &SourceAccess::default(), LFS).await.unwrap_err();
    assert_eq!(code(&stalled), FailureCode::RepositoryUnreachable, "{stalled}");
    assert!(stalled.to_string().contains("5 s"), "{stalled}");

    // The mirror has the commit, and the server has closed the repository since.
    let commit = site.resolve(&url, &SourceAccess::default()).await.unwrap();
    server.protect("site", "robot", "right-token");
    let denied = site.checkout(&url, &SourceAccess::default(), &commit, LFS).await.unwrap_err();
    assert_eq!(code(&denied), FailureCode::RepositoryAccessDenied, "{denied}");
    let incoming = site.files_with("echo tool");
    assert_eq!(incoming, Vec::<std::path::PathBuf>::new(), "nothing half is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_have_the_size_limit_of_their_mirror() {
    let site = SourceSite::limited(|config| config.size_limit = 100_000);
    let server = GitServer::start(&site.root()).await.unwrap();
    push(&site, &server, "site", "");
    let refused = site.fetch(&server.url("site"), &SourceAccess::default(), LFS).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::RepositoryTooLarge, "{refused}");
    assert!(server.lfs().downloads().is_empty(), "nothing was fetched in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_pointers_and_lfsconfig_lead_nowhere_that_they_say() {
    let (site, server) = served().await;
    let repository = push(&site, &server, "site", "");
    let path = repository.path();
    let outside = site.directory.path().join("outside");
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 20\n",
        oid("#!/bin/sh\necho tool\n")
    );
    fs::write(&outside, &pointer).unwrap();
    symlink(&outside, format!("{path}/link.dat")).unwrap();
    symlink(site.directory.path(), format!("{path}/linked")).unwrap();
    repository.write("no-pointer.txt", &pointer.replace("sha256:", "sha256:../"));
    repository.write(".lfsconfig", "[lfs]\n\turl = http://169.254.169.254/lfs\n");
    repository.commit("Attack");
    let tree = site.fetch(&server.url("site"), &SourceAccess::default(), LFS).await.unwrap();
    assert_eq!(tree.read("tool.bin"), "#!/bin/sh\necho tool\n");
    assert_eq!(fs::read_to_string(&outside).unwrap(), pointer, "what a link leads to stays as it is");
    assert!(tree.path.join("link.dat").is_symlink());
    assert!(tree.read("no-pointer.txt").contains("sha256:../"));
    assert!(tree.notes.iter().any(|note| note.contains("`.lfsconfig` is not followed")), "{:?}", tree.notes);
}
