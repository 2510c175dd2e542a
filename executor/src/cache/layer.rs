//! Taking a layer out of what a build has written. Nothing may run in the build's sandbox any more.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2, renameat, statat},
    io::Errno,
};

use super::{
    parent,
    stack::{Mark, mark},
};

/// Moves one path out of a tree that a build has written, into a layer, with the directories on the way. Links on the
/// way are not followed: what is behind one is not cached. Returns whether there was anything, and whether it hides what
/// lower layers have there.
///
/// # Errors
/// The disk is full, or the two are on different file systems.
pub fn take(tree: &Path, path: &str, layer: &Path) -> io::Result<Option<bool>> {
    let path = Path::new(path);
    let Some(name) = path.file_name() else { return Ok(None) };
    let Some(from) = open_inside(tree, parent(path))? else { return Ok(None) };
    match statat(&from, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    make_parents(tree, parent(path), layer)?;
    let to = layer.join(path);
    renameat(&from, name, CWD, &to)?;
    Ok(Some(match mark(&to)? {
        Mark::Directory { opaque, .. } => opaque,
        Mark::Absent | Mark::Whiteout | Mark::File => true,
    }))
}

/// What a checkout has at a path: `Some(true)` is a directory. A link, or anything else that is no directory, on the way
/// counts as what is there: nothing of ours belongs behind it.
///
/// # Errors
/// The disk cannot be read.
pub fn has(tree: &Path, path: &str) -> io::Result<Option<bool>> {
    let mut at = tree.to_owned();
    for part in Path::new(path).components() {
        at.push(part);
        match at.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(Some(false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(true))
}

/// Makes the directories of a path in a layer, with the owners and modes that they have in the tree.
fn make_parents(tree: &Path, path: &Path, layer: &Path) -> io::Result<()> {
    let mut at = std::path::PathBuf::new();
    for part in path.components() {
        at.push(part);
        let to = layer.join(&at);
        if to.is_dir() {
            continue;
        }
        let Some(like) = open_inside(tree, &at)? else { return Ok(()) };
        let meta = like.metadata()?;
        fs::create_dir(&to)?;
        std::os::unix::fs::chown(&to, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    Ok(())
}

/// Opens a directory below a tree; `None` where there is none, or a link is on the way.
fn open_inside(tree: &Path, path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = rustix::fs::open(tree, flags, Mode::empty())?;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(tree, path, flags, Mode::empty(), inside) {
        Ok(directory) => Ok(Some(File::from(directory))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_moves_with_the_directories_on_its_way_and_nothing_behind_a_link_does() {
        let directory = tempfile::tempdir().unwrap();
        let [tree, layer, outside] = ["tree", "layer", "outside"].map(|name| directory.path().join(name));
        fs::create_dir_all(tree.join("vendor/bundle")).unwrap();
        fs::create_dir(&layer).unwrap();
        fs::create_dir_all(outside.join("bundle")).unwrap();
        fs::set_permissions(tree.join("vendor"), fs::Permissions::from_mode(0o751)).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("away")).unwrap();
        std::os::unix::fs::symlink("../outside", tree.join("up")).unwrap();
        assert_eq!(take(&tree, "vendor/bundle", &layer).unwrap(), Some(false));
        assert!(layer.join("vendor/bundle").is_dir() && !tree.join("vendor/bundle").exists());
        assert_eq!(layer.join("vendor").metadata().unwrap().mode() & 0o777, 0o751);
        for path in ["away/bundle", "up/bundle", "missing", "vendor/missing/deep", ".."] {
            assert_eq!(take(&tree, path, &layer).unwrap(), None, "{path}");
        }
        assert!(outside.join("bundle").is_dir());
        for (path, there) in [
            ("away/bundle", Some(false)),
            ("up", Some(false)),
            ("vendor", Some(true)),
            ("vendor/missing", None),
            ("missing/deep", None),
        ] {
            assert_eq!(has(&tree, path).unwrap(), there, "{path}");
        }
        assert_eq!(take(&tree, "up", &layer).unwrap(), Some(true), "a link moves itself");
        assert!(layer.join("up").is_symlink());
    }
}
