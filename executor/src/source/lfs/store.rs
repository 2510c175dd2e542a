//! The large files of a repository that are here already, beside its mirror and belonging to whom the mirror does.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::pointer::{Pointer, Standing};

/// A directory of large files by digest.
#[derive(Clone, Debug)]
pub struct LargeFiles(PathBuf);

/// A large file on its way.
#[derive(Debug)]
pub struct Incoming {
    file: NamedTempFile,
    digest: Sha256,
    bytes: u64,
    wanted: Pointer,
    to: PathBuf,
}

/// Why what comes is not what was wanted.
#[derive(Debug)]
pub enum Wrong {
    /// It says something else than its pointer.
    Content(&'static str),
    /// It cannot be kept.
    Io(io::Error),
}

impl LargeFiles {
    /// Opens a directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    /// Tells whether a large file is here. What is here was verified when it came.
    pub fn has(&self, pointer: &Pointer) -> bool {
        self.at(pointer).metadata().is_ok_and(|meta| meta.len() == pointer.size)
    }

    /// Begins to take a large file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&self, wanted: &Pointer) -> io::Result<Incoming> {
        let file = tempfile::Builder::new().prefix(".incoming-").tempfile_in(&self.0)?;
        let to = self.at(wanted);
        Ok(Incoming { file, digest: Sha256::new(), bytes: 0, wanted: wanted.clone(), to })
    }

    /// Removes what nobody wants now, where what is to come has no room beside it; and what a dead process left.
    pub fn make_room(&self, wanted: &[Pointer], limit: u64) {
        let keep: HashSet<&str> = wanted.iter().map(|pointer| pointer.oid.as_str()).collect();
        let others: Vec<_> =
            fs::read_dir(&self.0).map(|entries| entries.flatten().collect()).unwrap_or_default();
        let size = |entry: &fs::DirEntry| entry.metadata().map_or(0, |meta| meta.len());
        let is_kept = |entry: &fs::DirEntry| keep.contains(entry.file_name().to_string_lossy().as_ref());
        let mut used: u64 = wanted.iter().map(|pointer| pointer.size).sum();
        used += others.iter().filter(|entry| !is_kept(entry)).map(size).sum::<u64>();
        for entry in others.iter().filter(|entry| !is_kept(entry)) {
            let is_torn = entry.file_name().to_string_lossy().starts_with('.');
            if is_torn || used > limit {
                used = used.saturating_sub(size(entry));
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Puts large files where their pointers stand. By rename within the directory, so that no link is followed; who may
    /// run a file stays who may.
    ///
    /// # Errors
    /// The disk is full, or a pointer is gone.
    pub fn place(&self, standing: &[Standing]) -> io::Result<()> {
        for Standing { path, pointer } in standing {
            let modes = path.symlink_metadata()?;
            let parent = path.parent().unwrap_or(Path::new("/"));
            let mut file = tempfile::Builder::new().prefix(".large-").tempfile_in(parent)?;
            io::copy(&mut fs::File::open(self.at(pointer))?, file.as_file_mut())?;
            file.as_file().set_permissions(modes.permissions())?;
            file.persist(path).map_err(|error| error.error)?;
        }
        Ok(())
    }

    fn at(&self, pointer: &Pointer) -> PathBuf {
        self.0.join(&pointer.oid)
    }
}

impl Incoming {
    /// Takes what has come.
    ///
    /// # Errors
    /// It is more than was wanted, or cannot be written.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.wanted.size {
            return Err(Wrong::Content("the server sends more than its pointer says"));
        }
        self.digest.update(bytes);
        io::Write::write_all(self.file.as_file_mut(), bytes).map_err(Wrong::Io)
    }

    /// Keeps it, where it is what was wanted.
    ///
    /// # Errors
    /// It is not, or cannot be kept.
    pub fn keep(self) -> Result<(), Wrong> {
        if self.bytes != self.wanted.size {
            return Err(Wrong::Content("the server sends less than its pointer says"));
        }
        if hex::encode(self.digest.finalize()) != self.wanted.oid {
            return Err(Wrong::Content("the server sends something else than its pointer says"));
        }
        self.file.persist(self.to).map(|_| ()).map_err(|error| Wrong::Io(error.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> Pointer {
        Pointer { oid: hex::encode(Sha256::digest(text)), size: text.len() as u64 }
    }

    fn put(files: &LargeFiles, text: &str) {
        let mut incoming = files.begin(&pointer(text)).unwrap();
        incoming.take(text.as_bytes()).unwrap();
        incoming.keep().unwrap();
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_what_nobody_wants_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let files = LargeFiles::open(directory.path().join("x.lfs")).unwrap();
        put(&files, "first");
        put(&files, "second");
        for (sent, says) in [("thirty", "more"), ("thi", "less"), ("THIRD", "else")] {
            let mut incoming = files.begin(&pointer("third")).unwrap();
            let ended = incoming.take(sent.as_bytes()).and_then(|()| incoming.keep());
            assert!(matches!(&ended, Err(Wrong::Content(why)) if why.contains(says)), "{sent}: {ended:?}");
        }
        assert!(!files.has(&pointer("third")));
        files.make_room(&[pointer("second"), pointer("third")], 16);
        assert!(files.has(&pointer("first")) && files.has(&pointer("second")), "there is room for all");
        files.make_room(&[pointer("second"), pointer("third")], 11);
        assert!(!files.has(&pointer("first")) && files.has(&pointer("second")), "the wanted ones stay");
    }
}
