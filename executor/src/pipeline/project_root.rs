//! How files of a build are read without leaving its checkout.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use grapnel_domain::{
    failure::{Failure, FailureCode},
    project::RelativePath,
};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};
use serde::{Deserialize, Serialize};

/// The directory of a checkout in which the project lives. All reading stays below it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectRoot {
    tree: PathBuf,
    below: String,
    /// Why something was not seen that may be there.
    #[serde(skip)]
    trouble: Arc<Mutex<Option<Errno>>>,
}

impl ProjectRoot {
    /// Enters the project's root directory; `None` where it is not there.
    ///
    /// # Errors
    /// As [`ProjectRoot::sure`].
    pub fn enter(tree: &Path, root_directory: Option<&RelativePath>) -> Result<Option<Self>, Failure> {
        let below = root_directory.map_or(".", RelativePath::as_str).to_owned();
        let root = Self { tree: tree.to_owned(), below, trouble: Arc::default() };
        let is_there = root.sure(Ok(root.has_directory(".")))?;
        Ok(is_there.then_some(root))
    }

    /// Returns what was found by reading here, once it is sure that what was not seen is not there.
    ///
    /// # Errors
    /// What was found, or: the executor had no file descriptor or no memory left, or its disk fails.
    pub fn sure<T>(&self, found: Result<T, Failure>) -> Result<T, Failure> {
        match *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => found,
            Some(errno) => {
                let message = format!("the executor cannot read the checkout: {}", io::Error::from(errno));
                Err(Failure::new(FailureCode::Internal, message))
            }
        }
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
        let opened = self.try_open(name, flags);
        if let Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO)) = opened {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(errno);
        }
        Ok(opened?)
    }

    fn try_open(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
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

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
        let root = ProjectRoot::enter(&tree, Some(&RelativePath::parse("site").unwrap())).unwrap().unwrap();
        assert_eq!(root.read("inside", 100).as_deref(), Some("{}"));
        assert_eq!(root.read("outside", 100), None);
        assert!(!root.has_directory("etc") && root.real_directory("etc").is_none());
        assert!(ProjectRoot::enter(&tree, Some(&RelativePath::parse("root").unwrap())).unwrap().is_none());
        assert!(ProjectRoot::enter(&tree, Some(&RelativePath::parse("missing").unwrap())).unwrap().is_none());
        assert_eq!(root.read("inside", 1), None, "over the limit");
    }

    #[test]
    fn what_cannot_be_opened_for_want_of_file_descriptors_is_not_taken_for_missing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("package.json"), "{}").unwrap();
        let root = ProjectRoot::enter(directory.path(), None).unwrap().unwrap();
        assert!(!root.has_file("missing"));
        root.sure(Ok(())).unwrap();
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(1), ..before }).unwrap();
        let read = root.read("package.json", 100);
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!(read, None);
        assert_eq!(root.sure(Ok(())).unwrap_err().code, FailureCode::Internal);
    }
}
