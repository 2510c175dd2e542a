//! From a build's output to an artifact's files, on this machine's disk.
//!
//! A publisher has a directory of its own, and a lock on it for as long as it lives: what nobody has locked was left by
//! one that died. The output was made by somebody hostile. Every directory is opened without following links, relative to the one
//! above, so that nothing outside is ever read, whatever is swapped meanwhile.

use std::{
    fs::{self, DirEntry, File},
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use grapnel_domain::id::DeploymentId;
use grapnel_runtime::CancellationToken;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags, flock, openat, openat2, statat,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    ArtifactError,
    manifest::{FileEntry, Manifest, content_type},
};

/// How deep an output may be.
const MAX_DEPTH: usize = 100;

/// How many bytes the paths of an output may have together: gateways have all of them in memory.
const MAX_NAMES: usize = 32 << 20;

/// How large an output may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// Why an output is not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not there, or no directory.
    #[error("the output is no directory")]
    NoDirectory,
    /// Nothing is in it.
    #[error("the output directory is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("the output is larger than the {0} bytes that are allowed")]
    TooLarge(u64),
    /// More files than allowed.
    #[error("the output has more than the {0} files that are allowed")]
    TooMany(u64),
    /// Paths that are too long together.
    #[error("the paths in the output are longer than the {MAX_NAMES} bytes that are allowed for all of them")]
    NamesTooLong,
    /// A link that leads out, or to nothing, or to a directory.
    #[error(
        "`{0}` in the output is a link that leads out of it, to a directory or to nothing; only links to files inside can be published"
    )]
    Link(String),
    /// A device, pipe or socket.
    #[error("`{0}` in the output is neither a file nor a directory")]
    Special(String),
    /// A name that no address can have.
    #[error("`{0}` in the output has a name that is not UTF-8 or holds control characters")]
    Name(String),
    /// Deeper than allowed.
    #[error("the output has more than {MAX_DEPTH} levels of directories")]
    TooDeep,
}

impl Refusal {
    /// Tells whether it is about size.
    pub fn is_about_size(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::TooMany(_) | Self::NamesTooLong)
    }
}

/// How the names of publishers' directories end.
const STAGING: &str = ".staging";

/// The directory of one publisher. It is removed when this is dropped, unless it has been renamed.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    /// Kept for its lock.
    _locked: File,
}

impl Staging {
    /// Makes one below `directory`.
    pub fn create(directory: &Path, deployment: DeploymentId) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(format!(".{deployment}.{}{STAGING}", Uuid::new_v4().simple()));
        fs::create_dir(&path)?;
        let locked = File::open(&path)?;
        flock(&locked, FlockOperation::LockExclusive)?;
        Ok(Self { path, _locked: locked })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where a file is that was taken.
    pub fn path_of(&self, file: &FileEntry) -> PathBuf {
        self.path.join("files").join(&file.path)
    }

    /// Copies an output into it.
    pub fn take(
        &self,
        output: &Path,
        limits: Limits,
        given_up: &CancellationToken,
    ) -> Result<Manifest, ArtifactError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(output, flags, Mode::empty()).map_err(|_| Refusal::NoDirectory)?;
        let files = self.path.join("files");
        fs::create_dir(&files)?;
        let (bytes, names, entries) = (0, 0, Vec::new());
        let mut taken = Taken { root: &root, files: &files, limits, bytes, names, entries, given_up };
        taken.directory(root.as_fd(), "", 0)?;
        let mut entries = taken.entries;
        if entries.is_empty() {
            return Err(Refusal::Empty.into());
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Manifest { version: Manifest::VERSION, files: entries })
    }

    /// Writes the manifest beside what was taken, and makes all of it durable.
    pub fn seal(&self, manifest: &Manifest) -> Result<(), ArtifactError> {
        let mut file = File::create(self.path.join("manifest.json"))?;
        file.write_all(&serde_json::to_vec(manifest).map_err(ArtifactError::Manifest)?)?;
        // One call for the file system instead of one for each of many thousand files.
        Ok(rustix::fs::syncfs(&file).map_err(io::Error::from)?)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.path) {
            tracing::warn!(%error, "what a publisher used cannot be removed; the next sweep tries again");
        }
    }
}

/// Removes the directories below `directory` of publishers that died.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in entries(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().ends_with(STAGING) {
            continue;
        }
        let opened = match File::open(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => remove_if_there(&entry.path())?,
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns what is in a directory; nothing in one that is not there.
pub fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        read => Ok(Some(read?).into_iter().flatten()),
    }
}

/// Removes a directory with all that is in it.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is taken of an output, so far.
struct Taken<'a> {
    root: &'a OwnedFd,
    files: &'a Path,
    limits: Limits,
    bytes: u64,
    names: usize,
    entries: Vec<FileEntry>,
    given_up: &'a CancellationToken,
}

impl Taken<'_> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &str,
        depth: usize,
    ) -> Result<(), ArtifactError> {
        if depth > MAX_DEPTH {
            return Err(Refusal::TooDeep.into());
        }
        for entry in Dir::read_from(directory).map_err(io::Error::from)? {
            if self.given_up.is_cancelled() {
                return Err(ArtifactError::GivenUp);
            }
            let entry = entry.map_err(io::Error::from)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || (depth == 0 && name == b".git") {
                continue;
            }
            let name = publishable_name(name)?;
            let inner = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let opened = openat(directory, name, flags, Mode::empty()).map_err(io::Error::from)?;
                    fs::create_dir(self.files.join(&inner))?;
                    self.directory(opened.as_fd(), &inner, depth + 1)?;
                }
                FileType::RegularFile => {
                    // Not waiting: what was a file may be a pipe by now.
                    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                    let opened = openat(directory, name, flags, Mode::empty()).map_err(io::Error::from)?;
                    self.file(opened, &inner)?;
                }
                FileType::Symlink => self.link(&inner)?,
                _ => return Err(Refusal::Special(inner).into()),
            }
        }
        Ok(())
    }

    /// A link to a file inside becomes a copy of that file. The kernel itself keeps the way inside.
    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        let flags = OFlags::CLOEXEC | OFlags::NONBLOCK;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(self.root, path, flags, Mode::empty(), inside)
            .map_err(|_| Refusal::Link(path.to_owned()))?;
        self.file(opened, path)
    }

    fn file(&mut self, file: OwnedFd, path: &str) -> Result<(), ArtifactError> {
        let file = File::from(file);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(Refusal::Link(path.to_owned()).into());
        }
        if self.entries.len() as u64 >= self.limits.files {
            return Err(Refusal::TooMany(self.limits.files).into());
        }
        self.names += path.len();
        if self.names > MAX_NAMES {
            return Err(Refusal::NamesTooLong.into());
        }
        // By the size that is claimed first: a sparse file of a tebibyte is not read through.
        let left = self.limits.bytes - self.bytes;
        if meta.len() > left {
            return Err(Refusal::TooLarge(self.limits.bytes).into());
        }
        let (size, digest) = copy(file.take(left + 1), &self.files.join(path))?;
        if size > left {
            return Err(Refusal::TooLarge(self.limits.bytes).into());
        }
        self.bytes += size;
        self.entries.push(FileEntry {
            path: path.to_owned(),
            size,
            digest,
            content_type: content_type(path),
            blob: None,
        });
        Ok(())
    }
}

fn publishable_name(name: &[u8]) -> Result<&str, Refusal> {
    let refuse = || Refusal::Name(String::from_utf8_lossy(name).escape_debug().to_string());
    let text = std::str::from_utf8(name).map_err(|_| refuse())?;
    if text.chars().any(char::is_control) { Err(refuse()) } else { Ok(text) }
}

fn copy(from: impl io::Read, to: &Path) -> io::Result<(u64, String)> {
    let mut to = File::create_new(to)?;
    read_through(from, |piece| to.write_all(piece))
}

/// Returns the size of what is read, and its SHA-256.
pub fn hash(from: impl io::Read) -> io::Result<(u64, String)> {
    read_through(from, |_| Ok(()))
}

fn read_through(
    mut from: impl io::Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok((size, hex::encode(digest.finalize())));
        }
        digest.update(&buffer[..length]);
        each(&buffer[..length])?;
        size += length as u64;
    }
}
