//! The directories of one attempt.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use crate::disk;
use grapnel_domain::build::AttemptId;
use grapnel_runtime::crash_point;

/// Where the kernel works on overlays.
const OVERLAY: &str = "overlay";

/// The directories of one attempt, below one that only its executor can enter… except through the mounts.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    /// What says that it is somebody's, where it has not the name of an attempt that runs.
    _held: Option<Arc<Held>>,
}

/// The names under which something was made ahead of attempts, and is somebody's. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<HashSet<AttemptId>>>);

/// Keeps a name among those that are somebody's until it is dropped.
#[derive(Debug)]
pub struct Held {
    names: Names,
    id: AttemptId,
}

impl Names {
    /// Returns all of them.
    pub fn all(&self) -> HashSet<AttemptId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds one.
    pub fn hold(&self, id: AttemptId) -> Held {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Held { names: self.clone(), id }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.names.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Workspace {
    /// Makes the directories of an attempt.
    ///
    /// # Errors
    /// The disk is full, or the data directory cannot be written.
    pub fn create(root: PathBuf, owner: (u32, u32), body: &[u8]) -> io::Result<Self> {
        let workspace = Self::open(root);
        fs::create_dir_all(workspace.link())?;
        // The sandbox's user has to reach the socket, and nobody has to list the directory.
        fs::set_permissions(workspace.link(), fs::Permissions::from_mode(0o711))?;
        workspace.create_tree(owner)?;
        workspace.give_body(body)?;
        crash_point("workspace.made");
        Ok(workspace)
    }

    /// Puts an empty tree in the place of one that nothing is mounted on any more, with all that is kept beside it, and returns
    /// where that is now. It goes away with the rest.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn clear_tree(&self, owner: (u32, u32)) -> io::Result<PathBuf> {
        let before = self.root.join("before");
        fs::create_dir(&before)?;
        for directory in [self.tree(), self.tools(), self.root.join(OVERLAY)] {
            match fs::rename(&directory, before.join(directory.file_name().unwrap_or_default())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.create_tree(owner)?;
        Ok(before)
    }

    fn create_tree(&self, owner: (u32, u32)) -> io::Result<()> {
        fs::create_dir_all(self.tree())?;
        std::os::unix::fs::chown(self.tree(), Some(owner.0), Some(owner.1))
    }

    /// Writes the body of the trigger, where a sandbox that has it mounted finds it.
    ///
    /// # Errors
    /// The disk is full, or the data directory cannot be written.
    pub fn give_body(&self, body: &[u8]) -> io::Result<()> {
        let path = self.body();
        if path.exists() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
        // In its place: what is mounted is the file.
        fs::write(&path, body)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444))
    }

    /// Keeps it from being taken for nobody's for as long as this, or a clone of it, is there.
    #[must_use]
    pub fn held(self, held: Held) -> Self {
        Self { _held: Some(Arc::new(held)), ..self }
    }

    /// Takes the directories that another process has made.
    pub fn open(root: PathBuf) -> Self {
        Self { root, _held: None }
    }

    /// Where the checkout is.
    pub fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// Where the runner's socket is.
    pub fn link(&self) -> PathBuf {
        self.root.join("link")
    }

    /// Where the body of the trigger is; empty where it has none.
    pub fn body(&self) -> PathBuf {
        self.root.join("body")
    }

    /// Where the tools' own caches are, or what the build adds to them.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Where the kernel works on an overlay.
    pub fn overlay_work(&self, name: &str) -> PathBuf {
        self.root.join(OVERLAY).join(name)
    }

    /// Where a directory is put together that comes from the build and from the layers below it.
    pub fn merged(&self) -> PathBuf {
        self.root.join("merged")
    }

    /// Removes everything.
    pub async fn remove(&self) {
        disk::remove_tree(&self.root).await;
        crash_point("workspace.removed");
    }
}
