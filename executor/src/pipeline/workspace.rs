//! The directories of one attempt, and how files of a build are read without leaving them.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use grapnel_domain::project::RelativePath;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::disk;

/// The directories of one attempt, below one that only its executor can enter… except through the mounts.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Makes the directories of an attempt.
    ///
    /// # Errors
    /// The disk is full, or the data directory cannot be written.
    pub fn create(root: PathBuf, owner: (u32, u32), body: &[u8]) -> io::Result<Self> {
        let workspace = Self { root };
        fs::create_dir_all(workspace.tree())?;
        fs::create_dir_all(workspace.link())?;
        // The sandbox's user has to reach the socket, and nobody has to list the directory.
        fs::set_permissions(workspace.link(), fs::Permissions::from_mode(0o711))?;
        std::os::unix::fs::chown(workspace.tree(), Some(owner.0), Some(owner.1))?;
        if !body.is_empty() {
            fs::write(workspace.body(), body)?;
            fs::set_permissions(workspace.body(), fs::Permissions::from_mode(0o444))?;
        }
        Ok(workspace)
    }

    /// Where the checkout is.
    pub fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// Where the runner's socket is.
    pub fn link(&self) -> PathBuf {
        self.root.join("link")
    }

    /// Where the body of the trigger is, where it has one.
    pub fn body(&self) -> PathBuf {
        self.root.join("body")
    }

    /// Where a cache is that only this attempt has.
    pub fn private_cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Removes everything.
    pub async fn remove(&self) {
        disk::remove_tree(&self.root).await;
    }
}

/// The directory of a checkout in which the project lives. All reading stays below it.
#[derive(Clone, Debug)]
pub struct ProjectRoot {
    tree: PathBuf,
    below: String,
}

impl ProjectRoot {
    /// Enters the project's root directory; `None` where it is not there.
    pub fn enter(tree: &Path, root_directory: Option<&RelativePath>) -> Option<Self> {
        let below = root_directory.map_or(".", RelativePath::as_str).to_owned();
        let root = Self { tree: tree.to_owned(), below };
        root.has_directory(".").then_some(root)
    }

    /// Returns the path of the root below the workspace, such as `packages/site`, or `.`.
    pub fn below(&self) -> &str {
        &self.below
    }

    /// Tells whether there is a file of that name, or a link to one inside the checkout.
    pub fn has_file(&self, name: &str) -> bool {
        self.open(name, OFlags::empty()).is_ok_and(|file| file.metadata().is_ok_and(|meta| meta.is_file()))
    }

    /// Tells whether there is a directory of that name, or a link to one inside the checkout.
    pub fn has_directory(&self, name: &str) -> bool {
        self.open(name, OFlags::DIRECTORY).is_ok()
    }

    /// Reads a file of at most `limit` bytes as text; `None` where it is not there or larger.
    pub fn read(&self, name: &str, limit: u64) -> Option<String> {
        let file = self.open(name, OFlags::empty()).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = Vec::new();
        file.take(limit + 1).read_to_end(&mut text).ok()?;
        (text.len() as u64 <= limit).then(|| String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns the real path of a directory below the root, without any link on the way; `None` where there is
    /// none inside the checkout.
    pub fn real_directory(&self, name: &str) -> Option<PathBuf> {
        self.has_directory(name).then(|| fs::canonicalize(self.tree.join(&self.below).join(name)).ok())?
    }

    /// Opens something below the checkout. The kernel keeps the way inside, whatever links say.
    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let tree =
            rustix::fs::open(&self.tree, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let path = Path::new(&self.below).join(name);
        Ok(File::from(openat2(tree, path, flags, Mode::empty(), inside)?))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_the_checkout_is_ever_read() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("site")).unwrap();
        fs::write(directory.path().join("secret"), "secret").unwrap();
        fs::write(tree.join("package.json"), "{}").unwrap();
        symlink("../package.json", tree.join("site/inside")).unwrap();
        symlink("../../secret", tree.join("site/outside")).unwrap();
        symlink("/etc", tree.join("site/etc")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        let root = ProjectRoot::enter(&tree, Some(&RelativePath::parse("site").unwrap())).unwrap();
        assert_eq!(root.read("inside", 100).as_deref(), Some("{}"));
        assert_eq!(root.read("outside", 100), None);
        assert!(!root.has_directory("etc") && root.real_directory("etc").is_none());
        assert!(ProjectRoot::enter(&tree, Some(&RelativePath::parse("root").unwrap())).is_none());
        assert!(ProjectRoot::enter(&tree, Some(&RelativePath::parse("missing").unwrap())).is_none());
        assert_eq!(root.read("inside", 1), None, "over the limit");
    }
}
