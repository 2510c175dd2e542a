//! One commit in a workspace, with the submodules and the large files that belong to it.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use grapnel_domain::BranchName;
use tokio_util::sync::CancellationToken;

use super::{
    Mirrors, Source, SourceError,
    error::Shown,
    git::Reach,
    submodules::{CheckedOut, in_submodule},
};

/// How many commits of history a build sees.
const DEPTH: &str = "--depth=10";

/// Git brings nothing to the disk: what a machine that goes down takes with it is of no use to anybody. To write the
/// branch's name would wait for all files of the checkout to be there. The source of the setting: git-config(1).
const LASTS_NO_LONGER_THAN_ITS_BUILD: [&str; 2] = ["-c", "core.fsync=none"];

/// What is checked out, and where.
#[derive(Clone, Copy, Debug)]
pub struct Checkout<'a> {
    /// The repository.
    pub source: Source<'a>,
    /// The branch.
    pub branch: &'a BranchName,
    /// The full hash.
    pub commit: &'a str,
    /// An empty directory.
    pub directory: &'a Path,
    /// The user and group to whom everything is handed.
    pub owner: (u32, u32),
    /// Whether submodules are checked out too.
    pub submodules: bool,
    /// Whether large files take the place of their pointers (Git LFS).
    pub lfs: bool,
}

/// What `HEAD` of a checkout is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head<'a> {
    /// A branch.
    Branch(&'a BranchName),
    /// The commit itself.
    Commit,
}

impl Mirrors {
    /// Checks a commit out of its mirror into an empty directory, and hands everything to its owner. Returns what the
    /// people of the project should read of it.
    ///
    /// The commit may have left its branch since it was resolved, and another executor may have resolved it: then it
    /// is fetched first. The checkout has a history of its own, and knows nothing of the mirror.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn checkout(
        &self,
        wanted: Checkout<'_>,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, SourceError> {
        let Checkout { source, branch, commit, directory, .. } = wanted;
        let head = Head::Branch(branch);
        match self.checkout_from_mirror(source, commit, head, directory, cancel).await {
            Err(error) if may_lack(&error) && !self.has(source, commit, cancel).await => {
                self.fetch_commit(source, branch, commit, cancel).await?;
                self.checkout_from_mirror(source, commit, head, directory, cancel).await?;
            }
            other => other?,
        }
        let mut notes = Vec::new();
        let mut all = vec![CheckedOut::top(source, commit, directory)];
        if wanted.submodules {
            all = self.checkout_submodules(source, all.swap_remove(0), cancel).await?;
            notes.extend(all.iter().skip(1).map(submodule_note));
        }
        if wanted.lfs {
            let reference = format!("refs/heads/{branch}");
            for checked_out in &all {
                // Of a submodule nobody says which branch its commit is of.
                let reference = checked_out.path.is_empty().then_some(reference.as_str());
                let placed = self.place_large_files(source, checked_out, reference, cancel).await;
                notes.extend(placed.map_err(|cause| in_submodule(&checked_out.path, cause))?);
            }
        }
        let (directory, owner) = (directory.to_owned(), wanted.owner);
        let handed = tokio::task::spawn_blocking(move || hand_over(&directory, owner)).await;
        handed.map_err(|error| SourceError::Git(error.to_string()))?.map_err(|error| {
            SourceError::Git(format!("the checkout cannot be handed to the build: {error}"))
        })?;
        Ok(notes)
    }

    /// Checks a commit out that the mirror has.
    pub(super) async fn checkout_from_mirror(
        &self,
        source: Source<'_>,
        commit: &str,
        head: Head<'_>,
        directory: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        let mirror = format!("file://{}", self.path_of(source).display());
        let url = source.url();
        let init = ["init", "--quiet", "--template="];
        let fetch = [
            "-c",
            "uploadpack.allowAnySHA1InWant=true",
            "fetch",
            "--quiet",
            "--no-tags",
            DEPTH,
            "--end-of-options",
            &mirror,
            commit,
        ];
        let remote = ["remote", "add", "origin", &url];
        let onto_branch;
        let checkout: &[&str] = match head {
            Head::Branch(branch) => {
                onto_branch = ["checkout", "--quiet", "--force", "-B", branch.as_str(), "FETCH_HEAD"];
                &onto_branch
            }
            Head::Commit => &["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"],
        };
        let steps: [(&[&str], Reach<'_>); 4] = [
            (&init, Reach::Nothing),
            (&fetch, Reach::Files),
            (&remote, Reach::Nothing),
            (checkout, Reach::Nothing),
        ];
        for (arguments, reach) in steps {
            let arguments = LASTS_NO_LONGER_THAN_ITS_BUILD.iter().chain(arguments);
            let output = self.git.run(directory, reach, arguments, &self.bounds(cancel)).await;
            let output = self.finished(&url, output)?;
            if !output.status.success() {
                let stderr = String::from_utf8_lossy(&output.stderr);
                return Err(SourceError::from_git(&url, &Shown::Nothing, &stderr));
            }
        }
        // It names the mirror's path, and nobody needs it any more.
        let _ = tokio::fs::remove_file(directory.join(".git/FETCH_HEAD")).await;
        Ok(())
    }
}

fn submodule_note(module: &CheckedOut) -> String {
    format!("submodule {} is at {}", module.path, &module.commit[..12.min(module.commit.len())])
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
