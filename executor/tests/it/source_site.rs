//! Mirrors of one executor and the repositories of a test, for what is private, nested or large.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use grapnel_domain::{
    BranchName, RepositoryUrl, SecretText,
    source::{CredentialSecret, KnownHost, SourceAccess, SourceCredential},
};
use grapnel_e2e::{Repository, SshKeyPair};
use grapnel_executor::source::{self, Checkout, Mirrors, Source, SourceConfig, SourceError};
use grapnel_runtime::{CancellationToken, Clock};
use tempfile::TempDir;

/// Mirrors, and a directory of repositories.
pub struct SourceSite {
    pub directory: TempDir,
    pub mirrors: Arc<Mirrors>,
}

/// What is checked out beside the commit itself.
#[derive(Clone, Copy, Default)]
pub struct Beside {
    pub submodules: bool,
    pub lfs: bool,
}

/// A checkout.
#[derive(Debug)]
pub struct Tree {
    pub path: PathBuf,
    pub notes: Vec<String>,
}

impl Tree {
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).symlink_metadata().is_ok()
    }
}

impl SourceSite {
    pub fn new() -> Self {
        Self::limited(|_| {})
    }

    pub fn limited(limit: impl FnOnce(&mut SourceConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = SourceConfig {
            mirrors: directory.path().join("mirrors"),
            allowed_dirs: Vec::new(),
            ca_bundle: None,
            closed_networks: Vec::new(),
            timeout: Duration::from_secs(60),
            size_limit: 1 << 30,
        };
        limit(&mut config);
        Self { mirrors: source::open(config).unwrap(), directory }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("git")
    }

    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> Repository {
        Repository::with(&self.root().join(name), files)
    }

    pub async fn resolve(&self, url: &str, access: &SourceAccess) -> Result<String, SourceError> {
        self.resolve_until(url, access, &CancellationToken::new()).await
    }

    pub async fn resolve_until(
        &self,
        url: &str,
        access: &SourceAccess,
        cancel: &CancellationToken,
    ) -> Result<String, SourceError> {
        let url = RepositoryUrl::parse(url).unwrap();
        let resolved = self.mirrors.resolve(Source::new(&url, access), &main_branch(), cancel).await;
        resolved.map(|version| version.commit)
    }

    pub async fn checkout(
        &self,
        url: &str,
        access: &SourceAccess,
        commit: &str,
        beside: Beside,
    ) -> Result<Tree, SourceError> {
        let path = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        let url = RepositoryUrl::parse(url).unwrap();
        let wanted = Checkout {
            source: Source::new(&url, access),
            branch: &main_branch(),
            commit,
            directory: &path,
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            submodules: beside.submodules,
            lfs: beside.lfs,
        };
        let notes = self.mirrors.checkout(wanted, &CancellationToken::new()).await?;
        Ok(Tree { path, notes })
    }

    /// Resolves the branch, and checks out what it is at.
    pub async fn fetch(&self, url: &str, access: &SourceAccess, beside: Beside) -> Result<Tree, SourceError> {
        let commit = self.resolve(url, access).await?;
        self.checkout(url, access, &commit, beside).await
    }

    /// The files below the executor's own directory that contain a text.
    pub fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_with(&self.directory.path().join("mirrors"), text, &mut found);
        found
    }
}

fn files_with(directory: &Path, text: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            files_with(&path, text, found);
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path);
        }
    }
}

pub fn main_branch() -> BranchName {
    BranchName::parse("main").unwrap()
}

/// A team of its own, with a token for an origin.
pub fn with_token(origin: &str, user: &str, token: &str) -> SourceAccess {
    let secret = CredentialSecret::Token { user: user.into(), token: SecretText::new(token) };
    with(origin, secret)
}

/// A team of its own, with a key for an origin, and a host that it knows.
pub fn with_key(origin: &str, key: &SshKeyPair, known: Option<KnownHost>) -> SourceAccess {
    let secret = CredentialSecret::SshKey(SecretText::new(key.private.as_str()));
    SourceAccess { known_hosts: known.into_iter().collect(), ..with(origin, secret) }
}

fn with(origin: &str, secret: CredentialSecret) -> SourceAccess {
    SourceAccess {
        owner: Some(Clock::system().new_id()),
        credentials: vec![SourceCredential { origin: origin.parse().unwrap(), secret }],
        known_hosts: Vec::new(),
    }
}
