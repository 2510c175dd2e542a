//! An SQLite database as one file: copied while it is in use, checked, and told what is in it.

use std::{collections::HashSet, path::Path};

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{
    self, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::connecting::PATIENCE;

/// The name under which a copy says when it was made.
const TAKEN_AT: &str = "backup_taken_at";

/// What stands in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// When it was copied; none where it is no copy.
    pub taken_at: Option<String>,
    /// The last migration that it has.
    pub schema: String,
    /// Projects that were not deleted.
    pub projects: i64,
    /// Hooks that were not revoked.
    pub hooks: i64,
    /// Deployments.
    pub deployments: i64,
    /// Those of them that had not ended.
    pub unfinished: i64,
    /// When the newest deployment was stored.
    pub newest_deployment_at: Option<String>,
    /// The ids of the keys under which its secrets are sealed.
    pub sealing_keys: Vec<String>,
}

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// SQLite refuses, or the file is none of SQLite's.
    #[error("{0}")]
    Sqlite(#[from] sqlx::Error),
    /// SQLite finds it broken.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Its tables are not ours.
    #[error("it is no database of Grapnel's")]
    Foreign,
    /// A later release has made it.
    #[error("it was made by a later release of Grapnel, which has the migration {0}")]
    Newer(String),
}

impl SnapshotError {
    /// Tells whether somebody else has the database; the number is SQLite's `SQLITE_BUSY`, with its extended ones.
    pub fn is_busy(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
    }
}

/// Copies a database into an empty file, as it was at one moment.
///
/// By `VACUUM INTO`, which reads in one transaction, so that writers go on. SQLite's backup interface begins anew whenever
/// another process has written, and under a load of triggers would not come to its end but by the same one transaction;
/// and no safe binding of the one libsqlite3 that is linked here has it. While it is copied the write-ahead log grows by
/// what is written, and shrinks again afterwards.
///
/// # Errors
/// SQLite refuses, or the disk is full. The copy is not on the disk for sure before it is synced.
pub async fn copy(database: &Path, to: &Path) -> Result<(), SnapshotError> {
    let mut connection = open(database).await?;
    let copied = sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy()).execute(&mut connection).await;
    // Whatever came of it; another one that has the database open is not to be left with a broken one.
    let _ = connection.close().await;
    copied?;
    Ok(())
}

/// Notes in a copy when it was made.
///
/// # Errors
/// It cannot be written.
pub async fn date(copy: &Path, at: DateTime<Utc>) -> Result<(), SnapshotError> {
    let mut connection = open(copy).await?;
    let set = "INSERT INTO installation (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(set).bind(TAKEN_AT).bind(at.to_rfc3339()).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Checks a file whole, makes it one that needs no other beside it, and tells what is in it.
///
/// # Errors
/// It is damaged, not ours, or newer than this program.
pub async fn check(copy: &Path) -> Result<Contents, SnapshotError> {
    let mut connection = alone(copy).await?;
    let found: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check(10)").fetch_all(&mut connection).await?;
    if found != ["ok"] {
        return Err(SnapshotError::Damaged(found.join("; ")));
    }
    let contents = contents(&mut connection).await?;
    connection.close().await?;
    Ok(contents)
}

/// Brings what stands in the write-ahead log of a database into its file, which is the only one then.
///
/// # Errors
/// Somebody else has it open, or SQLite cannot read it.
pub async fn settle(database: &Path) -> Result<(), SnapshotError> {
    Ok(alone(database).await?.close().await?)
}

async fn contents(connection: &mut SqliteConnection) -> Result<Contents, SnapshotError> {
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await?;
    let has = |table: &str| tables.iter().any(|name| name == table);
    if !["seaql_migrations", "project", "hook", "deployment"].into_iter().all(has) {
        return Err(SnapshotError::Foreign);
    }
    let migrations: Vec<String> = sqlx::query_scalar("SELECT version FROM seaql_migrations ORDER BY version")
        .fetch_all(&mut *connection)
        .await?;
    let known: HashSet<String> = grapnel_migrations::names().into_iter().collect();
    if let Some(newer) = migrations.iter().find(|name| !known.contains(*name)) {
        return Err(SnapshotError::Newer(newer.clone()));
    }
    let mut count =
        async |what: &'static str| sqlx::query_scalar::<_, i64>(what).fetch_one(&mut *connection).await;
    let projects = count("SELECT COUNT(*) FROM project WHERE deleted_at IS NULL").await?;
    let hooks = count("SELECT COUNT(*) FROM hook WHERE revoked_at IS NULL").await?;
    let deployments = count("SELECT COUNT(*) FROM deployment").await?;
    let unfinished = count("SELECT COUNT(*) FROM deployment WHERE finished_at IS NULL").await?;
    let newest_deployment_at =
        sqlx::query_scalar("SELECT MAX(created_at) FROM deployment").fetch_one(&mut *connection).await?;
    // These came with later migrations.
    let taken_at = if has("installation") {
        let read = sqlx::query_scalar("SELECT value FROM installation WHERE name = ?").bind(TAKEN_AT);
        read.fetch_optional(&mut *connection).await?
    } else {
        None
    };
    let sealing_keys = if has("sealed_value") {
        sqlx::query_scalar("SELECT DISTINCT key_id FROM sealed_value").fetch_all(&mut *connection).await?
    } else {
        Vec::new()
    };
    let schema = migrations.last().cloned().unwrap_or_default();
    Ok(Contents {
        taken_at,
        schema,
        projects,
        hooks,
        deployments,
        unfinished,
        newest_deployment_at,
        sealing_keys,
    })
}

async fn open(database: &Path) -> Result<SqliteConnection, SnapshotError> {
    let options = SqliteConnectOptions::new().filename(database).busy_timeout(PATIENCE);
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// Opens a database that nobody else has open: leaving the write-ahead log takes that.
async fn alone(database: &Path) -> Result<SqliteConnection, SnapshotError> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .journal_mode(SqliteJournalMode::Delete)
        .busy_timeout(LITTLE);
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// How long another process is waited for that only looks.
const LITTLE: std::time::Duration = std::time::Duration::from_secs(1);
