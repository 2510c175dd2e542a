//! A layer out of its archive. Root unpacks it, and it came over a network: nothing in it may reach anything outside of the
//! directory that it is unpacked to, and no more may come of it than was said.

use std::{
    cell::Cell,
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use grapnel_runtime::CancellationToken;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::pack::{ATTRIBUTE, Packed, Wanted};
use crate::cache::stack::{OPAQUE, REDIRECT};

/// How many bytes the heads of one entry may have: names are as long as Linux lets them be, and times and attributes.
const HEADS: u64 = 64 << 10;

/// Unpacks a layer to a new directory. Times of access, and who may run a file as somebody else, do not come along.
///
/// # Errors
/// It is not what was packed, has more than `most` bytes, the disk fails, or it was given up. What is in the directory then
/// is of no use.
pub fn unpack(
    from: impl Read,
    packed: &Packed,
    into: &Path,
    most: u64,
    given_up: &CancellationToken,
) -> io::Result<()> {
    std::fs::create_dir(into)?;
    let mut from =
        Hashing { from: Wanted(from.take(packed.bytes.saturating_add(1)), given_up), digest: Sha256::new() };
    let left = Rc::new(Cell::new(HEADS));
    let content = Metered { from: zstd::Decoder::new(&mut from)?, left: left.clone() };
    let top = rustix::fs::open(into, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut unpacker = Unpacker { top, parent: None, directories: Vec::new(), most };
    let mut archive = Archive::new(content);
    for entry in archive.entries()? {
        let entry = entry?;
        left.set(HEADS + entry.size());
        unpacker.entry(entry)?;
    }
    unpacker.finish()?;
    drop(archive);
    io::copy(&mut from, &mut io::sink())?;
    if hex::encode(from.digest.finalize()) == packed.digest {
        Ok(())
    } else {
        Err(invalid("what came is not what was packed"))
    }
}

struct Hashing<R> {
    from: R,
    digest: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

/// Lets no more be read than one entry may have: heads are held in memory.
struct Metered<R> {
    from: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| invalid("the head of an entry is too long"))?);
        Ok(read)
    }
}

/// What is given to a directory once all is in it.
struct Directory {
    path: PathBuf,
    mode: u32,
    owner: (Uid, Gid),
    times: Timestamps,
    attributes: Vec<(&'static str, Vec<u8>)>,
}

struct Unpacker {
    top: OwnedFd,
    /// The directory that the last entry was in: the next one is mostly in the same.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    directories: Vec<Directory>,
    most: u64,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> io::Result<()> {
        let path = inside(&entry.path_bytes())?;
        let name = path.file_name().ok_or_else(|| invalid("an entry has no name"))?.to_owned();
        let parent = self.parent_of(&path)?;
        let header = entry.header().clone();
        let (kind, mode) = (header.entry_type(), header.mode()?);
        let owner = (Uid::from_raw(id(header.uid()?)?), Gid::from_raw(id(header.gid()?)?));
        let mut times = times(i64::try_from(header.mtime()?).unwrap_or(0), 0);
        let mut attributes = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            match extension.key_bytes() {
                b"mtime" => times = decimal(extension.value_bytes())?,
                key => attributes.extend(mark(key, extension.value_bytes())?),
            }
        }
        match kind {
            EntryType::Directory => {
                rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
                self.directories.push(Directory { path, mode, owner, times, attributes });
                return Ok(());
            }
            EntryType::Regular => {
                self.most = self
                    .most
                    .checked_sub(entry.size())
                    .ok_or_else(|| invalid("it is larger than it may be"))?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR)?;
                let mut file = File::from(file);
                io::copy(&mut entry, &mut file)?;
                rustix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o1777))?;
                rustix::fs::futimens(&file, &times)?;
                return Ok(());
            }
            EntryType::Link => return self.link(&entry, &parent, &name),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| invalid("a link leads nowhere"))?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, &name)?;
            }
            EntryType::Char if (header.device_major()?, header.device_minor()?) == (Some(0), Some(0)) => {
                rustix::fs::mknodat(&parent, &name, FileType::CharacterDevice, Mode::empty(), 0)?;
            }
            _ => return Err(invalid("an entry is neither a file, a directory, a link nor a hidden name")),
        }
        rustix::fs::chownat(&parent, &name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::utimensat(&parent, &name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Gives a file that is there already another name.
    fn link<R: Read>(&self, entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let target = inside(&entry.link_name_bytes().ok_or_else(|| invalid("a link leads nowhere"))?)?;
        let from = self.open(&target, OFlags::PATH | OFlags::NOFOLLOW)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&from)?.st_mode) != FileType::RegularFile {
            return Err(invalid("a second name is of something else than a file"));
        }
        let (above, last) =
            (target.parent().unwrap_or(Path::new("")), target.file_name().unwrap_or_default());
        let above = self.open(above, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(rustix::fs::linkat(above, last, parent, name, AtFlags::empty())?)
    }

    /// Gives the directories what is theirs, the deepest first: what is put into one changes its time.
    fn finish(&mut self) -> io::Result<()> {
        for directory in std::mem::take(&mut self.directories).into_iter().rev() {
            let file = self.open(&directory.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            for (name, value) in directory.attributes {
                rustix::fs::fsetxattr(&file, name, &value, XattrFlags::empty())?;
            }
            rustix::fs::fchown(&file, Some(directory.owner.0), Some(directory.owner.1))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(directory.mode & 0o7777))?;
            rustix::fs::futimens(&file, &directory.times)?;
        }
        Ok(())
    }

    fn parent_of(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        let above = path.parent().unwrap_or(Path::new(""));
        if let Some((last, parent)) = &self.parent
            && last == above
        {
            return Ok(parent.clone());
        }
        let parent = Rc::new(self.open(above, OFlags::PATH | OFlags::DIRECTORY)?);
        self.parent = Some((above.to_owned(), parent.clone()));
        Ok(parent)
    }

    /// Opens what is at a path below the top, through no link.
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(self.top.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }
}

/// Takes a path of plain names.
fn inside(path: &[u8]) -> io::Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain { Ok(path.components().collect()) } else { Err(invalid("a path leads out of the layer")) }
}

/// Understands an attribute of a directory: whether it hides what is below, or where it goes on there.
fn mark(key: &[u8], value: &[u8]) -> io::Result<Option<(&'static str, Vec<u8>)>> {
    match key.strip_prefix(ATTRIBUTE.as_bytes()) {
        Some(name) if name == OPAQUE.as_bytes() && value == b"y" => Ok(Some((OPAQUE, value.to_owned()))),
        Some(name) if name == REDIRECT.as_bytes() => {
            // From the top of the layers below, or a name in the same directory.
            let plain = inside(value.strip_prefix(b"/").unwrap_or(value))?;
            let fits = value.starts_with(b"/") || plain.components().count() == 1;
            if fits {
                Ok(Some((REDIRECT, value.to_owned())))
            } else {
                Err(invalid("a directory goes on nowhere"))
            }
        }
        _ => Ok(None),
    }
}

/// Reads a time as POSIX has it in archives.
fn decimal(text: &[u8]) -> io::Result<Timestamps> {
    let wrong = || invalid("a time is no number");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = format!("{fraction:0<9}");
    let seconds: i64 = seconds.parse().map_err(|_| wrong())?;
    let nanoseconds: i64 = nanoseconds.get(..9).and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    // A fraction before 1970 takes away from the second before.
    let borrowed = i64::from(sign < 0 && nanoseconds > 0);
    Ok(times(
        sign * seconds - borrowed,
        if borrowed == 1 { 1_000_000_000 - nanoseconds } else { nanoseconds },
    ))
}

fn times(seconds: i64, nanoseconds: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    }
}

fn id(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| invalid("an owner has too large a number"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
