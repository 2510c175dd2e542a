//! Repositories as git really has them, hostile ones among them.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use grapnel_domain::{BranchName, RepositoryUrl, failure::FailureCode, source::SourceAccess};
use grapnel_e2e::{GitServer, Repository};
use grapnel_executor::source::{self, Checkout, Mirrors, ResolvedVersion, Source, SourceConfig, SourceError};
use grapnel_runtime::CancellationToken;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A directory of repositories with the mirrors of one executor.
struct Sources {
    directory: TempDir,
    mirrors: Arc<Mirrors>,
}

impl Sources {
    fn new() -> Self {
        Self::limited(|_| {})
    }

    fn limited(limit: impl FnOnce(&mut SourceConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mirrors = mirrors(&directory, "mirrors", limit);
        Self { directory, mirrors }
    }

    fn repository(&self, name: &str) -> Repository {
        Repository::with(&self.path(name), &[("index.html", "one")])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("git").join(name)
    }

    async fn resolve(&self, url: &str) -> Result<ResolvedVersion, SourceError> {
        self.mirrors
            .resolve(
                Source::new(&address(url), &SourceAccess::default()),
                &main_branch(),
                &CancellationToken::new(),
            )
            .await
    }

    async fn checkout(&self, url: &str, commit: &str) -> Result<PathBuf, SourceError> {
        check_out(&self.mirrors, url, commit, &self.directory).await
    }
}

fn mirrors(directory: &TempDir, name: &str, limit: impl FnOnce(&mut SourceConfig)) -> Arc<Mirrors> {
    let mut config = SourceConfig {
        mirrors: directory.path().join(name),
        allowed_dirs: vec![directory.path().join("git")],
        ca_bundle: None,
        closed_networks: Vec::new(),
        timeout: Duration::from_secs(60),
        size_limit: 1 << 30,
    };
    limit(&mut config);
    source::open(config).unwrap()
}

async fn check_out(
    mirrors: &Mirrors,
    url: &str,
    commit: &str,
    below: &TempDir,
) -> Result<PathBuf, SourceError> {
    let tree = tempfile::tempdir_in(below.path()).unwrap().keep();
    let owner = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let cancel = CancellationToken::new();
    let (url, access) = (address(url), SourceAccess::default());
    let wanted = Checkout {
        source: Source::new(&url, &access),
        branch: &main_branch(),
        commit,
        directory: &tree,
        owner: (owner, group),
        submodules: false,
        lfs: false,
    };
    mirrors.checkout(wanted, &cancel).await?;
    Ok(tree)
}

fn address(url: &str) -> RepositoryUrl {
    RepositoryUrl::parse(url).unwrap()
}

fn main_branch() -> BranchName {
    BranchName::parse("main").unwrap()
}

fn read(tree: &Path, name: &str) -> String {
    fs::read_to_string(tree.join(name)).unwrap()
}

#[tokio::test]
async fn every_push_is_found_and_checked_out_by_path_and_over_http() {
    let sources = Sources::new();
    let repository = sources.repository("site");
    let server = GitServer::start(&sources.directory.path().join("git")).await.unwrap();
    for (index, url) in [repository.path(), server.url("site")].iter().enumerate() {
        let before = sources.resolve(url).await.unwrap();
        repository.write("index.html", &format!("two {index}"));
        repository.commit("Say two\n\nand more");
        let after = sources.resolve(url).await.unwrap();
        assert_ne!(before.commit, after.commit);
        assert_eq!(after.message, "Say two\n\nand more");
        let tree = sources.checkout(url, &after.commit).await.unwrap();
        assert_eq!(read(&tree, "index.html"), format!("two {index}"));
        let log = Command::new("git").args(["log", "--format=%H"]).current_dir(&tree).output().unwrap();
        assert!(String::from_utf8(log.stdout).unwrap().contains(&before.commit), "builds see history");
        let config = read(&tree, ".git/config");
        assert!(config.contains(url) && !config.contains("mirrors"), "{config}");
    }
}

#[tokio::test]
async fn a_commit_that_has_left_its_branch_is_still_checked_out() {
    let sources = Sources::new();
    let repository = sources.repository("site");
    let url = repository.path();
    let first = sources.resolve(&url).await.unwrap();
    repository.write("index.html", "rewritten");
    repository.git(&["commit", "--quiet", "--all", "--amend", "--message", "Rewrite"]);
    let second = sources.resolve(&url).await.unwrap();
    assert_ne!(first.commit, second.commit);
    assert_eq!(read(&sources.checkout(&url, &first.commit).await.unwrap(), "index.html"), "one");
    assert_eq!(read(&sources.checkout(&url, &second.commit).await.unwrap(), "index.html"), "rewritten");
    repository.git(&["checkout", "--quiet", "-b", "other"]);
    repository.git(&["branch", "--quiet", "-D", "main"]);
    assert_eq!(sources.resolve(&url).await.unwrap_err().failure().code, FailureCode::BranchNotFound);
    assert_eq!(read(&sources.checkout(&url, &second.commit).await.unwrap(), "index.html"), "rewritten");
}

#[tokio::test]
async fn a_commit_is_resolved_only_where_its_branch_has_it() {
    let sources = Sources::new();
    let repository = sources.repository("site");
    let url = repository.path();
    let first = sources.resolve(&url).await.unwrap().commit;
    repository.write("index.html", "two");
    repository.commit("Two");
    repository.git(&["checkout", "--quiet", "-b", "other"]);
    repository.write("index.html", "elsewhere");
    repository.commit("Elsewhere");
    let cancel = CancellationToken::new();
    let at = async |commit: &str| {
        let address = address(&url);
        sources
            .mirrors
            .resolve_at(
                Source::new(&address, &SourceAccess::default()),
                &main_branch(),
                Some(commit),
                &cancel,
            )
            .await
    };
    let resolved = at(&first).await.unwrap();
    assert_eq!((resolved.commit, resolved.message.as_str()), (first, "Begin"));
    let elsewhere = BranchName::parse("other").unwrap();
    let elsewhere = sources
        .mirrors
        .resolve(Source::new(&address(&url), &SourceAccess::default()), &elsewhere, &cancel)
        .await
        .unwrap()
        .commit;
    for wrong in [elsewhere.as_str(), "0123456789012345678901234567890123456789"] {
        let refused = at(wrong).await.unwrap_err();
        assert_eq!(refused.failure().code, FailureCode::CommitNotFound, "{refused}");
        assert!(refused.to_string().contains(wrong) && refused.to_string().contains("`main`"), "{refused}");
    }
}

#[tokio::test]
async fn an_executor_that_did_not_resolve_a_commit_fetches_it_itself() {
    let sources = Sources::new();
    let repository = sources.repository("site");
    let url = repository.path();
    let commit = sources.resolve(&url).await.unwrap().commit;
    let other = mirrors(&sources.directory, "other", |_| {});
    let tree = check_out(&other, &url, &commit, &sources.directory).await.unwrap();
    assert_eq!(read(&tree, "index.html"), "one");

    let nowhere = "0123456789012345678901234567890123456789";
    let gone = check_out(&other, &url, nowhere, &sources.directory).await.unwrap_err();
    assert_eq!(gone.failure().code, FailureCode::CommitNotFound, "{gone}");
    assert!(gone.to_string().contains(nowhere), "{gone}");
}

#[tokio::test]
async fn a_mirror_that_is_broken_is_made_anew() {
    let sources = Sources::new();
    let repository = sources.repository("site");
    let url = repository.path();
    sources.resolve(&url).await.unwrap();
    let mirror = sources.mirrors.path_of(Source::new(&address(&url), &SourceAccess::default()));
    fs::write(mirror.join("config"), "[core\nnonsense").unwrap();
    repository.write("index.html", "two");
    repository.commit("Two");
    let version = sources.resolve(&url).await.unwrap();
    assert_eq!(read(&sources.checkout(&url, &version.commit).await.unwrap(), "index.html"), "two");
}

#[tokio::test]
async fn nothing_of_a_hostile_repository_is_run_and_its_links_are_not_followed() {
    let sources = Sources::new();
    let repository = Repository::empty(&sources.path("hostile"));
    let marker = sources.directory.path().join("ran");
    let run = format!("touch {}", marker.display());
    repository.write("index.html", "hi");
    repository.write(".gitattributes", "* filter=evil diff=evil merge=evil\n");
    repository.write(".gitmodules", &format!("[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c {run}\n"));
    repository.write(".lfsconfig", &format!("[lfs]\n\turl = ext::sh -c {run}\n"));
    // A bare repository within, whose configuration runs a program.
    repository.write("nested/HEAD", "ref: refs/heads/main\n");
    repository
        .write("nested/config", &format!("[core]\n\tbare = false\n\tworktree = .\n\tfsmonitor = {run}\n"));
    repository.write("nested/objects/x", "");
    repository.write("nested/refs/x", "");
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    for (name, target) in
        [("root", "/"), ("up", "../../.."), ("proc", "/proc/self/root"), ("secret", secret.to_str().unwrap())]
    {
        symlink(target, sources.path("hostile").join(name)).unwrap();
    }
    repository.commit("Attack");

    let url = repository.path();
    let commit = sources.resolve(&url).await.unwrap().commit;
    let before = (fs::metadata("/").unwrap().uid(), fs::metadata(&secret).unwrap().ctime_nsec());
    let tree = sources.checkout(&url, &commit).await.unwrap();
    assert!(!marker.exists(), "something of the repository ran");
    assert!(tree.join("root").is_symlink() && tree.join("secret").is_symlink());
    assert_eq!(before, (fs::metadata("/").unwrap().uid(), fs::metadata(&secret).unwrap().ctime_nsec()));
    assert_eq!(read(&tree, "index.html"), "hi");
}

#[tokio::test]
async fn a_trap_that_git_knows_is_the_repositorys_fault_and_is_named() {
    let sources = Sources::new();
    let repository = sources.repository("trap");
    repository.write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = x\n\tupdate = !id\n");
    repository.commit("Trap");
    let refused = sources.resolve(&repository.path()).await.unwrap_err();
    assert_eq!(refused.failure().code, FailureCode::RepositoryRefused, "{refused}");
    assert!(refused.to_string().contains("gitmodulesUpdate"), "{refused}");
}

#[tokio::test]
async fn odd_names_and_deep_paths_survive_a_checkout() {
    let sources = Sources::new();
    let repository = Repository::empty(&sources.path("odd"));
    let names =
        ["\u{1b}[2J", "line\nbreak", "\u{202e}rtl", "-rf", "--upload-pack=x", " ", &"n".repeat(255), "a*b?"];
    for name in names {
        repository.write(name, name);
    }
    repository.write(&format!("{}deep", "d/".repeat(300)), "deep");
    repository.commit("\u{1b}[31mred\u{7}\nsecond line");
    let version = sources.resolve(&repository.path()).await.unwrap();
    assert_eq!(version.message, "[31mred\nsecond line", "a message cannot write to a terminal");
    let tree = sources.checkout(&repository.path(), &version.commit).await.unwrap();
    for name in names {
        assert_eq!(read(&tree, name), name);
    }
    assert_eq!(read(&tree, &format!("{}deep", "d/".repeat(300))), "deep");
}

#[tokio::test]
async fn a_repository_over_the_limit_is_refused_and_not_kept() {
    let sources = Sources::limited(|config| config.size_limit = 1 << 20);
    let repository = sources.repository("large");
    let noise: String = (0..400_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    repository.write("noise", &noise);
    repository.commit("Noise");
    let refused = sources.resolve(&repository.path()).await.unwrap_err();
    assert_eq!(refused.failure().code, FailureCode::RepositoryTooLarge, "{refused}");
    assert!(refused.to_string().contains("1048576 bytes"), "{refused}");
    assert!(
        !sources
            .mirrors
            .path_of(Source::new(&address(&repository.path()), &SourceAccess::default()))
            .exists()
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_a_cancel_is_heard_at_once() {
    let sources = Sources::limited(|config| config.timeout = Duration::from_secs(2));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/site.git", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 1];
            let _ = stream.read(&mut first).await;
            held.push(stream);
        }
    });
    let refused = sources.resolve(&url).await.unwrap_err();
    assert_eq!(refused.failure().code, FailureCode::RepositoryUnreachable, "{refused}");
    assert!(refused.to_string().contains("2 s"), "{refused}");

    let patient = Sources::new();
    let cancel = CancellationToken::new();
    let ending = cancel.clone();
    let begun = Instant::now();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ending.cancel();
    });
    let ended = patient
        .mirrors
        .resolve(Source::new(&address(&url), &SourceAccess::default()), &main_branch(), &cancel)
        .await;
    assert_eq!(ended.unwrap_err(), SourceError::Canceled);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    serving.abort();
}

#[tokio::test]
async fn what_a_server_answers_is_told_apart() {
    let sources = Sources::limited(|config| config.timeout = Duration::from_secs(20));
    for (answer, expected) in [
        ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", FailureCode::RepositoryAccessDenied),
        ("403 Forbidden", FailureCode::RepositoryAccessDenied),
        ("404 Not Found", FailureCode::RepositoryNotFound),
        ("500 Oops", FailureCode::RepositoryUnreachable),
        ("301 Moved\r\nLocation: file:///etc", FailureCode::Internal),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/site.git", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let refused = sources.resolve(&url).await.unwrap_err();
        assert_eq!(refused.failure().code, expected, "{answer}: {refused}");
        serving.abort();
    }
}

#[tokio::test]
async fn a_link_inside_an_allowed_directory_does_not_lead_out_of_it() {
    let sources = Sources::new();
    sources.repository("site");
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = Repository::with(&outside.path().join("elsewhere"), &[("index.html", "secret")]);
    symlink(elsewhere.path(), sources.path("link")).unwrap();
    for url in [elsewhere.path(), sources.path("link").display().to_string()] {
        let refused = sources.resolve(&url).await.unwrap_err();
        assert_eq!(refused.failure().code, FailureCode::RepositoryRefused, "{refused}");
    }
}

#[tokio::test]
async fn ten_resolves_of_one_repository_at_once_all_find_the_same_commit() {
    let sources = Arc::new(Sources::new());
    let url = sources.repository("site").path();
    let resolving: Vec<_> = (0..10)
        .map(|_| {
            let (sources, url) = (sources.clone(), url.clone());
            tokio::spawn(async move { sources.resolve(&url).await.unwrap().commit })
        })
        .collect();
    let mut commits = Vec::new();
    for resolved in resolving {
        commits.push(resolved.await.unwrap());
    }
    commits.dedup();
    assert_eq!(commits.len(), 1);
}
