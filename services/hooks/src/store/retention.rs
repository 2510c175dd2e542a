//! What is removed of deployments when it is old, a small transaction at a time.
//!
//! Several processes may do it at once over PostgreSQL: each takes rows that no other has locked. What a project's address
//! serves, what has not ended, and the newest READY deployments of each branch are never touched.

use chrono::{DateTime, Utc};
use grapnel_domain::{deployment::State, event::DeploymentEvent, id::DeploymentId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Alias, Expr, ExprTrait as _, LockBehavior, LockType, Order, Query, SimpleExpr},
};

use super::{
    Store, StoreError,
    entity::{branch_address, deployment, deployment_event, project},
    rows,
};

/// How many rows of logs one transaction removes, so that nobody waits for it.
const ROWS_AT_ONCE: u64 = 1_000;

/// How many deployments one transaction looks at.
const DEPLOYMENTS_AT_ONCE: u64 = 100;

/// What one transaction came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// How much was removed.
    pub removed: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// Which deployments are old enough, and how many of a branch are kept however old they are.
#[derive(Clone, Copy, Debug)]
pub struct Old {
    /// Those that ended before this time.
    pub before: DateTime<Utc>,
    /// How many READY deployments of each branch are kept, the newest first.
    pub keep_ready: u32,
}

/// What the database says of an artifact's deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It has the artifact, or may come to have it.
    Kept,
    /// It ended without the artifact.
    NotReady,
    /// Its artifact is to be removed.
    Removed,
}

impl Store {
    /// Removes logs of deployments that ended before `before`, the oldest first; returns how many whole logs. The place of a
    /// log's last event says from the first transaction on that it was removed; the changes of state stay.
    ///
    /// # Errors
    /// The database fails.
    pub async fn prune_logs(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let old = deployment::Entity::find()
            .filter(deployment::Column::LogEmptied.eq(false))
            .filter(deployment::Column::FinishedAt.lt(before))
            .order_by_asc(deployment::Column::FinishedAt);
        self.empty_logs(old, now).await
    }

    /// Does the same with the logs of deleted deployments, however new.
    ///
    /// # Errors
    /// The database fails.
    pub async fn prune_logs_of_deleted(&self, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let deleted = deployment::Entity::find()
            .filter(deployment::Column::DeletedAt.is_not_null())
            .filter(deployment::Column::LogEmptied.eq(false))
            .filter(deployment::Column::FinishedAt.is_not_null());
        self.empty_logs(deleted, now).await
    }

    async fn empty_logs(
        &self,
        which: Select<deployment::Entity>,
        now: DateTime<Utc>,
    ) -> Result<Step, StoreError> {
        let transaction = self.begin().await?;
        let found = lock(which, DEPLOYMENTS_AT_ONCE).all(&transaction).await?;
        let (mut room, mut step) = (ROWS_AT_ONCE, Step { removed: 0, more: !found.is_empty() });
        for row in found {
            if room == 0 {
                break;
            }
            let id = row.id.clone();
            let had_log = row.log_removed_at.is_some() || say_removed(&transaction, &row, now).await?;
            let taken = take_rows(&transaction, &id, room).await?;
            if taken < room {
                let change =
                    deployment::ActiveModel { id: Set(id), log_emptied: Set(true), ..Default::default() };
                deployment::Entity::update(change).exec(&transaction).await?;
                step.removed += u64::from(had_log);
            }
            room -= taken;
        }
        transaction.commit().await?;
        Ok(step)
    }

    /// Marks the artifacts of old READY deployments as removed: nothing is served of them from now on, and whoever keeps
    /// them may drop them.
    ///
    /// # Errors
    /// The database fails.
    pub async fn retire_artifacts(&self, old: Old, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let due = deployment::Entity::find()
            .filter(deployment::Column::State.eq(State::Ready.as_str()))
            .filter(deployment::Column::ArtifactRemovedAt.is_null())
            .filter(deployment::Column::FinishedAt.lt(old.before))
            .filter(replaced(old.keep_ready))
            .order_by_asc(deployment::Column::FinishedAt);
        self.retire(due, now).await
    }

    /// Does the same with all that deleted projects have, however new.
    ///
    /// # Errors
    /// The database fails.
    pub async fn retire_artifacts_of_deleted_projects(&self, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let due = deployment::Entity::find()
            .filter(deployment::Column::ProjectId.in_subquery(deleted_projects()))
            .filter(deployment::Column::State.eq(State::Ready.as_str()))
            .filter(deployment::Column::ArtifactRemovedAt.is_null());
        self.retire(due, now).await
    }

    /// Does the same with the artifacts of deleted deployments.
    ///
    /// # Errors
    /// The database fails.
    pub async fn retire_artifacts_of_deleted(&self, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let due = deployment::Entity::find()
            .filter(deployment::Column::DeletedAt.is_not_null())
            .filter(deployment::Column::State.eq(State::Ready.as_str()))
            .filter(deployment::Column::ArtifactRemovedAt.is_null());
        self.retire(due, now).await
    }

    async fn retire(&self, due: Select<deployment::Entity>, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let transaction = self.begin().await?;
        let ids = unserved(&transaction, due).await?;
        let retired = deployment::Entity::update_many()
            .col_expr(deployment::Column::ArtifactRemovedAt, Expr::value(now))
            .filter(deployment::Column::Id.is_in(ids))
            .exec(&transaction)
            .await?
            .rows_affected;
        transaction.commit().await?;
        Ok(Step { removed: retired, more: retired > 0 })
    }

    /// Removes old deployments whose logs are removed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn prune_deployments(&self, old: Old) -> Result<Step, StoreError> {
        let replaceable = Condition::any()
            .add(deployment::Column::State.ne(State::Ready.as_str()))
            .add(deployment::Column::ProjectId.in_subquery(deleted_projects()))
            .add(deployment::Column::DeletedAt.is_not_null())
            .add(replaced(old.keep_ready));
        let due = deployment::Entity::find()
            .filter(deployment::Column::LogEmptied.eq(true))
            .filter(deployment::Column::FinishedAt.lt(old.before))
            .filter(replaceable)
            .order_by_asc(deployment::Column::FinishedAt);
        let transaction = self.begin().await?;
        let ids = unserved(&transaction, due).await?;
        let removed = deployment::Entity::delete_many()
            .filter(deployment::Column::Id.is_in(ids))
            .exec(&transaction)
            .await?
            .rows_affected;
        transaction.commit().await?;
        Ok(Step { removed, more: removed > 0 })
    }

    /// Says which of these deployments there are, and whether they claim an artifact.
    ///
    /// # Errors
    /// The database fails.
    pub async fn artifact_claims(
        &self,
        ids: &[DeploymentId],
    ) -> Result<Vec<(DeploymentId, Claimed)>, StoreError> {
        let found: Vec<(String, String, bool, bool)> = deployment::Entity::find()
            .select_only()
            .column(deployment::Column::Id)
            .column(deployment::Column::State)
            .expr_as(Expr::col(deployment::Column::FinishedAt).is_not_null(), "ended")
            .expr_as(Expr::col(deployment::Column::ArtifactRemovedAt).is_not_null(), "removed")
            .filter(deployment::Column::Id.is_in(ids.iter().map(ToString::to_string)))
            .into_tuple()
            .all(&self.reader)
            .await?;
        let claimed = found.into_iter().map(|(id, state, ended, removed)| {
            let claimed = if removed {
                Claimed::Removed
            } else if ended && state != State::Ready.as_str() {
                Claimed::NotReady
            } else {
                Claimed::Kept
            };
            Ok((rows::parse("deployment", &id)?, claimed))
        });
        claimed.collect()
    }

    /// Returns READY deployments after `after` that ended before `before` and have to have an artifact, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn ready_with_artifact(
        &self,
        after: Option<DeploymentId>,
        before: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<DeploymentId>, StoreError> {
        let mut query = deployment::Entity::find()
            .select_only()
            .column(deployment::Column::Id)
            .filter(deployment::Column::State.eq(State::Ready.as_str()))
            .filter(deployment::Column::ArtifactRemovedAt.is_null())
            // In the order of their ids, and not by the index of ends, which each page would sort anew.
            .filter(Expr::col(deployment::Column::FinishedAt).if_null(before).lt(before))
            .order_by_asc(deployment::Column::Id)
            .limit(limit);
        if let Some(after) = after {
            query = query.filter(deployment::Column::Id.gt(after.to_string()));
        }
        let found: Vec<String> = query.into_tuple().all(&self.reader).await?;
        found.iter().map(|id| rows::parse("deployment", id)).collect()
    }
}

/// Puts into the place of a log's last event that it was removed; `false` where there is no log.
async fn say_removed(
    transaction: &DatabaseTransaction,
    row: &deployment::Model,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let last = log_rows(&row.id).order_by_desc(deployment_event::Column::Position).one(transaction).await?;
    let Some(last) = last else {
        return Ok(false);
    };
    let said = deployment_event::ActiveModel {
        deployment_id: Set(last.deployment_id),
        position: Set(last.position),
        attempt: Set(None),
        sequence: Set(None),
        payload: Set(rows::to_json(&DeploymentEvent::LogRemoved)?),
        at: Set(now),
    };
    deployment_event::Entity::update(said).exec(transaction).await?;
    let change = deployment::ActiveModel {
        id: Set(row.id.clone()),
        log_removed_at: Set(Some(now)),
        ..Default::default()
    };
    deployment::Entity::update(change).exec(transaction).await?;
    Ok(true)
}

/// Removes at most `limit` rows of a log, the oldest first; returns how many.
async fn take_rows(transaction: &DatabaseTransaction, id: &str, limit: u64) -> Result<u64, StoreError> {
    let positions: Vec<i64> = log_rows(id)
        .select_only()
        .column(deployment_event::Column::Position)
        .order_by_asc(deployment_event::Column::Position)
        .limit(limit)
        .into_tuple()
        .all(transaction)
        .await?;
    let Some(last) = positions.last() else {
        return Ok(0);
    };
    let taken = deployment_event::Entity::delete_many()
        .filter(deployment_event::Column::DeploymentId.eq(id))
        .filter(deployment_event::Column::Sequence.is_not_null())
        .filter(deployment_event::Column::Position.lte(*last))
        .exec(transaction)
        .await?;
    Ok(taken.rows_affected)
}

/// What attempts told of a deployment.
fn log_rows(id: &str) -> Select<deployment_event::Entity> {
    deployment_event::Entity::find()
        .filter(deployment_event::Column::DeploymentId.eq(id))
        .filter(deployment_event::Column::Sequence.is_not_null())
}

fn lock(query: Select<deployment::Entity>, limit: u64) -> Select<deployment::Entity> {
    query.limit(limit).lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
}

/// Locks what is due and no address serves. Asked once more when the rows are locked: nobody can let an address serve one
/// of them from then on.
async fn unserved(
    transaction: &DatabaseTransaction,
    due: Select<deployment::Entity>,
) -> Result<Vec<String>, StoreError> {
    let served = Query::select()
        .column(branch_address::Column::DeploymentId)
        .from(branch_address::Entity)
        .and_where(Expr::col(branch_address::Column::ProjectId).not_in_subquery(deleted_projects()))
        .to_owned();
    let due = due.filter(deployment::Column::Id.not_in_subquery(served.clone()));
    let found = lock(due, DEPLOYMENTS_AT_ONCE).all(transaction).await?;
    let ids: Vec<String> = found.into_iter().map(|row| row.id).collect();
    let served = served_among(transaction, &ids).await?;
    Ok(ids.into_iter().filter(|id| !served.contains(id)).collect())
}

/// Returns those of these deployments that the address of a branch serves.
pub(super) async fn served_among(
    transaction: &DatabaseTransaction,
    ids: &[String],
) -> Result<Vec<String>, StoreError> {
    let served = branch_address::Entity::find()
        .select_only()
        .column(branch_address::Column::DeploymentId)
        .filter(branch_address::Column::DeploymentId.is_in(ids))
        .filter(branch_address::Column::ProjectId.not_in_subquery(deleted_projects()))
        .into_tuple()
        .all(transaction)
        .await?;
    Ok(served)
}

fn deleted_projects() -> sea_orm::sea_query::SelectStatement {
    Query::select()
        .column(project::Column::Id)
        .from(project::Entity)
        .and_where(Expr::col(project::Column::DeletedAt).is_not_null())
        .to_owned()
}

/// Says of a READY deployment that its branch has at least `keep` newer ones, deleted ones not counted.
fn replaced(keep: u32) -> Condition {
    let Some(skipped) = keep.checked_sub(1) else {
        return Condition::all();
    };
    let newer = Alias::new("newer");
    let of = |column: deployment::Column| Expr::col((newer.clone(), column));
    let own = |column: deployment::Column| SimpleExpr::from(Expr::col((deployment::Entity, column)));
    let kept = Query::select()
        .expr(Expr::val(1))
        .from_as(deployment::Entity, newer.clone())
        .and_where(of(deployment::Column::ProjectId).eq(own(deployment::Column::ProjectId)))
        .and_where(of(deployment::Column::Branch).eq(own(deployment::Column::Branch)))
        .and_where(of(deployment::Column::State).eq(State::Ready.as_str()))
        // What names the index of what came to its end.
        .and_where(of(deployment::Column::FinishedAt).is_not_null())
        .and_where(of(deployment::Column::Canceled).is_null())
        .and_where(of(deployment::Column::DeletedAt).is_null())
        .and_where(of(deployment::Column::Id).gt(own(deployment::Column::Id)))
        .order_by((newer.clone(), deployment::Column::Id), Order::Desc)
        .limit(1)
        .offset(skipped.into())
        .to_owned();
    Condition::all().add(Expr::exists(kept))
}
