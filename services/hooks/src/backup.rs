//! Backups of the embedded database: one file, taken while Grapnel runs, and put back while it does not.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

pub use crate::store::snapshot::Contents;
use crate::store::{
    in_use::{InUse, owned_like_its_directory},
    snapshot::{self, SnapshotError},
};

/// How every file of SQLite's begins.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";

/// Why there is no backup, or nothing was put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is PostgreSQL's.
    #[error(
        "the database is not an SQLite file: PostgreSQL is backed up by pg_dump and restored by pg_restore"
    )]
    NotEmbedded,
    /// There is nothing to back up.
    #[error("there is no database at {0}")]
    NoDatabase(PathBuf),
    /// Something is there already.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// The copy would take the place of what it is copied from.
    #[error("{0} is the database itself")]
    Itself(PathBuf),
    /// A process uses the database.
    #[error("the database {0} is in use: stop Grapnel first")]
    InUse(PathBuf),
    /// The file is not what it should be; nothing was changed.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: SnapshotError,
    },
    /// The disk fails.
    #[error("{path}: {cause}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// What was put back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What is in it.
    pub contents: Contents,
    /// Where the database is.
    pub database: PathBuf,
    /// Where the one is that was there before.
    pub kept: Option<PathBuf>,
}

/// Copies the database to `target`, as it is at one moment, and checks the copy before it appears.
///
/// # Errors
/// See [`BackupError`]; nothing is left at `target` then but what was there.
pub async fn backup(
    url: &str,
    target: &Path,
    overwrite: bool,
    now: DateTime<Utc>,
) -> Result<Contents, BackupError> {
    let database = file_of(url)?;
    if !database.is_file() {
        return Err(BackupError::NoDatabase(database));
    }
    if target.exists() && !overwrite {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let real = |path: &Path| path.canonicalize().ok();
    if target.exists() && real(target) == real(&database) {
        return Err(BackupError::Itself(target.to_owned()));
    }
    let part = Part::make(target)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| BackupError::File { path, cause }
    };
    snapshot::copy(&database, &part.0).await.map_err(failed(&database))?;
    snapshot::date(&part.0, now).await.map_err(failed(target))?;
    let contents = snapshot::check(&part.0).await.map_err(failed(target))?;
    part.put(target)?;
    Ok(contents)
}

/// Puts a backup in the place of the database, which is kept beside it under a name with the time.
///
/// # Errors
/// See [`BackupError`]; the database is as it was then.
pub async fn restore(file: &Path, url: &str, now: DateTime<Utc>) -> Result<Restored, BackupError> {
    let database = file_of(url)?;
    if !is_sqlite(file).map_err(on_disk(file))? {
        return Err(BackupError::File { path: file.to_owned(), cause: SnapshotError::Foreign });
    }
    let directory = database.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(on_disk(directory))?;
    let alone = InUse::alone(&database).map_err(on_disk(&InUse::file_of(&database)))?;
    let _alone = alone.ok_or_else(|| BackupError::InUse(database.clone()))?;
    let part = Part::make(&database)?;
    fs::copy(file, &part.0).map_err(on_disk(file))?;
    let checked = snapshot::check(&part.0).await;
    let contents = checked.map_err(|cause| BackupError::File { path: file.to_owned(), cause })?;
    owned_like_its_directory(&part.0).map_err(on_disk(&part.0))?;
    let kept = beside(&database, &format!(".before-restore-{}", now.format("%Y%m%dT%H%M%SZ")));
    let kept = keep(&database, &kept).await?.then_some(kept);
    part.put(&database)?;
    Ok(Restored { contents, database, kept })
}

/// Gives the present database a second name, where there is one. What stands in its write-ahead log comes into the file
/// first; where SQLite cannot read it any more, or the log alone is there, it is put aside as it is: below another database it
/// would be read as that one's.
async fn keep(database: &Path, kept: &Path) -> Result<bool, BackupError> {
    let there = database.exists();
    if there {
        match snapshot::settle(database).await {
            Err(error) if error.is_busy() => return Err(BackupError::InUse(database.to_owned())),
            Err(error) => tracing::warn!(%error, "the present database cannot be read; it is kept as it is"),
            Ok(()) => {}
        }
        fs::hard_link(database, kept).map_err(on_disk(kept))?;
    }
    for log in ["-wal", "-shm", "-journal"].map(|log| (beside(database, log), beside(kept, log))) {
        if log.0.exists() {
            fs::rename(&log.0, &log.1).map_err(on_disk(&log.0))?;
        }
    }
    Ok(there)
}

/// A file that is being made beside its target, for its owner alone; it is removed unless it takes the target's place.
struct Part(PathBuf);

impl Part {
    fn make(target: &Path) -> Result<Self, BackupError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(on_disk(&path))?;
        Ok(Self(path))
    }

    /// Brings it to the disk, then to its place.
    fn put(self, target: &Path) -> Result<(), BackupError> {
        let put = || {
            File::open(&self.0)?.sync_all()?;
            fs::rename(&self.0, target)?;
            let directory = target.parent().filter(|path| !path.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(on_disk(target))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        for path in [self.0.clone(), beside(&self.0, "-journal")] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Returns the file of an SQLite database.
fn file_of(url: &str) -> Result<PathBuf, BackupError> {
    url.strip_prefix("sqlite://").map(PathBuf::from).ok_or(BackupError::NotEmbedded)
}

fn is_sqlite(file: &Path) -> io::Result<bool> {
    let mut begin = [0; SQLITE.len()];
    match File::open(file)?.read_exact(&mut begin) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| begin == *SQLITE),
    }
}

/// Adds to a file's name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn on_disk(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |cause| BackupError::Disk { path, cause }
}
