//! Who uses an SQLite database: every process that has it open holds a lock, and whoever wants to put another file in its
//! place takes the lock for itself. The system gives it back whatever becomes of its holder.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::time::Instant;

use super::connecting::{LOOK_AGAIN, PATIENCE};

/// A lock that is held for as long as a clone of it lives.
#[derive(Clone, Debug)]
pub struct InUse(#[expect(dead_code, reason = "it is held, not read")] Arc<File>);

impl InUse {
    /// Returns the lock's file, which stands beside the database.
    pub fn file_of(database: &Path) -> PathBuf {
        database.with_extension("in-use")
    }

    /// Says that this process uses a database; waits a while for one that is just being replaced.
    ///
    /// # Errors
    /// The file cannot be made, or the database is being replaced for longer than that.
    pub async fn share(database: &Path) -> io::Result<Self> {
        let begun = Instant::now();
        let file = open(database)?;
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Self(Arc::new(file))),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a database for this process alone; `None` where another one uses it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn alone(database: &Path) -> io::Result<Option<Self>> {
        let file = open(database)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(Arc::new(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open(database: &Path) -> io::Result<File> {
    let path = InUse::file_of(database);
    let made = !path.exists();
    let file = File::options().create(true).append(true).open(&path)?;
    if made {
        owned_like_its_directory(&path)?;
    }
    Ok(file)
}

/// Gives a file that the superuser has made to whom its directory belongs, so that a service under another name can use it.
///
/// # Errors
/// The system refuses.
pub fn owned_like_its_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    let (wanted, own) = (std::fs::metadata(directory)?, std::fs::metadata(path)?);
    if own.uid() == 0 && wanted.uid() != 0 {
        chown(path, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(())
}
