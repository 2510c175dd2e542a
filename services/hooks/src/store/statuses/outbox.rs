//! Telling: who tells what, and what came of it.
//!
//! All statuses of a lane are locked before any of them is taken or changed by a teller, the newest first. So no two
//! processes tell anything of one lane at once, and what one has not finished another finds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_runtime::crash_point;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Alias, Expr, ExprTrait as _, Query, SimpleExpr},
};

use super::{
    super::{
        Store, StoreError,
        entity::{commit_status, status_setting},
        rows,
    },
    in_lane, is_newest,
};
use crate::model::ClaimedStatus;

/// What came of a try that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTold {
    /// Why, for the people of the project.
    pub error: String,
    /// Whether the host may hear it still, later than what it is told next.
    pub ambiguous: bool,
    /// What follows.
    pub next: Next,
}

/// What follows a try that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another one.
    TryAt(DateTime<Utc>),
    /// Nothing, until something else is to be told.
    GiveUp,
}

impl Store {
    /// Takes what is to be told, the longest due first, and at most one of a lane. Whoever has taken it tells how it went
    /// by [`Store::status_told`] or [`Store::status_not_told`] within the lease.
    ///
    /// # Errors
    /// The database fails.
    pub async fn claim_statuses(
        &self,
        owner: &str,
        lease: Duration,
        limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Vec<ClaimedStatus>, StoreError> {
        let clock = self.lease_clock.now(&self.reader).await?;
        let due = commit_status::Entity::find()
            .filter(commit_status::Column::NextTryAt.lte(now))
            .filter(is_newest())
            .filter(no_lease_in_lane(clock))
            .filter(host_may_be_asked(now))
            .order_by_asc(commit_status::Column::NextTryAt)
            .order_by_asc(commit_status::Column::Id)
            .limit(limit)
            .all(&self.reader)
            .await?;
        let mut claimed = Vec::with_capacity(due.len());
        for row in due {
            claimed.extend(self.claim_lane(&row, owner, lease, now).await?);
        }
        Ok(claimed)
    }

    async fn claim_lane(
        &self,
        wanted: &commit_status::Model,
        owner: &str,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Option<ClaimedStatus>, StoreError> {
        let transaction = self.begin().await?;
        let lane = locked_lane(&transaction, wanted).await?;
        let Some(newest) = lane.first().filter(|newest| newest.id == wanted.id).cloned() else {
            return Ok(None);
        };
        let clock = self.lease_clock.now(&transaction).await?;
        let leased = |row: &commit_status::Model| row.lease_expires_at.is_some_and(|until| until > clock);
        if lane.iter().any(leased) || newest.next_try_at.is_none_or(|at| at > now) {
            return Ok(None);
        }
        for row in lane.iter().filter(|row| row.lease_owner.is_some()) {
            // Somebody died over it, and the host may hear it still.
            let freed = commit_status::ActiveModel { ambiguous: Set(true), ..freed(row) };
            commit_status::Entity::update(freed).exec(&transaction).await?;
        }
        let taken = commit_status::ActiveModel {
            id: Set(newest.id.clone()),
            lease_owner: Set(Some(owner.to_owned())),
            lease_expires_at: Set(Some(clock + lease)),
            ..Default::default()
        };
        let taken = commit_status::Entity::update(taken).exec(&transaction).await?;
        transaction.commit().await?;
        crash_point("store.status-claimed");
        rows::claimed_status(taken).map(Some)
    }

    /// Stores that the host has heard it. Where a try of the lane may arrive late, a final state is told once more at
    /// `once_more_at`, so that the late one does not stand.
    ///
    /// # Errors
    /// The lease was lost.
    pub async fn status_told(
        &self,
        claimed: &ClaimedStatus,
        once_more_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let (row, lane) = held(&transaction, claimed).await?;
        let told = commit_status::ActiveModel {
            delivered_revision: Set(claimed.revision),
            delivered_at: Set(Some(now)),
            tries: Set(0),
            last_error: Set(String::new()),
            gave_up_at: Set(None),
            updated_at: Set(now),
            ..freed(&row)
        };
        let current = row.revision == claimed.revision;
        let late = lane.iter().any(|row| row.ambiguous);
        let once_more = current && late && !row.repeating && claimed.report.state.is_final();
        if current && row.repeating {
            clear_ambiguity(&transaction, &lane).await?;
        }
        let told = match (current, once_more) {
            // Something else is to be told by now, and due.
            (false, _) => told,
            (true, true) => commit_status::ActiveModel {
                repeating: Set(true),
                next_try_at: Set(Some(once_more_at)),
                ..told
            },
            (true, false) => {
                commit_status::ActiveModel { repeating: Set(false), next_try_at: Set(None), ..told }
            }
        };
        commit_status::Entity::update(told).exec(&transaction).await?;
        transaction.commit().await?;
        crash_point("store.status-told");
        Ok(())
    }

    /// Stores that a try went wrong.
    ///
    /// # Errors
    /// The lease was lost.
    pub async fn status_not_told(
        &self,
        claimed: &ClaimedStatus,
        not_told: NotTold,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let (row, _) = held(&transaction, claimed).await?;
        let ambiguous = row.ambiguous || not_told.ambiguous;
        let mut change = commit_status::ActiveModel { ambiguous: Set(ambiguous), ..freed(&row) };
        // What failed was something that nobody wants told any more, otherwise.
        if row.revision == claimed.revision {
            change.tries = Set(row.tries + 1);
            change.last_error = Set(not_told.error);
            change.updated_at = Set(now);
            match not_told.next {
                Next::TryAt(at) => change.next_try_at = Set(Some(at)),
                Next::GiveUp => {
                    change.next_try_at = Set(None);
                    change.repeating = Set(false);
                    // What is only told once more has been heard before.
                    change.gave_up_at = Set((!row.repeating).then_some(now));
                }
            }
        }
        commit_status::Entity::update(change).exec(&transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

async fn locked_lane(
    transaction: &DatabaseTransaction,
    of: &commit_status::Model,
) -> Result<Vec<commit_status::Model>, StoreError> {
    let lane = commit_status::Entity::find()
        .filter(commit_status::Column::ProjectId.eq(&of.project_id))
        .filter(commit_status::Column::CommitHash.eq(&of.commit_hash))
        .filter(commit_status::Column::Context.eq(&of.context))
        .order_by_desc(commit_status::Column::Id)
        .lock_exclusive()
        .all(transaction)
        .await?;
    Ok(lane)
}

/// Returns a status that is held under this very lease, and its lane.
async fn held(
    transaction: &DatabaseTransaction,
    claimed: &ClaimedStatus,
) -> Result<(commit_status::Model, Vec<commit_status::Model>), StoreError> {
    let row = commit_status::Entity::find_by_id(claimed.id.to_string()).one(transaction).await?;
    let lane = locked_lane(transaction, &row.ok_or(StoreError::NotFound)?).await?;
    let ours = |row: &&commit_status::Model| {
        row.id == claimed.id.to_string()
            && row.lease_owner.as_deref() == Some(claimed.lease_owner.as_str())
            && row.lease_expires_at == Some(claimed.lease_expires_at)
    };
    let row = lane.iter().find(ours).cloned().ok_or(StoreError::Fenced)?;
    Ok((row, lane))
}

async fn clear_ambiguity(
    transaction: &DatabaseTransaction,
    lane: &[commit_status::Model],
) -> Result<(), StoreError> {
    commit_status::Entity::update_many()
        .col_expr(commit_status::Column::Ambiguous, Expr::value(false))
        .filter(commit_status::Column::Id.is_in(lane.iter().map(|row| row.id.as_str())))
        .exec(transaction)
        .await?;
    Ok(())
}

fn freed(row: &commit_status::Model) -> commit_status::ActiveModel {
    commit_status::ActiveModel {
        id: Set(row.id.clone()),
        lease_owner: Set(None),
        lease_expires_at: Set(None),
        ..Default::default()
    }
}

/// Says of a status that nobody tells anything of its lane.
fn no_lease_in_lane(clock: DateTime<Utc>) -> Condition {
    let other = Alias::new("told");
    let leased = in_lane(&other)
        .and_where(Expr::col((other.clone(), commit_status::Column::LeaseExpiresAt)).gt(clock))
        .to_owned();
    Condition::all().add(Expr::exists(leased).not())
}

/// Says of a status that its project's host has not asked us to wait.
fn host_may_be_asked(now: DateTime<Utc>) -> Condition {
    let of_project = Expr::col((status_setting::Entity, status_setting::Column::ProjectId))
        .eq(SimpleExpr::from(Expr::col((commit_status::Entity, commit_status::Column::ProjectId))));
    let waits = Query::select()
        .expr(Expr::val(1))
        .from(status_setting::Entity)
        .and_where(of_project)
        .and_where(Expr::col((status_setting::Entity, status_setting::Column::WaitUntil)).gt(now))
        .to_owned();
    Condition::all().add(Expr::exists(waits).not())
}
