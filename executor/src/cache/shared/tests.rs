//! Layers as files, there and back, and what somebody else may have made of them.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use grapnel_runtime::CancellationToken;
use rustix::fs::XattrFlags;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::{Packed, pack::pack, unpack::unpack};
use crate::cache::stack::{OPAQUE, REDIRECT, attribute};

const MOST: u64 = 1 << 20;

/// All that is to be seen of a tree.
fn seen(top: &Path, below: &Path, into: &mut Vec<String>) {
    let mut entries: Vec<_> =
        fs::read_dir(top.join(below)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.sort();
    for name in entries {
        let path = below.join(name);
        let at = top.join(&path);
        let meta = at.symlink_metadata().unwrap();
        let content = if meta.is_file() {
            hex::encode(Sha256::digest(fs::read(&at).unwrap()))
        } else if meta.is_symlink() {
            format!("{:?}", fs::read_link(&at).unwrap())
        } else {
            format!("{:?} {:?}", attribute(&at, OPAQUE).unwrap(), attribute(&at, REDIRECT).unwrap())
        };
        // A file's size is its content's; a directory's is the file system's.
        let told =
            (meta.mode(), meta.uid(), meta.gid(), meta.rdev(), meta.mtime(), meta.mtime_nsec(), meta.nlink());
        into.push(format!("{} {told:?} {content}", path.display()));
        if meta.is_dir() {
            seen(top, &path, into);
        }
    }
}

fn packed(layer: &Path, to: &Path) -> io::Result<Packed> {
    pack(layer, to, MOST, &CancellationToken::new())
}

fn unpacked(file: &Path, packed: &Packed, into: &Path) -> io::Result<()> {
    unpack(File::open(file)?, packed, into, MOST, &CancellationToken::new())
}

#[test]
fn a_layer_comes_back_as_it_was_with_all_that_overlayfs_has_marked_it_with() {
    let directory = tempfile::tempdir().unwrap();
    let [layer, file, back] = ["layer", "file", "back"].map(|name| directory.path().join(name));
    let deep = layer.join("node_modules").join("d".repeat(200)).join("e".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("long"), "content").unwrap();
    fs::write(layer.join("odd \n\u{202e}name"), vec![7; 300_000]).unwrap();
    fs::write(layer.join("empty"), "").unwrap();
    fs::hard_link(deep.join("long"), layer.join("node_modules/second")).unwrap();
    symlink("../../outside", layer.join("node_modules/link")).unwrap();
    symlink("t".repeat(300), layer.join("node_modules/long link")).unwrap();
    for name in ["opaque", "moved", "moved far"] {
        fs::create_dir(layer.join(name)).unwrap();
    }
    for (name, key, value) in [
        ("opaque", OPAQUE, &b"y"[..]),
        ("moved", REDIRECT, b"once"),
        ("moved far", REDIRECT, b"/node_modules/far"),
    ] {
        rustix::fs::lsetxattr(layer.join(name), key, value, XattrFlags::empty()).unwrap();
    }
    let hidden = layer.join("hidden");
    let (device, none) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
    rustix::fs::mknodat(rustix::fs::CWD, &hidden, device, none, 0).unwrap();
    std::os::unix::fs::lchown(layer.join("empty"), Some(10_001), Some(10_002)).unwrap();
    fs::set_permissions(layer.join("empty"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(layer.join("node_modules"), fs::Permissions::from_mode(0o2751)).unwrap();
    let (before, after) = (Duration::new(2_000_000_000, 250_000_000), Duration::new(16_725_225_600, 7));
    for (name, time) in
        [("empty", SystemTime::UNIX_EPOCH - before), ("opaque", SystemTime::UNIX_EPOCH + after)]
    {
        File::open(layer.join(name)).unwrap().set_modified(time).unwrap();
    }
    let told = packed(&layer, &file).unwrap();
    assert_eq!(told.bytes, file.metadata().unwrap().len());
    assert_eq!(told.digest, hex::encode(Sha256::digest(fs::read(&file).unwrap())));
    unpacked(&file, &told, &back).unwrap();
    let [was, is] = [&layer, &back].map(|top| {
        let mut all = Vec::new();
        seen(top, Path::new(""), &mut all);
        all
    });
    assert_eq!(was, is);
    assert_eq!(is.len(), 13, "{is:#?}");
    assert!(back.join("hidden").symlink_metadata().unwrap().file_type().is_char_device());
}

#[test]
fn what_is_of_no_use_to_another_build_stays_behind() {
    let directory = tempfile::tempdir().unwrap();
    let [layer, file, back] = ["layer", "file", "back"].map(|name| directory.path().join(name));
    fs::create_dir(&layer).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(layer.join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        layer.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    fs::write(layer.join("program"), "").unwrap();
    fs::set_permissions(layer.join("program"), fs::Permissions::from_mode(0o6755)).unwrap();
    let told = packed(&layer, &file).unwrap();
    unpacked(&file, &told, &back).unwrap();
    let left: Vec<_> = fs::read_dir(&back).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["program"]);
    assert_eq!(
        back.join("program").metadata().unwrap().mode() & 0o7777,
        0o755,
        "nobody else runs it as its owner"
    );
}

#[test]
fn a_layer_with_more_than_it_may_have_is_not_packed_however_little_it_takes_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let [layer, file] = ["layer", "file"].map(|name| directory.path().join(name));
    fs::create_dir(&layer).unwrap();
    File::create(layer.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    let error = packed(&layer, &file).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    let given_up = CancellationToken::new();
    given_up.cancel();
    fs::write(layer.join("sparse"), "x").unwrap();
    pack(&layer, &directory.path().join("other"), MOST, &given_up).unwrap_err();
}

/// An entry of somebody else's making.
fn entry(kind: EntryType, path: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..path.len()].copy_from_slice(path);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn extended(key: &str, value: &[u8], next: Vec<u8>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions([(key, value)]).unwrap();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(next);
    bytes
}

/// Unpacks an archive of somebody else's making, told the right digest of it, and returns what was said.
fn refused(directory: &Path, archive: &[u8]) -> String {
    let bytes = zstd::encode_all(archive, 1).unwrap();
    let told = Packed { digest: hex::encode(Sha256::digest(&bytes)), bytes: bytes.len() as u64 };
    let into = directory.join("into");
    let _ = fs::remove_dir_all(&into);
    unpack(bytes.as_slice(), &told, &into, MOST, &CancellationToken::new()).unwrap_err().to_string()
}

#[test]
fn nothing_in_an_archive_reaches_out_of_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "kept").unwrap();
    let there = outside.to_str().unwrap().as_bytes();
    let file = |path: &[u8]| entry(EntryType::Regular, path, b"", b"evil");
    let link = |to: &[u8]| entry(EntryType::Symlink, b"link", to, b"");
    let folder = |path: &[u8]| entry(EntryType::Directory, path, b"", b"");
    let leads_out = "a path leads out of the layer";
    for (archive, why) in [
        (file(b"../outside/evil"), leads_out),
        (file(&[there, b"/evil"].concat()), leads_out),
        (file(b"a/../../outside/evil"), leads_out),
        (file(b"."), leads_out),
        (
            [link(b"../outside"), file(b"link/evil")].concat(),
            "Too many levels of symbolic links (os error 40)",
        ),
        ([link(b"../outside/secret"), file(b"link")].concat(), "File exists (os error 17)"),
        ([link(b"../outside"), folder(b"link")].concat(), "File exists (os error 17)"),
        (
            [link(b"../outside/secret"), entry(EntryType::Link, b"second", b"link", b"")].concat(),
            "a second name is of something else than a file",
        ),
        (entry(EntryType::Link, b"second", b"../outside/secret", b""), leads_out),
        (
            [link(b"../outside"), entry(EntryType::Link, b"second", b"link/secret", b"")].concat(),
            "Too many levels of symbolic links (os error 40)",
        ),
        (extended("SCHILY.xattr.trusted.overlay.redirect", b"/../outside", folder(b"moved")), leads_out),
        (extended("SCHILY.xattr.trusted.overlay.redirect", b"../outside", folder(b"moved")), leads_out),
        (
            extended("SCHILY.xattr.trusted.overlay.redirect", b"a/b", folder(b"moved")),
            "a directory goes on nowhere",
        ),
        (
            entry(EntryType::Fifo, b"pipe", b"", b""),
            "an entry is neither a file, a directory, a link nor a hidden name",
        ),
        (
            entry(EntryType::Block, b"disk", b"", b""),
            "an entry is neither a file, a directory, a link nor a hidden name",
        ),
    ] {
        assert_eq!(refused(directory.path(), &archive), why);
        let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["secret"]);
        assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "kept");
        assert_eq!(outside.join("secret").metadata().unwrap().nlink(), 1);
    }
}

#[test]
fn no_more_comes_of_an_archive_than_was_said() {
    let directory = tempfile::tempdir().unwrap();
    let large = vec![0; usize::try_from(MOST).unwrap() + 1];
    let archive = entry(EntryType::Regular, b"large", b"", &large);
    assert_eq!(refused(directory.path(), &archive), "it is larger than it may be");
    // What names a file may not be held in memory without end.
    let named = entry(EntryType::GNULongName, b"././@LongLink", b"", &vec![b'a'; 16 << 20]);
    assert!(refused(directory.path(), &named).contains("the head of an entry is too long"));

    let layer = directory.path().join("layer");
    fs::create_dir(&layer).unwrap();
    fs::write(layer.join("file"), "content").unwrap();
    let file = directory.path().join("file");
    let told = packed(&layer, &file).unwrap();
    let mut whole = Vec::new();
    File::open(&file).unwrap().read_to_end(&mut whole).unwrap();
    let mut tries = 0;
    let mut said = |bytes: &[u8], told: &Packed| {
        tries += 1;
        let into = directory.path().join(format!("try-{tries}"));
        unpack(bytes, told, &into, MOST, &CancellationToken::new()).map_err(|error| error.to_string())
    };
    said(&whole, &told).unwrap();
    let mut longer = whole.clone();
    longer.push(0);
    assert!(said(&longer, &told).is_err(), "more came");
    assert!(said(&whole[..whole.len() - 1], &told).is_err(), "less came");
    let other = Packed { digest: "0".repeat(64), ..told };
    assert_eq!(said(&whole, &other).unwrap_err(), "what came is not what was packed");
}
