//! What a stack of overlay layers shows, as the kernel would show it, without a mount.
//!
//! The marks are those of Linux' overlayfs (Documentation/filesystems/overlayfs.rst): a character device 0:0 hides a
//! name, `trusted.overlay.opaque` = `y` hides what is below a directory, `trusted.overlay.redirect` says by which name,
//! or by which path from the top, a directory goes on in the layers below. Only root sees `trusted` attributes.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, FileTimes, Metadata},
    io::{self, ErrorKind},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{fs::XattrFlags, io::Errno};

pub(super) const OPAQUE: &str = "trusted.overlay.opaque";
pub(super) const REDIRECT: &str = "trusted.overlay.redirect";
/// That only the owner and mode of a file are here, and its content below; of kernels that are told to do so.
pub(super) const METACOPY: &str = "trusted.overlay.metacopy";

/// The longest path that a redirection names.
const REDIRECT_LIMIT: usize = 4096;

/// Layers, topmost first.
#[derive(Clone, Debug)]
pub struct Stack {
    layers: Vec<PathBuf>,
}

/// A directory of one layer.
#[derive(Clone, Debug)]
pub struct Place {
    layer: usize,
    path: PathBuf,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// Anything but a directory, and where it is.
    File(PathBuf),
    /// A directory, and what makes it up.
    Directory(Vec<Place>),
}

/// How files get from the layers to another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By a second name of the same file: nothing is copied, and neither may ever be changed.
    Link,
    /// By a copy.
    Copy,
}

/// What one layer has under a name.
pub(super) enum Mark {
    Absent,
    Whiteout,
    File,
    Directory { opaque: bool, redirect: Option<OsString> },
}

impl Stack {
    /// Takes the directories of layers, topmost first.
    pub fn new(layers: Vec<PathBuf>) -> Self {
        Self { layers }
    }

    /// Says what is at a path from the top; an empty path is the top.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn find(&self, path: &Path) -> io::Result<Shown> {
        let mut at = Shown::Directory(self.places(0));
        for part in path.components() {
            match (part, &at) {
                (Component::CurDir, _) => {}
                (Component::Normal(name), Shown::Directory(places)) => at = self.child(places, name)?,
                _ => return Ok(Shown::Nothing),
            }
        }
        Ok(at)
    }

    /// Puts what is shown at a new path, with owners, modes and times.
    ///
    /// # Errors
    /// The disk is full, or something is there already.
    pub fn materialise(&self, shown: &Shown, to: &Path, how: How) -> io::Result<()> {
        match shown {
            Shown::Nothing => Ok(()),
            Shown::File(from) if how == How::Link => fs::hard_link(from, to),
            Shown::File(from) => copy(from, to),
            Shown::Directory(places) => {
                let Some(top) = places.first() else { return Ok(()) };
                fs::create_dir(to)?;
                self.fill(places, to, how)?;
                like(&top.path.symlink_metadata()?, to)
            }
        }
    }

    /// Puts what a directory shows into one that is there.
    ///
    /// # Errors
    /// As [`Stack::materialise`].
    pub fn fill(&self, places: &[Place], into: &Path, how: How) -> io::Result<()> {
        for name in names(places)? {
            let child = self.child(places, &name)?;
            self.materialise(&child, &into.join(&name), how)?;
        }
        Ok(())
    }

    /// Makes an empty directory like one that is shown.
    ///
    /// # Errors
    /// The disk is full.
    pub fn like_directory(&self, places: &[Place], to: &Path) -> io::Result<()> {
        let Some(top) = places.first() else { return Ok(()) };
        fs::create_dir(to)?;
        like(&top.path.symlink_metadata()?, to)
    }

    fn places(&self, from: usize) -> Vec<Place> {
        let layers = self.layers.iter().enumerate().skip(from);
        layers.map(|(layer, path)| Place { layer, path: path.clone() }).collect()
    }

    fn child(&self, places: &[Place], name: &OsStr) -> io::Result<Shown> {
        let mut found = Vec::new();
        let mut below = places.to_vec();
        let mut name = PathBuf::from(name);
        let mut at = 0;
        while let Some(Place { layer, path: base }) = below.get(at).cloned() {
            at += 1;
            let reached = reach(&base, &name)?;
            let path = base.join(&name);
            match reached.mark {
                Mark::Whiteout => break,
                Mark::File if found.is_empty() => return Ok(Shown::File(path)),
                Mark::File => break,
                Mark::Absent => {}
                Mark::Directory { .. } => found.push(Place { layer, path }),
            }
            if reached.hides_below {
                break;
            }
            name = reached.name_below;
            if reached.from_the_top {
                below = self.places(layer + 1);
                at = 0;
            }
        }
        Ok(if found.is_empty() { Shown::Nothing } else { Shown::Directory(found) })
    }
}

/// What one layer has, and how it goes on in the layers below.
struct Reached {
    mark: Mark,
    /// Whether nothing of the layers below is seen there.
    hides_below: bool,
    /// The name in the layers below.
    name_below: PathBuf,
    /// Whether that is a path from the top, and no longer a name in the same directory.
    from_the_top: bool,
}

/// Looks at a name of one layer, or a path from its top, part by part: what hides or renames a part does so for what
/// is below it.
fn reach(base: &Path, name: &Path) -> io::Result<Reached> {
    let mut at = base.to_owned();
    let mut reached =
        Reached { mark: Mark::Absent, hides_below: false, name_below: PathBuf::new(), from_the_top: false };
    let mut parts = name.components().peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        reached.name_below.push(part);
        reached.mark = mark(&at)?;
        match &reached.mark {
            Mark::Directory { opaque: true, .. } => reached.hides_below = true,
            Mark::Directory { redirect: Some(to), .. } if to.as_bytes().starts_with(b"/") => {
                reached.name_below = Path::new(to).strip_prefix("/").unwrap_or(Path::new(to)).to_owned();
                reached.from_the_top = true;
            }
            // Only this part changes: the directory was renamed beside itself.
            Mark::Directory { redirect: Some(to), .. } => reached.name_below.set_file_name(to),
            Mark::Directory { redirect: None, .. } => {}
            Mark::Whiteout => break,
            Mark::File if parts.peek().is_some() => {
                reached.mark = Mark::Whiteout;
                break;
            }
            Mark::File => {}
            Mark::Absent => {
                reached.name_below.extend(parts);
                break;
            }
        }
    }
    Ok(reached)
}

/// Reads what one layer has at a path.
pub(super) fn mark(path: &Path) -> io::Result<Mark> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Mark::Absent);
        }
        Err(error) => return Err(error),
    };
    if meta.file_type().is_char_device() && meta.rdev() == 0 {
        return Ok(Mark::Whiteout);
    }
    if !meta.is_dir() {
        return Ok(Mark::File);
    }
    let opaque = attribute(path, OPAQUE)?.is_some_and(|value| value.as_bytes() == b"y");
    Ok(Mark::Directory { opaque, redirect: attribute(path, REDIRECT)? })
}

/// Tells whether any directory of a layer goes on under another name in the layers below.
pub(super) fn goes_on_elsewhere(layer: &Path) -> io::Result<bool> {
    let mut waiting = vec![layer.to_owned()];
    while let Some(path) = waiting.pop() {
        if attribute(&path, REDIRECT)?.is_some() {
            return Ok(true);
        }
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(false)
}

/// Hides what layers below have at a directory of an upper one that is not mounted.
pub(super) fn make_opaque(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path, OPAQUE, b"y", XattrFlags::empty())?)
}

/// Reads an attribute, of a link itself.
pub(super) fn attribute(path: &Path, name: &str) -> io::Result<Option<OsString>> {
    let mut value = [0; REDIRECT_LIMIT];
    match rustix::fs::lgetxattr(path, name, &mut value[..]) {
        Ok(length) => Ok(Some(OsString::from_vec(value[..length].to_vec()))),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn names(places: &[Place]) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for place in places {
        for entry in fs::read_dir(&place.path)? {
            names.insert(entry?.file_name());
        }
    }
    Ok(names)
}

/// Copies anything but a directory. Sockets, pipes and devices are of no use to another build, and stay behind.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let meta = from.symlink_metadata()?;
    if meta.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
        return std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid()));
    }
    if !meta.is_file() {
        return Ok(());
    }
    fs::copy(from, to)?;
    like(&meta, to)
}

/// Gives a file or directory the owner, mode and times of another.
fn like(meta: &Metadata, path: &Path) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    let times = FileTimes::new().set_accessed(meta.accessed()?).set_modified(meta.modified()?);
    match fs::File::open(path) {
        Ok(file) => file.set_times(times),
        // Who is not root does not open what its owner closed; its times are of no weight.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn upper_files_hide_lower_ones_and_directories_are_merged() {
        let directory = tempfile::tempdir().unwrap();
        let [upper, lower, into] = ["upper", "lower", "into"].map(|name| directory.path().join(name));
        write(&upper, "both/a", "upper");
        write(&upper, "file", "a file hides a directory");
        write(&lower, "both/a", "lower");
        write(&lower, "both/b", "lower");
        write(&lower, "file/below", "never seen");
        std::os::unix::fs::symlink("../outside", lower.join("both/link")).unwrap();
        fs::set_permissions(lower.join("both/b"), fs::Permissions::from_mode(0o640)).unwrap();
        for how in [How::Link, How::Copy] {
            let stack = Stack::new(vec![upper.clone(), lower.clone()]);
            let top = stack.find(Path::new("")).unwrap();
            stack.materialise(&top, &into, how).unwrap();
            let read = |path: &str| fs::read_to_string(into.join(path)).unwrap();
            assert_eq!((read("both/a").as_str(), read("both/b").as_str()), ("upper", "lower"));
            assert_eq!(read("file"), "a file hides a directory");
            assert_eq!(fs::read_link(into.join("both/link")).unwrap(), Path::new("../outside"));
            assert_eq!(into.join("both/b").metadata().unwrap().mode() & 0o777, 0o640);
            assert!(matches!(stack.find(Path::new("file/below")).unwrap(), Shown::Nothing));
            assert!(matches!(stack.find(Path::new("../upper")).unwrap(), Shown::Nothing));
            fs::remove_dir_all(&into).unwrap();
        }
    }
}
