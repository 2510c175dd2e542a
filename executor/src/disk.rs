//! Trees on disk: how large they are, and how they go away.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How often, and after how long, a tree is removed again in which something still wrote: a process that was killed
/// takes a moment to be gone.
const ROUNDS: u32 = 20;
const ROUND: Duration = Duration::from_millis(50);

/// Returns how many bytes a tree takes on disk. Links are counted themselves; what vanishes meanwhile, or cannot be
/// read, counts as nothing.
pub async fn usage(path: &Path) -> u64 {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || usage_of(&path)).await.unwrap_or(0)
}

fn usage_of(root: &Path) -> u64 {
    let mut bytes = 0;
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            waiting.extend(entries(&path));
        }
    }
    bytes
}

fn entries(path: &Path) -> Vec<PathBuf> {
    fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// Returns how many bytes are free for us on the file system of `path`; `None` where the system does not say.
pub fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Removes a tree, whatever a build did to the modes of its directories. A tree that is not there is removed
/// already; what cannot be removed is logged, and tried again by the next sweep.
pub async fn remove_tree(path: &Path) {
    let mut rounds = 0;
    loop {
        let tree = path.to_owned();
        let removed = tokio::task::spawn_blocking(move || remove_once(&tree)).await;
        match removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && rounds < ROUNDS => {
                rounds += 1;
                tokio::time::sleep(ROUND).await;
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a directory cannot be removed");
                return;
            }
            _ => return,
        }
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open_directories(path);
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Gives us back the right to change directories that a build has closed.
fn open_directories(root: &Path) {
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
            waiting.extend(entries(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tree_with_closed_directories_and_links_goes_away_and_what_it_points_to_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, other) = (directory.path().join("tree"), directory.path().join("other"));
        fs::create_dir_all(tree.join("closed/deep")).unwrap();
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&other, tree.join("link")).unwrap();
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).await;
        assert!(!tree.exists() && other.exists());
        remove_tree(&tree).await;
    }

    #[tokio::test]
    async fn usage_counts_what_is_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let before = usage(directory.path()).await;
        fs::write(directory.path().join("file"), vec![1; 1 << 20]).unwrap();
        let sparse = fs::File::create(directory.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let grown = usage(directory.path()).await - before;
        assert!(((1 << 20)..(2 << 20)).contains(&grown), "{grown}");
    }
}
