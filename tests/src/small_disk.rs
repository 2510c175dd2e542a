//! A disk that can be full.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system of its own at a directory. It is gone when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one with so many bytes at a directory, which is made.
    ///
    /// # Panics
    /// This user may not mount.
    pub fn at(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).expect("a directory can be made");
        mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"], path);
        Self { path: path.to_owned() }
    }

    /// Gives it so many bytes.
    ///
    /// # Panics
    /// This user may not mount.
    pub fn grow_to(&self, bytes: u64) {
        mount(&["-o", &format!("remount,size={bytes}")], &self.path);
    }

    /// Takes all room that there is.
    pub fn fill(&self) {
        let Ok(mut file) = File::options().create(true).append(true).open(self.filler()) else { return };
        for piece in [1 << 16, 1 << 12, 1] {
            let piece = vec![0; piece];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.path.join(".fill")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn mount(options: &[&str], path: &Path) {
    let mounted = Command::new("mount").args(options).arg(path).status();
    assert!(mounted.is_ok_and(|mounted| mounted.success()), "a file system can be mounted");
}
