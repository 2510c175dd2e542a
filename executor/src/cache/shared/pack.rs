//! A layer as one file: a tar archive, compressed by zstd, whose name is its SHA-256.
//!
//! What overlayfs marks a layer with goes along: a name that is hidden is a character device 0:0, as in the layer itself, and
//! the attributes of directories stand in extended headers, `SCHILY.xattr.…`, as `tar --xattrs` and others write them. Times
//! keep their nanoseconds there too (`mtime`, POSIX.1-2001). Sockets, pipes and other devices are of no use to another build,
//! and stay behind.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata},
    io::{self, BufWriter, Read, Write},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use grapnel_runtime::CancellationToken;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::cache::stack::{METACOPY, OPAQUE, REDIRECT, attribute};

/// How hard zstd tries: its own default. Caches are mostly text, and a network is slower than this.
const LEVEL: i32 = 3;

/// What the attributes' names begin with in an archive.
pub const ATTRIBUTE: &str = "SCHILY.xattr.";

/// A layer that has been packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// The SHA-256 of the file, in hexadecimal digits.
    pub digest: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Packs the layer in a directory into a new file.
///
/// # Errors
/// Its files have more than `most` bytes together, however little they take on disk; it cannot be said as an archive; the
/// disk fails; or it was given up.
pub fn pack(layer: &Path, to: &Path, most: u64, given_up: &CancellationToken) -> io::Result<Packed> {
    let file = Hashing { to: BufWriter::new(File::create_new(to)?), digest: Sha256::new(), bytes: 0 };
    let mut packer = Packer {
        archive: Builder::new(zstd::Encoder::new(file, LEVEL)?),
        layer,
        seen: HashMap::new(),
        left: most,
        given_up,
    };
    packer.directory(Path::new(""))?;
    let mut file = packer.archive.into_inner()?.finish()?;
    file.to.flush()?;
    Ok(Packed { digest: hex::encode(file.digest.finalize()), bytes: file.bytes })
}

/// Counts and digests what is written.
struct Hashing<W> {
    to: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Ends with an error once nobody wants it any more.
pub struct Wanted<'a, R>(pub R, pub &'a CancellationToken);

impl<R: Read> Read for Wanted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_cancelled() { Err(io::Error::other("it was given up")) } else { self.0.read(buffer) }
    }
}

struct Packer<'a, W: Write> {
    archive: Builder<W>,
    layer: &'a Path,
    /// The names under which files with several have been packed.
    seen: HashMap<(u64, u64), PathBuf>,
    left: u64,
    given_up: &'a CancellationToken,
}

impl<W: Write> Packer<'_, W> {
    /// Packs what a directory has, and what is below it.
    fn directory(&mut self, path: &Path) -> io::Result<()> {
        let entries = fs::read_dir(self.layer.join(path))?.map(|entry| Ok(entry?.file_name()));
        let mut names = entries.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let path = path.join(name);
            let meta = self.layer.join(&path).symlink_metadata()?;
            self.entry(&path, &meta)?;
            if meta.is_dir() {
                self.directory(&path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, meta: &Metadata) -> io::Result<()> {
        let from = self.layer.join(path);
        let kind = meta.file_type();
        let mut header = Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
        header.set_size(0);
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.extend(
                meta,
                &[(OPAQUE, attribute(&from, OPAQUE)?), (REDIRECT, attribute(&from, REDIRECT)?)],
            )?;
            self.archive.append_data(&mut header, path, io::empty())
        } else if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            self.extend(meta, &[])?;
            self.archive.append_link(&mut header, path, fs::read_link(from)?)
        } else if kind.is_char_device() && meta.rdev() == 0 {
            header.set_entry_type(EntryType::Char);
            header.set_device_major(0)?;
            header.set_device_minor(0)?;
            self.extend(meta, &[])?;
            self.archive.append_data(&mut header, path, io::empty())
        } else if kind.is_file() {
            self.file(path, meta, header)
        } else {
            Ok(())
        }
    }

    fn file(&mut self, path: &Path, meta: &Metadata, mut header: Header) -> io::Result<()> {
        let from = self.layer.join(path);
        if attribute(&from, METACOPY)?.is_some() {
            return Err(io::Error::other(
                "the kernel keeps owners and contents of its files in different layers",
            ));
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.seen.get(&(meta.dev(), meta.ino())) {
                header.set_entry_type(EntryType::Link);
                return self.archive.append_link(&mut header, path, first);
            }
            self.seen.insert((meta.dev(), meta.ino()), path.to_owned());
        }
        self.left = self.left.checked_sub(meta.len()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "its files have more bytes than a cache may (cache.key_bytes)",
            )
        })?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(meta.len());
        self.extend(meta, &[])?;
        let content = Wanted(File::open(from)?.take(meta.len()), self.given_up);
        self.archive.append_data(&mut header, path, content)
    }

    /// Says of the next entry what its own header has no place for.
    fn extend(&mut self, meta: &Metadata, attributes: &[(&str, Option<OsString>)]) -> io::Result<()> {
        let mut said: Vec<(String, Vec<u8>)> = Vec::new();
        if meta.mtime() < 0 || meta.mtime_nsec() != 0 {
            said.push(("mtime".to_owned(), decimal(meta.mtime(), meta.mtime_nsec()).into_bytes()));
        }
        for (name, value) in attributes {
            if let Some(value) = value.as_deref().map(OsStr::as_bytes) {
                if value.contains(&b'\n') {
                    return Err(io::Error::other("a directory was renamed from a name with a newline"));
                }
                said.push((format!("{ATTRIBUTE}{name}"), value.to_owned()));
            }
        }
        self.archive.append_pax_extensions(said.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
    }
}

/// Writes a time as POSIX has it in archives: seconds, with a fraction, and a sign before 1970.
fn decimal(seconds: i64, nanoseconds: i64) -> String {
    let all = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let (sign, all) = if all < 0 { ("-", -all) } else { ("", all) };
    format!("{sign}{}.{:09}", all / 1_000_000_000, all % 1_000_000_000)
}
