//! The clock of leases: the database's, never a machine's.
//!
//! On PostgreSQL, which many machines share, whoever takes or renews a lease asks the database for the time first. A lease
//! then ends a journey too early at most, and never later than its holder believes.
//!
//! SQLite is used by one process, and its clock is the machine's, which somebody may set. So its time is read once, when the
//! database is opened, and counted on from there by what no one sets: a lease lasts as long as it was given for, whatever
//! happens to the machine's clock meanwhile. What the process before has left is freed by [`Store::take_over`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, SubsecRound as _, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use tokio::time::Instant;

use super::{Store, StoreError};

/// Tells the time by which leases run out. Clones share what tests add to it.
#[derive(Clone, Debug)]
pub(super) struct LeaseClock {
    source: Source,
    /// What tests have let pass, in microseconds.
    passed: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
enum Source {
    /// It is asked each time.
    Asked,
    /// It was asked once.
    CountedFrom(DateTime<Utc>, Instant),
}

impl LeaseClock {
    /// Prepares the clock of a database.
    pub async fn open(database: &DatabaseConnection) -> Result<Self, DbErr> {
        let source = match database.get_database_backend() {
            DbBackend::Postgres => Source::Asked,
            _ => Source::CountedFrom(time_of(database).await?, Instant::now()),
        };
        Ok(Self { source, passed: Arc::default() })
    }

    /// Tells the time, in microseconds as all that is stored.
    pub async fn now(&self, connection: &impl ConnectionTrait) -> Result<DateTime<Utc>, StoreError> {
        let now = match &self.source {
            Source::Asked => time_of(connection).await?,
            Source::CountedFrom(at, since) => *at + since.elapsed(),
        };
        let passed = Duration::from_micros(self.passed.load(Ordering::Relaxed));
        Ok((now + passed).trunc_subsecs(6))
    }
}

impl Store {
    /// Tells what time it is by the database's clock. Processes set their own by it, so that the times and ids which they store
    /// can be compared.
    ///
    /// # Errors
    /// The database fails.
    pub async fn time(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(time_of(&self.reader).await?)
    }

    /// Lets leases grow older by so much, as this process sees them: for tests that do not wait.
    pub fn let_leases_age(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.lease_clock.passed.fetch_add(by, Ordering::Relaxed);
    }
}

/// Asks a database for the time. What it says on SQLite has to be read as text: there is no type for it.
async fn time_of(connection: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
    let backend = connection.get_database_backend();
    let asked = match backend {
        DbBackend::Postgres => "SELECT clock_timestamp()",
        _ => "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    };
    let answer = connection.query_one_raw(Statement::from_string(backend, asked)).await?;
    let answer = answer.ok_or_else(|| DbErr::RecordNotFound("the time".to_owned()))?;
    if backend == DbBackend::Postgres {
        return answer.try_get_by_index(0);
    }
    let text: String = answer.try_get_by_index(0)?;
    text.parse().map_err(|_| DbErr::Type(format!("{text} is no time")))
}
