//! Bare mirrors of repositories, fetched incrementally.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use grapnel_domain::{BranchName, RepositoryUrl, source::CredentialSecret};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    Git, Source, SourceConfig, SourceError, branches::ASKED_AT_ONCE, error::Shown, git::Reach,
    private::PrivatePlace, program::Bounds,
};
use crate::disk;

/// The most bytes that are kept of a commit's message.
const MESSAGE_LIMIT: usize = 1024;

/// How often the size of a mirror is looked at while it grows.
const SIZE_CHECK: Duration = Duration::from_secs(1);

/// The commit that a branch is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedVersion {
    /// The full hash.
    pub commit: String,
    /// The message, at most 1 KiB of it.
    pub message: String,
}

/// The mirrors of an executor. One fetch at a time runs for a repository, any number for different ones.
#[derive(Debug)]
pub struct Mirrors {
    pub(super) git: Git,
    pub(super) private: PrivatePlace,
    pub(super) config: SourceConfig,
    /// How many repositories more may be asked for their branches now.
    pub(super) asking: Semaphore,
    locks: Mutex<HashMap<PathBuf, Arc<AsyncMutex<()>>>>,
}

impl Mirrors {
    pub(super) fn new(git: Git, private: PrivatePlace, config: SourceConfig) -> Self {
        let asking = Semaphore::new(ASKED_AT_ONCE);
        Self { git, private, config, asking, locks: Mutex::default() }
    }

    /// Fetches a branch into its repository's mirror and says which commit it is at.
    ///
    /// # Errors
    /// See [`SourceError`]. A mirror that turns out broken is made anew, once.
    pub async fn resolve(
        &self,
        source: Source<'_>,
        branch: &BranchName,
        cancel: &CancellationToken,
    ) -> Result<ResolvedVersion, SourceError> {
        self.resolve_at(source, branch, None, cancel).await
    }

    /// Does the same, and takes a commit that is reachable from the branch in place of its last one, where one is named
    /// by its full hash.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn resolve_at(
        &self,
        source: Source<'_>,
        branch: &BranchName,
        commit: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<ResolvedVersion, SourceError> {
        self.refuse_directories_not_allowed(source.repository)?;
        let mirror = self.path_of(source);
        let lock = self.lock_of(&mirror);
        let _one_at_a_time = lock.lock().await;
        match self.fetch(&mirror, source, branch, cancel).await {
            Err(SourceError::Git(cause)) => {
                tracing::warn!(repository = %source.repository, cause, "the mirror is made anew");
                disk::remove_tree(&mirror).await;
                self.fetch(&mirror, source, branch, cancel).await?;
            }
            other => other?,
        }
        let head = format!("refs/heads/{branch}");
        let Some(commit) = commit else {
            return self.read_version(&mirror, &head, cancel).await;
        };
        let ancestor = ["merge-base", "--is-ancestor", commit, &head].map(String::from);
        let output = self.git.run(&mirror, Reach::Nothing, ancestor, &self.bounds(cancel)).await;
        if !self.finished("the mirror", output)?.status.success() {
            return Err(SourceError::CommitNotOnBranch {
                url: source.url(),
                branch: branch.to_string(),
                commit: commit.to_owned(),
            });
        }
        self.read_version(&mirror, commit, cancel).await
    }

    /// Fetches a commit that another executor has resolved: with its branch, or by itself where the branch has moved
    /// on meanwhile.
    ///
    /// # Errors
    /// See [`SourceError`]; the repository may not have the commit any more.
    pub(super) async fn fetch_commit(
        &self,
        source: Source<'_>,
        branch: &BranchName,
        commit: &str,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        self.refuse_directories_not_allowed(source.repository)?;
        let mirror = self.path_of(source);
        let lock = self.lock_of(&mirror);
        let _one_at_a_time = lock.lock().await;
        let gone = || SourceError::CommitNotFound { url: source.url(), commit: commit.to_owned() };
        match self.fetch(&mirror, source, branch, cancel).await {
            Ok(()) | Err(SourceError::BranchNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.has(source, commit, cancel).await {
            return Ok(());
        }
        match self.fetch_into(&mirror, source, commit, cancel).await {
            // Servers refuse by many words what they do not have.
            Err(SourceError::Git(_) | SourceError::BranchNotFound { .. }) => Err(gone()),
            other => other,
        }
    }

    /// Fetches a commit that a repository pins, also where no branch has it any more and the server gives it out all the
    /// same.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub(super) async fn fetch_pinned(
        &self,
        source: Source<'_>,
        commit: &str,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        let mirror = self.path_of(source);
        let lock = self.lock_of(&mirror);
        let _one_at_a_time = lock.lock().await;
        self.ensure_mirror(&mirror, cancel).await?;
        if self.has(source, commit, cancel).await {
            return Ok(());
        }
        // Under a name of its own, so that the next fetch of the submodule begins from it.
        let refspec = format!("+{commit}:refs/pinned/{commit}");
        match self.fetch_into(&mirror, source, &refspec, cancel).await {
            // Servers that give out no commit by itself give out all branches.
            Err(SourceError::Git(_) | SourceError::BranchNotFound { .. }) => {}
            other => return other,
        }
        self.fetch_into(&mirror, source, "+refs/heads/*:refs/heads/*", cancel).await?;
        match self.has(source, commit, cancel).await {
            true => Ok(()),
            false => Err(SourceError::CommitNotFound { url: source.url(), commit: commit.to_owned() }),
        }
    }

    /// Tells whether the mirror has a commit.
    pub(super) async fn has(&self, source: Source<'_>, commit: &str, cancel: &CancellationToken) -> bool {
        let object = format!("{commit}^{{commit}}");
        let exists = ["cat-file", "-e", &object].map(String::from);
        let mirror = self.path_of(source);
        let output = self.git.run(&mirror, Reach::Nothing, exists, &self.bounds(cancel)).await;
        output.is_ok_and(|output| output.status.success())
    }

    /// Returns where the mirror of a repository is. What was fetched with a credential is its owner's alone.
    pub fn path_of(&self, source: Source<'_>) -> PathBuf {
        let mut key = Sha256::new_with_prefix(source.url());
        if let Some(credential) = source.credential() {
            key.update([0]);
            key.update(owner_of(source, credential));
        }
        self.config.mirrors.join(hex::encode(key.finalize()))
    }

    async fn fetch(
        &self,
        mirror: &Path,
        source: Source<'_>,
        branch: &BranchName,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        let refspec = format!("+refs/heads/{branch}:refs/heads/{branch}");
        match self.fetch_into(mirror, source, &refspec, cancel).await {
            Err(SourceError::BranchNotFound { .. }) => {
                Err(self.branch_missing(mirror, source, branch, cancel).await)
            }
            other => other,
        }
    }

    pub(super) async fn fetch_into(
        &self,
        mirror: &Path,
        source: Source<'_>,
        refspec: &str,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        self.ensure_mirror(mirror, cancel).await?;
        let url = source.url();
        let fetch =
            ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options", &url, refspec]
                .map(String::from);
        let bounds = self.bounds(cancel);
        tokio::select! {
            output = self.go_out(mirror, source, fetch, &bounds) => output?,
            () = self.grown_too_large(mirror) => return Err(self.too_large(mirror, url).await),
        };
        // A fetch that was over before its size was looked at.
        if disk::usage(mirror).await.unwrap_or(u64::MAX) > self.config.size_limit {
            return Err(self.too_large(mirror, url).await);
        }
        Ok(())
    }

    pub(super) async fn ensure_mirror(
        &self,
        mirror: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        if mirror.join("HEAD").is_file() {
            return Ok(());
        }
        tokio::fs::create_dir_all(mirror).await.map_err(|error| SourceError::Git(error.to_string()))?;
        let output =
            self.git.run(mirror, Reach::Nothing, ["init", "--quiet", "--bare"], &self.bounds(cancel)).await;
        let output = self.finished("the mirror", output)?;
        if output.status.success() {
            Ok(())
        } else {
            Err(SourceError::from_git(
                "the mirror",
                &Shown::Nothing,
                &String::from_utf8_lossy(&output.stderr),
            ))
        }
    }

    /// A branch that is not there may be missing in a repository, or the repository has nothing at all.
    async fn branch_missing(
        &self,
        mirror: &Path,
        source: Source<'_>,
        branch: &BranchName,
        cancel: &CancellationToken,
    ) -> SourceError {
        let url = source.url();
        let list = ["ls-remote", "--heads", "--end-of-options", &url].map(String::from);
        match self.go_out(mirror, source, list, &self.bounds(cancel)).await {
            Err(error) => error,
            Ok(output) if output.stdout.is_empty() => SourceError::RepositoryEmpty(url),
            Ok(_) => SourceError::BranchNotFound { url, branch: branch.to_string() },
        }
    }

    async fn read_version(
        &self,
        mirror: &Path,
        revision: &str,
        cancel: &CancellationToken,
    ) -> Result<ResolvedVersion, SourceError> {
        let log = ["log", "-1", "--format=%H%n%B", "--end-of-options", revision, "--"];
        let output = self.git.run(mirror, Reach::Nothing, log, &self.bounds(cancel)).await;
        let output = self.finished("the mirror", output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (commit, message) = text.split_once('\n').unwrap_or((&text, ""));
        if !output.status.success() || commit.len() < 40 {
            return Err(SourceError::Git("the mirror does not say which commit the branch is at".to_owned()));
        }
        Ok(ResolvedVersion { commit: commit.to_owned(), message: shortened(message.trim()) })
    }

    pub(super) fn bounds(&self, cancel: &CancellationToken) -> Bounds {
        Bounds { timeout: self.config.timeout, cancel: cancel.clone() }
    }

    async fn grown_too_large(&self, mirror: &Path) {
        loop {
            tokio::time::sleep(SIZE_CHECK).await;
            if disk::usage(mirror).await.unwrap_or(u64::MAX) > self.config.size_limit {
                return;
            }
        }
    }

    async fn too_large(&self, mirror: &Path, url: String) -> SourceError {
        disk::remove_tree(mirror).await;
        SourceError::TooLarge { url, limit: self.config.size_limit }
    }

    pub(super) fn refuse_directories_not_allowed(
        &self,
        repository: &RepositoryUrl,
    ) -> Result<(), SourceError> {
        let RepositoryUrl::Local(path) = repository else {
            return Ok(());
        };
        // The real path counts: a link inside an allowed directory may lead out of it.
        let real = std::fs::canonicalize(path)
            .map_err(|_| SourceError::RepositoryNotFound { url: path.clone(), shown: Shown::Nothing })?;
        let allowed =
            self.config.allowed_dirs.iter().filter_map(|directory| std::fs::canonicalize(directory).ok());
        if allowed.into_iter().any(|directory| real.starts_with(directory)) {
            Ok(())
        } else {
            Err(SourceError::NotAllowed(path.clone()))
        }
    }

    pub(super) fn lock_of(&self, mirror: &Path) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(mirror.to_owned()).or_default().clone()
    }
}

/// Names the owner of what a credential fetches; where nobody says who that is, it is whoever has the same one.
fn owner_of(source: Source<'_>, credential: &CredentialSecret) -> String {
    match source.access.owner {
        Some(team) => team.to_string(),
        None => hex::encode(Sha256::digest(credential.text().expose())),
    }
}

/// Cuts a message to what is kept, and drops what would forge lines where it is shown.
fn shortened(message: &str) -> String {
    let mut kept: String = message.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let end = (0..=MESSAGE_LIMIT.min(kept.len())).rev().find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
    kept.truncate(end);
    kept
}
