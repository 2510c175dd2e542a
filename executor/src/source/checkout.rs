//! One commit in a workspace.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use grapnel_domain::{BranchName, RepositoryUrl};
use tokio_util::sync::CancellationToken;

use super::{Mirrors, SourceError, git::Reach};

/// How many commits of history a build sees.
const DEPTH: &str = "--depth=10";

impl Mirrors {
    /// Checks a commit out of its mirror into an empty directory, and hands everything to `owner`.
    ///
    /// The commit may have left its branch since it was resolved, and another executor may have resolved it: then it
    /// is fetched first. The checkout has a history of its own, and knows nothing of the mirror.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn checkout(
        &self,
        repository: &RepositoryUrl,
        branch: &BranchName,
        commit: &str,
        directory: &Path,
        owner: (u32, u32),
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        match self.checkout_from_mirror(repository, branch, commit, directory, cancel).await {
            Err(error) if may_lack(&error) && !self.has(repository, commit, cancel).await => {
                self.fetch_commit(repository, branch, commit, cancel).await?;
                self.checkout_from_mirror(repository, branch, commit, directory, cancel).await?;
            }
            other => other?,
        }
        let directory = directory.to_owned();
        let handed = tokio::task::spawn_blocking(move || hand_over(&directory, owner)).await;
        handed
            .map_err(|error| SourceError::Git(error.to_string()))?
            .map_err(|error| SourceError::Git(format!("the checkout cannot be handed to the build: {error}")))
    }

    async fn checkout_from_mirror(
        &self,
        repository: &RepositoryUrl,
        branch: &BranchName,
        commit: &str,
        directory: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        let mirror = format!("file://{}", self.path_of(repository).display());
        let url = repository.to_string();
        let steps: [(&[&str], Reach); 4] = [
            (&["init", "--quiet", "--template="], Reach::Nothing),
            (
                &[
                    "-c",
                    "uploadpack.allowAnySHA1InWant=true",
                    "fetch",
                    "--quiet",
                    "--no-tags",
                    DEPTH,
                    "--end-of-options",
                    &mirror,
                    commit,
                ],
                Reach::Files,
            ),
            (&["remote", "add", "origin", &url], Reach::Nothing),
            (&["checkout", "--quiet", "--force", "-B", branch.as_str(), "FETCH_HEAD"], Reach::Nothing),
        ];
        for (arguments, reach) in steps {
            let output = self.git.run(directory, reach, arguments, &self.bounds(cancel)).await;
            let output = self.finished(&url, output)?;
            if !output.status.success() {
                return Err(SourceError::from_git(&url, &String::from_utf8_lossy(&output.stderr)));
            }
        }
        // It names the mirror's path, and nobody needs it any more.
        let _ = tokio::fs::remove_file(directory.join(".git/FETCH_HEAD")).await;
        Ok(())
    }
}

/// Tells whether a checkout may have failed because the mirror lacks the commit.
fn may_lack(error: &SourceError) -> bool {
    !matches!(error, SourceError::Canceled | SourceError::DiskFull)
}

/// Makes `owner` the owner of a tree. Links are handed over themselves, never followed.
fn hand_over(path: &Path, owner: (u32, u32)) -> std::io::Result<()> {
    let meta = path.symlink_metadata()?;
    if (meta.uid(), meta.gid()) != owner {
        std::os::unix::fs::lchown(path, Some(owner.0), Some(owner.1))?;
    }
    if meta.is_dir() {
        for entry in std::fs::read_dir(path)? {
            hand_over(&entry?.path(), owner)?;
        }
    }
    Ok(())
}
