//! Submodules of a checkout. `git submodule` is never run: what a commit names is read, looked at, fetched into mirrors
//! of its own, and checked out, level by level.

use std::path::{Path, PathBuf};

use grapnel_domain::RepositoryUrl;
use tokio_util::sync::CancellationToken;

use super::{
    CommittedFile, Mirrors, Source, SourceError,
    checkout::Head,
    git::Reach,
    gitmodules::{self, Named},
};

/// How deep submodules may be nested.
const DEPTH: usize = 8;

/// How many a checkout may have in all.
const COUNT: usize = 200;

/// How many bytes `.gitmodules` may have.
const FILE_LIMIT: u64 = 256 << 10;

/// A repository that was checked out.
#[derive(Clone, Debug)]
pub struct CheckedOut {
    /// The repository.
    pub repository: RepositoryUrl,
    /// The full hash.
    pub commit: String,
    /// Where it is.
    pub directory: PathBuf,
    /// Its path below the project's own repository; empty for that itself.
    pub path: String,
    /// How many repositories are above it.
    depth: usize,
}

impl CheckedOut {
    /// Describes the project's own repository.
    pub fn top(source: Source<'_>, commit: &str, directory: &Path) -> Self {
        Self {
            repository: source.repository.clone(),
            commit: commit.to_owned(),
            directory: directory.to_owned(),
            path: String::new(),
            depth: 0,
        }
    }
}

impl Mirrors {
    /// Checks out all submodules of a checkout, and theirs, and returns every repository that is there then, the
    /// project's own first.
    ///
    /// # Errors
    /// See [`SourceError`]; a submodule is named by its path.
    pub(super) async fn checkout_submodules(
        &self,
        source: Source<'_>,
        top: CheckedOut,
        cancel: &CancellationToken,
    ) -> Result<Vec<CheckedOut>, SourceError> {
        let mut all = vec![top];
        let mut next = 0;
        while let Some(parent) = all.get(next).cloned() {
            next += 1;
            let named = self.named_by(source, &parent, cancel).await?;
            if all.len() - 1 + named.len() > COUNT {
                let why = format!("the repository has more than {COUNT} submodules in all");
                return Err(SourceError::SubmodulesRefused(why));
            }
            for (named, commit) in named {
                if parent.depth >= DEPTH {
                    let why = format!("submodules are nested deeper than {DEPTH}, at `{}`", parent.path);
                    return Err(SourceError::SubmodulesRefused(why));
                }
                let module = below(&parent, &named, commit)?;
                let checked_out = self.checkout_submodule(source, &module, cancel).await;
                checked_out.map_err(|cause| in_submodule(&module.path, cause))?;
                all.push(module);
            }
        }
        Ok(all)
    }

    /// Returns the submodules that a commit names and really has, each with the commit at which it is pinned.
    async fn named_by(
        &self,
        source: Source<'_>,
        parent: &CheckedOut,
        cancel: &CancellationToken,
    ) -> Result<Vec<(Named, String)>, SourceError> {
        let within = source.leads_to(&parent.repository);
        let [file] = self.files(within, &parent.commit, [".gitmodules"], FILE_LIMIT, cancel).await?;
        match file {
            None => return Ok(Vec::new()),
            Some(CommittedFile::TooLarge) => {
                let why = format!("`.gitmodules` has more than the {FILE_LIMIT} bytes that are read");
                return Err(SourceError::SubmodulesRefused(why));
            }
            Some(CommittedFile::Text(_)) => {}
        }
        let blob = format!("{}:.gitmodules", parent.commit);
        let list = ["config", "--no-includes", "-z", "--blob", &blob, "--list"];
        let listed = self.of_mirror(within, &list, cancel).await?;
        let mut pinned = Vec::new();
        for named in gitmodules::read(&listed) {
            // Who says so of a submodule leaves it out, here as with git.
            if named.update == "none" {
                continue;
            }
            gitmodules::check_path(&named.path)?;
            if pinned.len() > COUNT {
                break;
            }
            let entry =
                ["ls-tree", "-z", "--full-tree", "--end-of-options", &parent.commit, "--", &named.path];
            if let Some(commit) = gitlink(&self.of_mirror(within, &entry, cancel).await?) {
                pinned.push((named, commit));
            }
        }
        Ok(pinned)
    }

    async fn of_mirror(
        &self,
        source: Source<'_>,
        arguments: &[&str],
        cancel: &CancellationToken,
    ) -> Result<String, SourceError> {
        let mirror = self.path_of(source);
        let output = self.git.run(&mirror, Reach::Nothing, arguments, &self.bounds(cancel)).await;
        let output = self.finished(&source.url(), output)?;
        if !output.status.success() {
            let why = "`.gitmodules` cannot be read as a configuration of git's".to_owned();
            return Err(SourceError::SubmodulesRefused(why));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn checkout_submodule(
        &self,
        source: Source<'_>,
        module: &CheckedOut,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        let within = source.leads_to(&module.repository);
        // Also where everything is there already: others may have meant what this project may not.
        self.may_be_reached(within).await?;
        self.fetch_pinned(within, &module.commit, cancel).await?;
        make_way(&module.directory)?;
        self.checkout_from_mirror(within, &module.commit, Head::Commit, &module.directory, cancel).await
    }
}

/// Describes a submodule of a checkout.
fn below(parent: &CheckedOut, named: &Named, commit: String) -> Result<CheckedOut, SourceError> {
    Ok(CheckedOut {
        repository: gitmodules::address(named, &parent.repository)?,
        commit,
        directory: real_directory(&parent.directory, &named.path)?,
        path: match parent.path.as_str() {
            "" => named.path.clone(),
            path => format!("{path}/{}", named.path),
        },
        depth: parent.depth + 1,
    })
}

/// Makes sure that a path below a checkout is a directory and has no link on its way.
fn real_directory(checkout: &Path, path: &str) -> Result<PathBuf, SourceError> {
    let mut directory = checkout.to_owned();
    for part in path.split('/') {
        directory.push(part);
        let is_real = directory.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if !is_real {
            let why = format!("the submodule at `{path}` is refused: there is no directory for it");
            return Err(SourceError::SubmodulesRefused(why));
        }
    }
    Ok(directory)
}

/// Git leaves an empty directory where a submodule belongs; anything in it would be somebody else's.
fn make_way(directory: &Path) -> Result<(), SourceError> {
    match std::fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(SourceError::SubmodulesRefused("something else is where a submodule belongs".to_owned()))
        }
        Err(error) => Err(SourceError::Git(error.to_string())),
    }
}

/// Reads one entry of `git ls-tree`: the commit of a gitlink, and nothing of anything else.
fn gitlink(entry: &str) -> Option<String> {
    let (head, _name) = entry.split_once('\t')?;
    match head.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["160000", "commit", commit] => Some((*commit).to_owned()),
        _ => None,
    }
}

/// Says of an error in which submodule it is, where it is in one and has to do with it.
pub(super) fn in_submodule(path: &str, cause: SourceError) -> SourceError {
    match cause {
        SourceError::Canceled | SourceError::DiskFull | SourceError::LargeFile { .. } => cause,
        cause if path.is_empty() => cause,
        cause => SourceError::Submodule { path: path.to_owned(), cause: Box::new(cause) },
    }
}
