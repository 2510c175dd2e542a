//! Private files: what git and ssh have to read and nobody else may. One directory for one call, in memory where the
//! machine has a file system for that, gone when the call is over, however it ends.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// Where Linux has shared memory as files (shm_overview(7)).
const IN_MEMORY: &str = "/dev/shm";

/// How statfs(2) tells that a file system is in memory.
const TMPFS: i64 = 0x0102_1994;

/// How often a directory is removed again into which somebody still wrote: who was killed takes a moment to be gone.
const ROUNDS: u32 = 100;

/// Where private files are made.
#[derive(Clone, Debug)]
pub struct PrivatePlace {
    below: PathBuf,
    prefix: String,
}

/// The private files of one call. They are gone when this is dropped.
#[derive(Debug)]
pub struct PrivateFiles(PathBuf);

impl PrivatePlace {
    /// Chooses a place for the executor whose own directory this is, and removes what a process of it left that died.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn prepare(own: &Path) -> io::Result<Self> {
        let prefix =
            format!("grapnel-{}-", &hex::encode(Sha256::digest(own.as_os_str().as_encoded_bytes()))[..16]);
        let place = match Self::in_memory(&prefix) {
            Some(place) => place,
            None => Self { below: own.join("private"), prefix },
        };
        fs::create_dir_all(&place.below)?;
        place.sweep();
        Ok(place)
    }

    fn in_memory(prefix: &str) -> Option<Self> {
        let is_in_memory = rustix::fs::statfs(IN_MEMORY).is_ok_and(|stat| stat.f_type == TMPFS);
        let place = Self { below: IN_MEMORY.into(), prefix: prefix.to_owned() };
        // It may be closed to us, or read-only.
        (is_in_memory && place.files().is_ok()).then_some(place)
    }

    /// Makes a directory for one call, which only we can enter.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn files(&self) -> io::Result<PrivateFiles> {
        let ours_alone = fs::Permissions::from_mode(0o700);
        let mut directory = tempfile::Builder::new();
        let directory = directory.prefix(&self.prefix).permissions(ours_alone).tempdir_in(&self.below)?;
        Ok(PrivateFiles(directory.keep()))
    }

    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.below) else { return };
        let own = rustix::process::geteuid().as_raw();
        for entry in entries.flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with(&self.prefix)
                && entry.path().symlink_metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == own);
            if is_ours {
                drop(PrivateFiles(entry.path()));
            }
        }
    }
}

impl PrivateFiles {
    /// Writes a file that only we can read, and returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }
}

impl Drop for PrivateFiles {
    fn drop(&mut self) {
        for _ in 0..ROUNDS {
            match fs::remove_dir_all(&self.0) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => std::thread::yield_now(),
                Err(error) => {
                    tracing::error!(path = %self.0.display(), %error, "private files cannot be removed");
                    return;
                }
            }
        }
        tracing::error!(path = %self.0.display(), "private files cannot be removed: somebody writes there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_ours_alone_and_go_with_the_call_or_with_the_next_start() {
        let own = tempfile::tempdir().unwrap();
        let place = PrivatePlace::prepare(own.path()).unwrap();
        let other = PrivatePlace::prepare(tempfile::tempdir().unwrap().path()).unwrap().files().unwrap();
        let files = place.files().unwrap();
        let path = files.write("credentials", "secret").unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
        drop(files);
        assert!(!path.parent().unwrap().exists());

        let left = std::mem::ManuallyDrop::new(place.files().unwrap());
        left.write("key", "secret").unwrap();
        PrivatePlace::prepare(own.path()).unwrap();
        assert!(!left.0.exists(), "a process that died cannot remove it itself");
        assert!(other.0.exists(), "what another executor uses stays");
    }
}
