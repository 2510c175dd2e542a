//! What a process finds at its start that the one before has left.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use grapnel_domain::{build::AttemptId, deployment::State, endpoint::EventState};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};

use super::{
    Store, StoreError,
    entity::{commit_status, deployment, outgoing_event},
};

/// The mark of the one process that serves an SQLite database, beside which others may only look into it; it goes with
/// the process, however that ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Serving(Arc<Mutex<Option<File>>>);

impl Serving {
    /// Takes the mark; `false` where another process has it.
    fn take(&self, path: &Path) -> std::io::Result<bool> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(true);
        }
        let file = File::options().create(true).append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => *held = Some(file),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(true)
    }

    /// Gives the mark back.
    pub fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Store {
    /// Frees what the process before has left, where one process alone uses the database: on SQLite no lease is held by
    /// anybody when a process begins. Nothing waits there for a time that only a clock which was set back has made late.
    ///
    /// On PostgreSQL others may hold leases, and those of the dead run out; nothing is done.
    ///
    /// # Errors
    /// The database fails.
    pub async fn take_over(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        match self.serving.take(&file.with_extension("serving")) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(
                    database = %file.display(),
                    "another process serves this SQLite database: its leases are left to run out. Several processes need PostgreSQL"
                );
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, database = %file.display(), "nobody knows who else serves this database; leases are left to run out");
                return Ok(());
            }
        }
        let transaction = self.begin().await?;
        let over = Expr::value(DateTime::UNIX_EPOCH);
        // The owners stay: whoever claims next sees that somebody died over it. Only of what has not ended, which an index knows:
        // a start reads no more where there is more.
        deployment::Entity::update_many()
            .col_expr(deployment::Column::LeaseExpiresAt, over.clone())
            .filter(deployment::Column::LeaseOwner.is_not_null())
            .filter(deployment::Column::FinishedAt.is_null())
            .exec(&transaction)
            .await?;
        commit_status::Entity::update_many()
            .col_expr(commit_status::Column::LeaseExpiresAt, over.clone())
            .filter(commit_status::Column::LeaseOwner.is_not_null())
            .filter(commit_status::Column::NextTryAt.is_not_null())
            .exec(&transaction)
            .await?;
        outgoing_event::Entity::update_many()
            .col_expr(outgoing_event::Column::LeaseExpiresAt, over)
            .filter(outgoing_event::Column::LeaseOwner.is_not_null())
            .filter(outgoing_event::Column::State.eq(EventState::Waiting.as_str()))
            .exec(&transaction)
            .await?;
        // What was stored after now was stored before the clock was set back.
        deployment::Entity::update_many()
            .col_expr(deployment::Column::NotBefore, Expr::value(now))
            .filter(deployment::Column::FinishedAt.is_null())
            .filter(deployment::Column::CreatedAt.gt(now))
            .exec(&transaction)
            .await?;
        commit_status::Entity::update_many()
            .col_expr(commit_status::Column::NextTryAt, Expr::value(now))
            .filter(commit_status::Column::NextTryAt.gt(now))
            .filter(commit_status::Column::WantedAt.gt(now))
            .exec(&transaction)
            .await?;
        outgoing_event::Entity::update_many()
            .col_expr(outgoing_event::Column::NextTryAt, Expr::value(now))
            .filter(outgoing_event::Column::State.eq(EventState::Waiting.as_str()))
            .filter(outgoing_event::Column::NextTryAt.gt(now))
            .filter(outgoing_event::Column::CreatedAt.gt(now))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns which of the attempts that run on an executor nobody waits for any more: their deployments have ended, or go on
    /// with another attempt, or with this one elsewhere. One that is only about to be stored as begun is none of them.
    ///
    /// # Errors
    /// The database fails.
    pub async fn given_up(
        &self,
        running: &[AttemptId],
        executor: &str,
    ) -> Result<Vec<AttemptId>, StoreError> {
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let ids = running.iter().map(|id| id.deployment.to_string());
        let found =
            deployment::Entity::find().filter(deployment::Column::Id.is_in(ids)).all(&self.reader).await?;
        let given_up = |id: &AttemptId| {
            let row = found.iter().find(|row| row.id == id.deployment.to_string());
            row.is_some_and(|row| {
                let attempt = u32::try_from(row.attempt).unwrap_or_default();
                let here = row.state == State::Building.as_str()
                    && attempt == id.attempt
                    && row.executor.as_deref() == Some(executor);
                row.finished_at.is_some() || (attempt >= id.attempt && !here)
            })
        };
        Ok(running.iter().copied().filter(given_up).collect())
    }
}
