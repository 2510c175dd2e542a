//! Everything durable. Entities and SQL stay in here; records of [`crate::model`] go in and out.
//!
//! Every query that a caller's id goes into has the team in it too. What a caller may not see is not found.

pub mod credentials;
pub mod deployments;
mod dispatching;
pub mod endpoints;
mod entity;
mod error;
pub mod event_ledger;
mod event_rows;
mod events;
mod hooks;
mod installation;
mod keys;
mod lease_clock;
pub mod ledger;
mod listening;
mod notices;
mod outgoing_events;
pub mod projects;
mod rows;
pub mod sealed;
mod sites;
pub mod statuses;
mod superseding;
mod take_over;
mod transitions;
pub mod triggers;
mod variables;
mod wakeups;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use dispatching::{Claim, Claimed};
pub use error::StoreError;
use grapnel_migrations::LockError;
use lease_clock::LeaseClock;
pub use listening::Hearing;
pub use outgoing_events::{ClaimedEvent, Claimer, Render};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sqlx::{
        self, Connection as _, PgConnection,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use take_over::InUse;
use tokio::time::Instant;
pub use transitions::CancelResult;
pub use wakeups::Wakeups;

/// How long a statement waits for a connection, and for SQLite's one writer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a database is looked for that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Connections to PostgreSQL, and readers of SQLite.
const CONNECTIONS: u32 = 8;

/// The durable state of the service. Clones share connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// SQLite has one writer; giving it one connection keeps waiting fair and short.
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    /// The file of an SQLite database, and the mark of who uses it.
    file: Option<PathBuf>,
    in_use: InUse,
    /// Tells when leases run out.
    lease_clock: LeaseClock,
    /// What was read of the installation, which never changes.
    installation: Known,
    /// Told after every change.
    pub wakeups: Wakeups,
}

/// Values that are read once.
#[derive(Clone, Debug, Default)]
struct Known(Arc<Mutex<HashMap<&'static str, String>>>);

impl Known {
    fn get(&self, name: &'static str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn keep(&self, name: &'static str, value: String) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, value.clone());
        value
    }
}

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is of another database.
    #[error("`{0}` is no database of a known kind; use sqlite:///path/to/file or postgres://user@host/name")]
    Url(String),
    /// The database cannot be reached.
    #[error("the database {address} cannot be opened: {cause}")]
    Connect {
        /// Where it was looked for, without a password.
        address: String,
        /// What the driver says.
        cause: DbErr,
    },
    /// The directory of the database cannot be made.
    #[error("the directory {path} of the database cannot be made: {cause}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The schema cannot be brought up to date.
    #[error(transparent)]
    Migrate(#[from] LockError),
}

impl Store {
    /// Opens a database and brings its schema up to date.
    ///
    /// # Errors
    /// The URL is none, the database cannot be reached, or its schema cannot be brought up to date.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let refused = |cause| OpenError::Connect { address: without_password(url), cause };
        let (writer, reader, file) = match url.split_once("://") {
            Some(("sqlite", path)) => {
                let path = PathBuf::from(path);
                let directory = path.parent().unwrap_or(&path).to_owned();
                std::fs::create_dir_all(&directory)
                    .map_err(|cause| OpenError::Directory { path: directory, cause })?;
                let writer = connect_sqlite(url, 1).await.map_err(refused)?;
                let reader = connect_sqlite(url, CONNECTIONS).await.map_err(refused)?;
                (writer, reader, Some(path))
            }
            Some(("postgres" | "postgresql", _)) => {
                wait_for_postgres(url).await.map_err(refused)?;
                let database = Database::connect(options(url, CONNECTIONS)).await.map_err(refused)?;
                (database.clone(), database, None)
            }
            _ => return Err(OpenError::Url(without_password(url))),
        };
        let lock_file = file.as_ref().map(|file| file.with_extension("lock"));
        grapnel_migrations::migrate(&writer, lock_file.as_deref()).await?;
        let lease_clock = LeaseClock::open(&writer).await.map_err(refused)?;
        Ok(Self {
            writer,
            reader,
            file,
            in_use: InUse::default(),
            lease_clock,
            installation: Known::default(),
            wakeups: Wakeups::default(),
        })
    }

    /// Tells whether several processes may use the database at once.
    pub fn is_shared(&self) -> bool {
        self.file.is_none()
    }

    /// Closes all connections, so that an SQLite database is one file again.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close().await?;
        let closed = self.writer.close().await;
        self.in_use.give_back();
        closed
    }

    /// Begins a transaction that writes. On SQLite it takes the writer's lock at once: one that read first and wrote
    /// later would fail when another had written in between.
    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.writer.get_database_backend() == DbBackend::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.writer.begin_with_options(options).await?)
    }
}

/// Opens an SQLite database, which is turned to its write-ahead log by whoever opens it first and turned back by whoever
/// closes it last. Both need it alone, and SQLite tells a second one so at once, whatever its busy timeout.
async fn connect_sqlite(url: &str, connections: u32) -> Result<DatabaseConnection, DbErr> {
    let begun = Instant::now();
    loop {
        match Database::connect(sqlite(url, connections)).await {
            Err(error) if is_busy(&error) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(LOOK_AGAIN / 10).await;
            }
            connected => return connected,
        }
    }
}

/// Tells whether another connection has an SQLite database for itself; the number is SQLite's `SQLITE_BUSY`, with its
/// extended ones.
fn is_busy(error: &DbErr) -> bool {
    let DbErr::Conn(RuntimeErr::SqlxError(cause)) = error else { return false };
    let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// Waits for a PostgreSQL that is only starting. A pool would wait as long, and say afterwards that it waited; this
/// says why.
async fn wait_for_postgres(url: &str) -> Result<(), DbErr> {
    let begun = Instant::now();
    loop {
        match PgConnection::connect(url).await {
            Ok(connection) => {
                let _ = connection.close().await;
                return Ok(());
            }
            Err(sqlx::Error::Io(_)) if begun.elapsed() < PATIENCE => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Err(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))),
        }
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(PATIENCE)
        .sqlx_logging_level(log::LevelFilter::Trace);
    options
}

fn sqlite(url: &str, connections: u32) -> ConnectOptions {
    let mut options = options(url, connections);
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE)
            .foreign_keys(true)
    });
    options
}

/// Returns a database's address as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}
