//! How databases are opened, and what holds for each connection.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use grapnel_migrations::LockError;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr,
    sqlx::{
        self, Connection as _, PgConnection, SqliteConnection,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::Instant;

use super::{OpenError, in_use::InUse};

/// How long a database is looked for that is not there yet, and how long SQLite's one writer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a database is looked for that is not there yet.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long a connection may be idle. A burst's connections are given back after it.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// How long a connection is used: after a fail-over by name, or a change of the server's settings, none is older than that,
/// and the memory that a session gathers on the server is given back.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How long a statement waits for a row that somebody else has locked. Transactions here take milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a transaction may rest: whoever is suspended in the middle of one keeps its locks no longer.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(30);

/// After how many seconds a server asks whether a silent client is there, how often again, and when it gives it up.
const KEEPALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "30"), ("tcp_keepalives_interval", "10"), ("tcp_keepalives_count", "3")];

/// How many bytes SQLite leaves its write-ahead log after it was emptied.
const LOG_LEFT: u64 = 64 << 20;

/// From how many pages on SQLite's writer brings its log home itself, at the end of a transaction. Under load most of them were
/// brought home beside it by then (`upkeep`): what it has to wait for is the rest.
const BROUGHT_HOME_FROM: u32 = 8_000;

/// How many rows of an answer SQLite's thread puts down before it waits for who takes them.
const ROWS: usize = 512;

/// How many bytes of the database each of SQLite's writers keeps at hand: the ends of all indexes that a burst of triggers writes
/// to.
const WRITERS: u64 = 16 << 20;

/// How many bytes of it each reader does.
const READERS: u64 = 2 << 20;

/// How much of a database is used, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connecting {
    /// Connections to PostgreSQL, and readers of SQLite.
    pub connections: u32,
    /// How long is waited for a connection.
    pub patience: Duration,
    /// How long one statement may take on PostgreSQL.
    pub statement_timeout: Duration,
}

impl Default for Connecting {
    fn default() -> Self {
        Self { connections: 8, patience: Duration::from_secs(5), statement_timeout: Duration::from_secs(30) }
    }
}

/// A database that was opened.
pub(super) struct Opened {
    /// SQLite has one writer; giving it one connection keeps waiting fair and short.
    pub writer: DatabaseConnection,
    /// Stores triggers in the writer's place, and leaves it to who answers them to bring SQLite's log to the disk
    /// (`trigger_answers`).
    pub bursts: DatabaseConnection,
    pub reader: DatabaseConnection,
    /// The file, of SQLite, and what says that it is in use.
    pub file: Option<PathBuf>,
    pub in_use: Option<InUse>,
}

impl Opened {
    /// Opens the database of a URL.
    pub async fn open(url: &str, connecting: Connecting) -> Result<Self, OpenError> {
        let refused = |cause| OpenError::Connect { address: without_password(url), cause };
        if let Some(path) = sqlite_file(url) {
            let directory = path.parent().unwrap_or(&path).to_owned();
            std::fs::create_dir_all(&directory)
                .map_err(|cause| OpenError::Directory { path: directory, cause })?;
            let shared = InUse::share(&path).await;
            let in_use = shared.map_err(|cause| OpenError::InUse { path: InUse::file_of(&path), cause })?;
            let connect = |synchronous, connections, at_hand| {
                connect_sqlite(sqlite(url, connecting, synchronous, connections, at_hand))
            };
            let writer = connect(SqliteSynchronous::Full, 1, WRITERS).await.map_err(refused)?;
            let bursts = connect(SqliteSynchronous::Normal, 1, WRITERS).await.map_err(refused)?;
            let reader = connect(SqliteSynchronous::Full, connecting.connections, READERS).await;
            let reader = reader.map_err(refused)?;
            return Ok(Self { writer, bursts, reader, file: Some(path), in_use: Some(in_use) });
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(OpenError::Url(without_password(url)));
        }
        wait_for_postgres(url, PATIENCE).await.map_err(refused)?;
        let database = Database::connect(postgres(url, connecting)).await.map_err(refused)?;
        let [writer, bursts] = [database.clone(), database.clone()];
        Ok(Self { writer, bursts, reader: database, file: None, in_use: None })
    }

    /// Brings the schema of the database of this URL up to date. On PostgreSQL by connections of its own: changing a large
    /// table takes longer than any statement of a service may.
    pub async fn migrate(&self, url: &str) -> Result<(), LockError> {
        if let Some(file) = &self.file {
            return grapnel_migrations::migrate(&self.writer, Some(&file.with_extension("lock"))).await;
        }
        // One holds the lock, one changes the schema.
        let database = Database::connect(options(url, Connecting::default(), 2)).await?;
        let migrated = grapnel_migrations::migrate(&database, None).await;
        database.close().await?;
        migrated
    }

    /// Closes all connections.
    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close().await?;
        self.bursts.close().await?;
        self.writer.close().await
    }
}

/// Returns the file of an SQLite database.
pub(super) fn sqlite_file(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite://").map(|path| Path::new(path).to_owned())
}

/// Opens an SQLite database, which is turned to its write-ahead log by whoever opens it first and turned back by whoever
/// closes it last. Both need it alone, and SQLite tells a second one so at once, whatever its busy timeout.
async fn connect_sqlite(options: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    let begun = Instant::now();
    loop {
        match Database::connect(options.clone()).await {
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
async fn wait_for_postgres(url: &str, patience: Duration) -> Result<(), DbErr> {
    let begun = Instant::now();
    loop {
        match PgConnection::connect(url).await {
            Ok(connection) => {
                let _ = connection.close().await;
                return Ok(());
            }
            Err(error) if is_starting(&error) && begun.elapsed() < patience => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))),
        }
    }
}

/// Tells whether nobody listens yet, or a server that listens takes no connection yet: it starts, recovers from a crash, or
/// ends to start again (`cannot_connect_now`, `admin_shutdown`, `crash_shutdown` in appendix A of PostgreSQL's manual).
fn is_starting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(error, sqlx::Error::Io(_))
        || code.is_some_and(|code| matches!(&*code, "57P03" | "57P01" | "57P02"))
}

/// Asks a database that is away for its reason: a pool only says that it has waited.
pub async fn why_away(url: &str) -> Option<String> {
    if sqlite_file(url).is_some() {
        return None;
    }
    match tokio::time::timeout(PATIENCE, wait_for_postgres(url, Duration::ZERO)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it takes no connection in time".to_owned()),
    }
}

fn options(url: &str, connecting: Connecting, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(connecting.patience)
        .sqlx_logging_level(log::LevelFilter::Trace);
    options
}

fn postgres(url: &str, connecting: Connecting) -> ConnectOptions {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let mut options = options(url, connecting, connecting.connections);
    options
        .idle_timeout(IDLE)
        .max_lifetime(LIFETIME)
        .set_application_name("grapnel")
        .statement_timeout(connecting.statement_timeout);
    options.map_sqlx_postgres_opts(move |postgres| {
        postgres
            .options([
                ("lock_timeout", milliseconds(LOCK_TIMEOUT)),
                ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION)),
            ])
            .options(KEEPALIVE)
    });
    options
}

/// An SQLite connection costs nothing, and none is ever lost: it is kept, and not asked whether it is still there.
fn sqlite(
    url: &str,
    connecting: Connecting,
    synchronous: SqliteSynchronous,
    connections: u32,
    at_hand: u64,
) -> ConnectOptions {
    let mut options = options(url, connecting, connections);
    options.test_before_acquire(false);
    options.map_sqlx_sqlite_opts(move |sqlite| {
        sqlite
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(PATIENCE)
            .row_buffer_size(ROWS)
            .pragma("journal_size_limit", LOG_LEFT.to_string())
            .pragma("cache_size", format!("-{}", at_hand / 1024))
            .pragma("wal_autocheckpoint", BROUGHT_HOME_FROM.to_string())
            // What a statement of many rows could be undone by; otherwise it goes into a file.
            .pragma("temp_store", "MEMORY")
            .foreign_keys(true)
    });
    options.map_sqlx_sqlite_pool_opts(|pool| {
        pool.after_release(|connection, _| Box::pin(async move { is_out_of_transactions(connection).await }))
    });
    options
}

/// Tells whether an SQLite connection can be given to the next user: SQLite undoes a transaction by itself where it has no
/// room, and its driver, told to undo it once more, takes it for still open from then on. All that came after it on this
/// connection would be part of a transaction that nobody ever commits.
async fn is_out_of_transactions(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // What was only begun to be undone is undone before this is answered.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Returns a database's address as it may be shown.
pub(super) fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}
