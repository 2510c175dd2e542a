//! Volumes, which this engine makes itself: directories of the node that its pods mount, and overlays that the executor mounts
//! below a directory whose mounts the node shares.
//!
//! Of each a file says what it is, before anything else is made, so that it is found by whatever process comes next.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount},
};
use serde::{Deserialize, Serialize};

use crate::engine::{EngineError, Volume, VolumeSource};

/// What is written down of a volume.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    labels: BTreeMap<String, String>,
    /// What it shows; none is a tree that is mounted beside.
    directory: Option<PathBuf>,
    /// Whether what it shows is mounted below pods that have it already.
    #[serde(default)]
    reserved: bool,
}

/// Where on the node a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub path: PathBuf,
    /// Whether what is mounted there later is to be seen too.
    pub reserved: bool,
}

/// Makes a directory that only who may pass over modes can enter, with an empty file in it. One that is closed is never opened
/// again: a build that runs as root is its owner.
///
/// # Errors
/// The disk fails.
pub fn close(directory: &Path, file: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    if fs::metadata(directory)?.permissions().mode() & 0o7777 == 0 {
        return Ok(());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    fs::OpenOptions::new().create(true).append(true).open(directory.join(file))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o000))
}

/// The volumes of an executor.
#[derive(Clone, Debug)]
pub struct Volumes {
    directory: PathBuf,
}

impl Volumes {
    /// Takes the directory of them all.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Makes an empty place for a volume, or empties it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn reserve(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<(), EngineError> {
        let (what, tree) = self.places(name)?;
        let written = Written { labels: labels.clone(), directory: None, reserved: true };
        self.write(&what, &written).map_err(failed(name))?;
        fs::create_dir_all(&tree).map_err(failed(name))?;
        unmount_all(&tree).map_err(failed(name))
    }

    /// Makes a volume, or leaves the existing one of that name as it is, unless that is an empty place for it.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the executor may not mount, or the kernel cannot.
    pub fn create(&self, volume: &Volume) -> Result<(), EngineError> {
        let (what, tree) = self.places(&volume.name)?;
        let failed = failed(&volume.name);
        let reserved = read(&what).is_some_and(|written| written.reserved);
        let directory = match &volume.source {
            VolumeSource::Directory(path) if !reserved => Some(path.clone()),
            VolumeSource::Directory(_) | VolumeSource::Overlay { .. } => None,
        };
        let written = Written { labels: volume.labels.clone(), directory, reserved };
        self.write(&what, &written).map_err(&failed)?;
        if written.directory.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&tree).map_err(&failed)?;
        if is_mounted(&tree).map_err(&failed)? {
            return Ok(());
        }
        let mounted = match &volume.source {
            VolumeSource::Directory(path) => bind(path, &tree),
            VolumeSource::Overlay { lower, upper, work } => mount_overlay(lower, upper, work, &tree),
        };
        if mounted.is_err() {
            self.remove(&volume.name)?;
        }
        mounted
    }

    /// Removes a volume. One that is not there is removed already. Who still runs on it goes on.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove(&self, name: &str) -> Result<(), EngineError> {
        let (what, tree) = self.places(name)?;
        let failed = failed(name);
        unmount_all(&tree).map_err(&failed)?;
        for gone in [fs::remove_dir(&tree), fs::remove_file(&what)] {
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns where on the node a volume is.
    pub fn place(&self, name: &str) -> Option<Place> {
        let (what, tree) = self.places(name).ok()?;
        let Written { directory, reserved, .. } = read(&what)?;
        Some(Place { path: directory.unwrap_or(tree), reserved })
    }

    /// Lists the volumes, with their labels.
    pub fn list(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let known = entries.filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_suffix(".json")?.to_owned();
            Some((name, read(&entry.path())?.labels))
        });
        known.collect()
    }

    fn write(&self, what: &Path, written: &Written) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        fs::write(what, serde_json::to_vec(written)?)
    }

    /// Returns where it is written what a volume is, and where its tree is mounted.
    fn places(&self, name: &str) -> Result<(PathBuf, PathBuf), EngineError> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(EngineError::Refused(format!("`{name}` is no name of a volume")));
        }
        Ok((self.directory.join(format!("{name}.json")), self.directory.join(name)))
    }
}

/// Tells whether what is mounted below a directory is seen by others too, as the mount says that the directory is on.
///
/// # Errors
/// The mounts cannot be read.
pub fn is_shared(directory: &Path) -> io::Result<bool> {
    Ok(is_shared_in(&fs::read_to_string("/proc/self/mountinfo")?, directory))
}

fn is_shared_in(mounts: &str, directory: &Path) -> bool {
    let mounts = read_mounts(mounts).filter(|(place, _)| directory.starts_with(place));
    // Of several mounts at one place the last one is seen.
    mounts.max_by_key(|(place, _)| place.components().count()).is_some_and(|(_, shared)| shared)
}

/// Reads the text of `/proc/self/mountinfo`: where something is mounted, which is the fifth field, and whether that is shared,
/// which is among those from the seventh on to a `-`, see proc(5).
fn read_mounts(mounts: &str) -> impl Iterator<Item = (&Path, bool)> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let place = Path::new(fields.next()?);
        let shared = fields.skip(1).take_while(|field| *field != "-").any(|it| it.starts_with("shared:"));
        Some((place, shared))
    })
}

fn failed(name: &str) -> impl Fn(io::Error) -> EngineError {
    move |error| EngineError::Refused(format!("the volume {name}: {error}"))
}

fn read(what: &Path) -> Option<Written> {
    serde_json::from_slice(&fs::read(what).ok()?).ok()
}

/// Tells whether something is mounted on a directory. A file system does not tell: it may be another directory of its own.
fn is_mounted(tree: &Path) -> io::Result<bool> {
    let tree = match tree.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    Ok(read_mounts(&fs::read_to_string("/proc/self/mountinfo")?).any(|(place, _)| place == tree))
}

/// Takes away what is mounted on a directory, and lets it go on for those who have it open.
fn unmount_all(tree: &Path) -> io::Result<()> {
    loop {
        match unmount(tree, UnmountFlags::DETACH) {
            Ok(()) => {}
            // Nothing is mounted there, or nothing is there.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            // Nor can anything be, by whoever may not mount.
            Err(Errno::PERM) if !is_mounted(tree)? => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn bind(directory: &Path, tree: &Path) -> Result<(), EngineError> {
    mount_bind(directory, tree)
        .map_err(|error| EngineError::Unsupported(format!("a directory cannot be mounted: {error}")))
}

fn mount_overlay(lower: &[PathBuf], upper: &Path, work: &Path, tree: &Path) -> Result<(), EngineError> {
    let lower = lower.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?.join(":");
    let (upper, work) = (text(upper)?, text(work)?);
    // As the Docker engine is told: see there.
    let features = "redirect_dir=on,metacopy=off,index=off";
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},{features}");
    let options = CString::new(options).map_err(|error| EngineError::Unsupported(error.to_string()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("grapnel", tree, "overlay", flags, options.as_c_str())
        .map_err(|error| EngineError::Unsupported(format!("an overlay cannot be mounted: {error}")))
}

/// Separators have no place in the paths of a mount's options.
fn text(path: &Path) -> Result<&str, EngineError> {
    let text = path.to_str().filter(|text| !text.contains([':', ',', '\\']));
    text.ok_or_else(|| {
        EngineError::Unsupported(format!("the path {} cannot be mounted by name", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_volume_is_found_by_whoever_comes_next_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(directory.path().join("volumes"));
        let volume = Volume {
            name: "one".to_owned(),
            source: VolumeSource::Directory("/somewhere".into()),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        };
        assert_eq!(volumes.place("one"), None);
        assert!(volumes.list().is_empty());
        for _ in 0..2 {
            volumes.create(&volume).unwrap();
        }
        let next = Volumes::new(directory.path().join("volumes"));
        assert_eq!(next.place("one"), Some(Place { path: "/somewhere".into(), reserved: false }));
        assert_eq!(next.list(), [("one".to_owned(), volume.labels.clone())]);
        for _ in 0..2 {
            next.remove("one").unwrap();
        }
        assert!(next.list().is_empty());
        for name in ["", "..", "../one", "a/b"] {
            assert!(volumes.remove(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_closed_stays_so() {
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("closed");
        let ctime = |path: &Path| fs::metadata(path).map(|meta| (meta.ctime(), meta.ctime_nsec())).unwrap();
        close(&closed, "file").unwrap();
        assert_eq!(fs::metadata(&closed).unwrap().permissions().mode() & 0o7777, 0);
        let since = ctime(&closed);
        close(&closed, "file").unwrap();
        assert_eq!(ctime(&closed), since, "nobody has touched its mode");
    }

    #[test]
    fn a_mount_is_shared_where_the_innermost_one_says_so() {
        let mounts = "21 1 8:1 / / rw,relatime - ext4 /dev/sda rw\n\
            22 21 8:1 /data /var/lib/grapnel rw shared:7 - ext4 /dev/sda rw\n\
            23 22 8:1 /x /var/lib/grapnel/private rw master:7 - ext4 /dev/sda rw\n\
            24 22 8:1 /y /var/lib/grapnel/both rw master:7 shared:9 - ext4 /dev/sda rw\n";
        for (directory, is_shared) in [
            ("/var/lib/grapnel/kubernetes", true),
            ("/var/lib/grapnel", true),
            ("/var/lib/grapnel/private/deep", false),
            ("/var/lib/grapnel/both", true),
            ("/var/lib/grapnels", false),
            ("/", false),
        ] {
            assert_eq!(is_shared_in(mounts, Path::new(directory)), is_shared, "{directory}");
        }
    }
}
