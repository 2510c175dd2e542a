//! One process migrates at a time.

use std::{fs::File, path::Path};

use rustix::fs::{FlockOperation, flock};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, TransactionTrait};
use sea_orm_migration::MigratorTrait;

use crate::{Migrator, Schema, schema};

/// The advisory lock that stands for migrating: the bytes of "grapnel" as a number.
const ADVISORY_LOCK: i64 = 0x67_72_61_70_6e_65_6c;

/// Why the schema was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The database refuses.
    #[error("the database cannot be migrated: {0}")]
    Database(#[from] DbErr),
    /// A newer release has been here. What it has made of the schema this one does not know, and would spoil.
    #[error(
        "the database's schema is newer than this release: it has {}, and the newest that is known here is {}; start the release that made it or a later one, or restore the backup from before it", unknown.join(", "), Schema::newest_known()
    )]
    Newer {
        /// The migrations that this release does not have.
        unknown: Vec<String>,
    },
    /// The lock file beside the database cannot be used.
    #[error("the lock beside the database cannot be taken: {0}")]
    File(#[from] std::io::Error),
}

/// Brings the schema up to date. Whoever comes while another process does waits for it.
///
/// `lock_file` stands beside an SQLite database; PostgreSQL has a lock of its own.
///
/// # Errors
/// A newer release has been here, or the database refuses. It is as it was before the migration that failed.
pub async fn migrate(database: &DatabaseConnection, lock_file: Option<&Path>) -> Result<(), LockError> {
    if database.get_database_backend() == DbBackend::Postgres {
        // The transaction holds the lock on a connection of its own for as long as it lives.
        let holder = database.begin().await?;
        holder.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
        up(database).await?;
        holder.commit().await?;
        return Ok(());
    }
    let _held = match lock_file {
        Some(path) => Some(take(path.to_owned()).await?),
        None => None,
    };
    up(database).await
}

async fn up(database: &DatabaseConnection) -> Result<(), LockError> {
    let Schema { unknown, .. } = schema(database).await?;
    if !unknown.is_empty() {
        return Err(LockError::Newer { unknown });
    }
    Ok(Migrator::up(database, None).await?)
}

async fn take(path: std::path::PathBuf) -> std::io::Result<File> {
    let taken = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).append(true).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    taken.await.map_err(std::io::Error::other)?
}
