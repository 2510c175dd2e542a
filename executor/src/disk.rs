//! Trees on disk: how large they are, and how they go away.

use std::{
    collections::HashSet,
    ffi::CString,
    fs,
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, renameat, statat},
    io::Errno,
};

/// How often, and after how long, a tree is removed again in which something still wrote: a process that was killed
/// takes a moment to be gone.
const ROUNDS: u32 = 20;
const ROUND: Duration = Duration::from_millis(50);

/// The deepest directory that is looked into. Nothing that people build is as deep, and what is deeper could not be
/// looked through in bounded time and with a bounded number of open directories.
const DEEPEST: usize = 512;

/// Returns how many bytes a tree takes on disk. Links are counted themselves, files with several names once; what
/// vanishes meanwhile, or cannot be read, counts as nothing.
///
/// # Errors
/// The tree is deeper than 512 directories.
pub async fn usage(path: &Path) -> io::Result<u64> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || size_of(&path)).await.map_err(io::Error::other)?
}

/// Does the same, and blocks.
///
/// # Errors
/// As [`usage`].
pub fn size_of(root: &Path) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::open(root, flags, Mode::empty()) else { return Ok(0) };
    let mut bytes = rustix::fs::fstat(&top).map_or(0, |stat| blocks(&stat));
    let mut seen = HashSet::new();
    let mut waiting: Vec<(Arc<OwnedFd>, CString, usize)> = Vec::new();
    let mut next = Some((top, 0));
    while let Some((directory, depth)) = next.take() {
        let directory = Arc::new(directory);
        for entry in Dir::read_from(&*directory)?.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_directory || stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
                bytes += blocks(&stat);
            }
            if is_directory {
                waiting.push((directory.clone(), name.to_owned(), depth + 1));
            }
        }
        while let Some((parent, name, depth)) = waiting.pop() {
            if depth > DEEPEST {
                return Err(io::Error::other(format!("directories are nested deeper than {DEEPEST}")));
            }
            match openat(&*parent, &name, flags, Mode::empty()) {
                Ok(directory) => {
                    next = Some((directory, depth));
                    break;
                }
                Err(Errno::MFILE | Errno::NFILE) => return Err(Errno::MFILE.into()),
                Err(_) => {}
            }
        }
    }
    Ok(bytes)
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
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
        // Deeper than we may have directories open.
        Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            make_shallow(path)?;
            remove_once(path)
        }
        other => other,
    }
}

/// How far below the top directories are left where they are.
const SHALLOW: usize = 64;

/// Moves directories that are far below the top of a tree to its top, where they are deep no longer by that much.
fn make_shallow(root: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = Arc::new(rustix::fs::open(root, flags, Mode::empty())?);
    let mut waiting = vec![(top.clone(), c".".to_owned(), 0)];
    let mut moved = 0;
    while let Some((parent, name, depth)) = waiting.pop() {
        let directory = Arc::new(openat(&*parent, &name, flags, Mode::empty())?);
        for entry in Dir::read_from(&*directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || entry.file_type() != FileType::Directory {
                continue;
            }
            if depth < SHALLOW {
                waiting.push((directory.clone(), name.to_owned(), depth + 1));
                continue;
            }
            let to = CString::new(format!(".grapnel-{}-{moved}", std::process::id()))?;
            renameat(&*directory, name, &*top, &to)?;
            moved += 1;
            waiting.push((top.clone(), to, 1));
        }
    }
    Ok(())
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
        let before = usage(directory.path()).await.unwrap();
        fs::write(directory.path().join("file"), vec![1; 1 << 20]).unwrap();
        let sparse = fs::File::create(directory.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        fs::hard_link(directory.path().join("file"), directory.path().join("again")).unwrap();
        let grown = usage(directory.path()).await.unwrap() - before;
        assert!(((1 << 20)..(2 << 20)).contains(&grown), "{grown}");
    }

    #[tokio::test]
    async fn a_tree_that_is_deeper_than_any_path_is_refused_and_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = rustix::fs::open(&tree, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for depth in 0..5_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = openat(&at, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
            if depth == 400 {
                assert!(usage(&tree).await.unwrap() > 400 * 4096);
            }
        }
        assert!(usage(&tree).await.unwrap_err().to_string().contains("deeper than 512"));
        remove_tree(&tree).await;
        assert!(!tree.exists());
    }
}
