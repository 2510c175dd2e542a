//! One process migrates at a time.

use std::{fs::File, path::Path};

use rustix::fs::{FlockOperation, flock};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, TransactionTrait};
use sea_orm_migration::MigratorTrait;

use crate::Migrator;

/// The advisory lock that stands for migrating: the bytes of "grapnel" as a number.
const ADVISORY_LOCK: i64 = 0x67_72_61_70_6e_65_6c;

/// Why the schema was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The database refuses.
    #[error("the database cannot be migrated: {0}")]
    Database(#[from] DbErr),
    /// The lock file beside the database cannot be used.
    #[error("the lock beside the database cannot be taken: {0}")]
    File(#[from] std::io::Error),
}

/// Brings the schema up to date. Whoever comes while another process does waits for it.
///
/// `lock_file` stands beside an SQLite database; PostgreSQL has a lock of its own.
///
/// # Errors
/// The database refuses. It is as it was before the migration that failed.
pub async fn migrate(database: &DatabaseConnection, lock_file: Option<&Path>) -> Result<(), LockError> {
    if database.get_database_backend() == DbBackend::Postgres {
        // The transaction holds the lock on a connection of its own for as long as it lives.
        let holder = database.begin().await?;
        holder.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
        Migrator::up(database, None).await?;
        holder.commit().await?;
        return Ok(());
    }
    let _held = match lock_file {
        Some(path) => Some(take(path.to_owned()).await?),
        None => None,
    };
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
