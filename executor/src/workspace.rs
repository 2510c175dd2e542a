//! The directories of one attempt.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::disk;
use grapnel_runtime::crash_point;

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
        crash_point("workspace.made");
        Ok(workspace)
    }

    /// Takes the directories that another process has made.
    pub fn open(root: PathBuf) -> Self {
        Self { root }
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

    /// Where the tools' own caches are, or what the build adds to them.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Where the kernel works on an overlay.
    pub fn overlay_work(&self, name: &str) -> PathBuf {
        self.root.join("overlay").join(name)
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
