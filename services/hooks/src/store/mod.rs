//! Everything durable. Entities and SQL stay in here; records of [`crate::model`] go in and out.
//!
//! Every query that a caller's id goes into has the team in it too. What a caller may not see is not found.

mod addresses;
mod again;
mod connecting;
pub mod credentials;
mod deleting;
pub mod deployments;
mod dispatching;
pub mod endpoints;
mod entity;
mod error;
pub mod event_ledger;
mod event_rows;
mod events;
mod histories;
mod hooks;
pub mod in_use;
mod installation;
mod keys;
mod lease_clock;
pub mod ledger;
mod listening;
mod lists;
mod notices;
mod outgoing_events;
pub mod projects;
pub mod retention;
mod rows;
mod schema;
pub mod sealed;
pub mod sessions;
mod set_wise;
mod sites;
pub mod snapshot;
pub mod statuses;
mod superseding;
mod take_over;
mod transitions;
mod trigger_answers;
mod trigger_batches;
mod trigger_facts;
mod trigger_outcome;
pub mod triggers;
mod turns;
mod upkeep;
mod variables;
mod wakeups;
mod watched;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

pub use connecting::{Connecting, why_away};
use connecting::{Opened, without_password};
pub use dispatching::{Claim, Claimed};
pub use error::StoreError;
use grapnel_migrations::LockError;
use histories::Histories;
pub use histories::{History, LOOK_AGAIN, Page};
use in_use::InUse;
use lease_clock::LeaseClock;
pub use listening::Hearing;
pub use outgoing_events::{ClaimedEvent, Claimer, Render};
pub use schema::{DatabaseSchema, database_schema, migrate_database};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use take_over::Serving;
pub use transitions::CancelResult;
use trigger_batches::TriggerQueue;
pub use turns::Affinity;
pub use wakeups::{Changes, Wakeups};
pub use watched::Watched;

/// The durable state of the service. Clones share connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// SQLite has one writer; giving it one connection keeps waiting fair and short.
    writer: DatabaseConnection,
    /// Stores triggers in the writer's place.
    bursts: DatabaseConnection,
    reader: DatabaseConnection,
    /// The file of an SQLite database, and the mark of who serves it.
    file: Option<PathBuf>,
    serving: Serving,
    /// Tells when leases run out.
    lease_clock: LeaseClock,
    /// What was read of the installation, which never changes.
    installation: Known,
    /// Where triggers wait to be stored.
    triggers: TriggerQueue,
    /// Told after every change.
    pub wakeups: Wakeups,
    /// What those read together who watch.
    histories: Histories,
    /// Says that an SQLite file is in use.
    _in_use: Option<InUse>,
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
    /// The lock that says who uses the database cannot be taken.
    #[error(
        "{path}: the lock of who uses the database cannot be taken, which is so while a backup is restored: {cause}"
    )]
    InUse {
        /// The lock's file.
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
        Self::open_with(url, Connecting::default()).await
    }

    /// Opens a database as [`Store::open`] does, within limits.
    ///
    /// # Errors
    /// As above.
    pub async fn open_with(url: &str, connecting: Connecting) -> Result<Self, OpenError> {
        let refused = |cause| OpenError::Connect { address: without_password(url), cause };
        let opened = Opened::open(url, connecting).await?;
        opened.migrate(url).await?;
        let Opened { writer, bursts, reader, file, in_use } = opened;
        let lease_clock = LeaseClock::open(&writer).await.map_err(refused)?;
        Ok(Self {
            writer,
            bursts,
            reader,
            file,
            serving: Serving::default(),
            lease_clock,
            installation: Known::default(),
            triggers: TriggerQueue::default(),
            wakeups: Wakeups::default(),
            histories: Histories::default(),
            _in_use: in_use,
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
        self.bursts.close().await?;
        let closed = self.writer.close().await;
        self.serving.give_back();
        closed
    }

    /// Begins a transaction that writes. On SQLite it takes the writer's lock at once: one that read first and wrote
    /// later would fail when another had written in between.
    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        Self::begin_on(&self.writer).await
    }

    async fn begin_on(database: &DatabaseConnection) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: (database.get_database_backend() == DbBackend::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(database.begin_with_options(options).await?)
    }
}
