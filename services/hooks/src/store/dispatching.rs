//! What the dispatcher asks of the store: claims, leases, results.
//!
//! A lease says which process works on a deployment. Only its holder may change what the work is about; whoever has
//! lost it finds out by [`StoreError::Fenced`] and stops.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    build::{AttemptId, BuildSpec, HookOrigin},
    deployment::{CancelReason, MAX_ATTEMPTS, State, Transition},
    ending::{Held, after_attempt},
    event::{Outcome, StateChange},
    failure::{Failure, Fault},
    id::DeploymentId,
    source::SourceAccess,
};
use grapnel_runtime::crash_point;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType},
};

use super::{
    Store, StoreError,
    again::again,
    entity::{deployment, project},
    notices::Rings,
    rows, superseding,
    transitions::{apply, locked},
    turns::{self, Affinity},
};
use crate::model::Deployment;

/// How long to wait after a lost attempt, times its number: what was away may be back by then.
const RETRY: Duration = Duration::from_secs(2);

/// How many more deployments are looked at than are to be claimed.
const OTHERS: u64 = 16;

/// Which deployments to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Those whose version is to be resolved.
    Pending,
    /// Those that wait for an executor.
    Queued,
    /// Those that were being built by a process that lost its lease.
    Orphaned,
}

/// A deployment that was claimed, with what its build needs.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The deployment.
    pub deployment: Deployment,
    /// What to build, as far as it is known: without a commit while the version is not resolved, and without anything
    /// secret; see [`crate::inputs`].
    pub spec: BuildSpec,
    /// Where it would best be built.
    pub affinity: Affinity,
}

impl Store {
    /// Claims deployments for `owner`, in fair turns of their projects. No two owners ever get the same one. `now` says what
    /// is due; leases run out by the database's clock.
    ///
    /// # Errors
    /// The database fails.
    pub async fn claim(
        &self,
        which: Claim,
        owner: &str,
        lease: Duration,
        limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>, StoreError> {
        // Outside of the transaction, and by a reader: to put thousands in turns takes longer than the one writer of SQLite
        // should be kept from those who bring more. Some more than are wanted: others may be quicker.
        let eligible = which.eligible(now, self.lease_clock.now(&self.reader).await?);
        let found = turns::in_turn(&self.reader, eligible, limit.saturating_add(OTHERS)).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let transaction = self.begin().await?;
        let clock = self.lease_clock.now(&transaction).await?;
        let mut claimed = Vec::new();
        for id in found {
            if claimed.len() as u64 == limit {
                break;
            }
            let still = deployment::Entity::find_by_id(id)
                .filter(which.eligible(now, clock))
                .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
                .one(&transaction);
            let Some(row) = still.await? else { continue };
            let change = deployment::ActiveModel {
                id: Set(row.id),
                lease_owner: Set(Some(owner.to_owned())),
                lease_expires_at: Set(Some(clock + lease)),
                ..Default::default()
            };
            let row = deployment::Entity::update(change).exec(&transaction).await?;
            let project = project::Entity::find_by_id(&row.project_id).one(&transaction).await?;
            let project = project.ok_or(StoreError::NotFound)?;
            let affinity = match which {
                // It is where it was begun.
                Claim::Orphaned => Affinity::default(),
                Claim::Pending | Claim::Queued => turns::affinity(&transaction, &row, &project).await?,
            };
            claimed.push(claimed_from(row, &project, affinity)?);
        }
        transaction.commit().await?;
        match which {
            _ if claimed.is_empty() => {}
            Claim::Pending => crash_point("store.claimed-to-resolve"),
            Claim::Queued => crash_point("store.claimed-to-build"),
            Claim::Orphaned => crash_point("store.taken-over"),
        }
        Ok(claimed)
    }

    /// Makes a lease last longer; `false` when `owner` does not hold it any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn renew_lease(
        &self,
        id: DeploymentId,
        owner: &str,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let clock = self.lease_clock.now(&self.writer).await?;
        let renewed = deployment::Entity::update_many()
            .col_expr(deployment::Column::LeaseExpiresAt, Expr::value(clock + lease))
            .filter(held_by(id, owner))
            .exec(&self.writer)
            .await?;
        Ok(renewed.rows_affected == 1)
    }

    /// Gives a lease back; the deployment is claimed again at `not_before` or later.
    ///
    /// # Errors
    /// The database fails.
    pub async fn release_lease(
        &self,
        id: DeploymentId,
        owner: &str,
        not_before: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        deployment::Entity::update_many()
            .set(deployment::ActiveModel { not_before: Set(not_before), ..released() })
            .filter(held_by(id, owner))
            .exec(&self.writer)
            .await?;
        self.tell(Rings::work()).await;
        Ok(())
    }

    /// Returns which of the deployments that `owner` has building were asked to end.
    ///
    /// # Errors
    /// The database fails.
    pub async fn asked_to_end(&self, owner: &str) -> Result<Vec<DeploymentId>, StoreError> {
        let found = deployment::Entity::find()
            .filter(deployment::Column::State.eq(State::Building.as_str()))
            .filter(deployment::Column::FinishedAt.is_null())
            .filter(deployment::Column::LeaseOwner.eq(owner))
            .filter(deployment::Column::CancelRequested.is_not_null())
            .all(&self.reader)
            .await?;
        found.into_iter().map(|row| Ok(rows::deployment(row, false)?.id)).collect()
    }

    /// Stores the version of a deployment, which is QUEUED then. What it takes the place of ends in the same transaction.
    ///
    /// # Errors
    /// `owner` does not hold the lease any more.
    pub async fn resolved(
        &self,
        id: DeploymentId,
        owner: &str,
        commit: &str,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let more = deployment::ActiveModel {
            commit_hash: Set(Some(commit.to_owned())),
            commit_message: Set(message.to_owned()),
            ..released()
        };
        again(|| self.resolve(id, owner, commit, more.clone(), now)).await
    }

    async fn resolve(
        &self,
        id: DeploymentId,
        owner: &str,
        commit: &str,
        more: deployment::ActiveModel,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let change = StateChange { state: State::Queued, failure: None, canceled: None };
        let (transaction, row) = held(self.begin().await?, id, owner).await?;
        let resolved = apply(&transaction, row, Transition::Resolve, change, more, now).await?;
        let mut changed = superseding::supersede_same_version(&transaction, &resolved, commit, now).await?;
        changed.push(id);
        self.commit(transaction, Rings::changed(changed)).await?;
        crash_point("store.resolved");
        Ok(())
    }

    /// Stores that the repository's configuration switches deployments off at this version: the deployment ends.
    ///
    /// # Errors
    /// `owner` does not hold the lease any more.
    pub async fn disabled(
        &self,
        id: DeploymentId,
        owner: &str,
        commit: &str,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let more = deployment::ActiveModel {
            commit_hash: Set(Some(commit.to_owned())),
            commit_message: Set(message.to_owned()),
            ..released()
        };
        let canceled = Some(CancelReason::DisabledByConfig);
        let change = StateChange { state: State::Canceled, failure: None, canceled };
        self.change_held(id, owner, Transition::Cancel, change, more, now).await?;
        Ok(())
    }

    /// Stores that a version could not be resolved: the end where it is the repository's fault or the third time,
    /// otherwise another try after `retry_at`.
    ///
    /// # Errors
    /// `owner` does not hold the lease any more.
    pub async fn not_resolved(
        &self,
        claimed: &Deployment,
        owner: &str,
        failure: Failure,
        retry_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let tries = claimed.resolve_attempts + 1;
        if failure.fault() == Fault::User || tries >= MAX_ATTEMPTS {
            let change = StateChange { state: State::Error, failure: Some(failure), canceled: None };
            self.change_held(claimed.id, owner, Transition::Fail, change, released(), now).await?;
            return Ok(());
        }
        tracing::warn!(deployment.id = %claimed.id, code = %failure.code, message = failure.message, "the version is resolved again later");
        let again = deployment::ActiveModel {
            resolve_attempts: Set(i32::try_from(tries).unwrap_or(i32::MAX)),
            not_before: Set(retry_at),
            ..released()
        };
        deployment::Entity::update_many()
            .set(again)
            .filter(held_by(claimed.id, owner))
            .exec(&self.writer)
            .await?;
        Ok(())
    }

    /// Stores which executor is asked to run the next attempt: whoever takes over asks the same one first.
    ///
    /// # Errors
    /// `owner` does not hold the lease any more.
    pub async fn assigned(&self, id: DeploymentId, owner: &str, executor: &str) -> Result<(), StoreError> {
        let assigned = deployment::Entity::update_many()
            .col_expr(deployment::Column::Executor, Expr::value(executor))
            .filter(held_by(id, owner))
            .exec(&self.writer)
            .await?;
        crash_point("store.assigned");
        if assigned.rows_affected == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }

    /// Stores that an executor has accepted an attempt: the deployment is BUILDING.
    ///
    /// # Errors
    /// `owner` does not hold the lease any more, or the deployment has ended meanwhile.
    pub async fn started(&self, id: AttemptId, owner: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let attempt = i32::try_from(id.attempt).unwrap_or(i32::MAX);
        let more = deployment::ActiveModel { attempt: Set(attempt), ..Default::default() };
        let change = StateChange { state: State::Building, failure: None, canceled: None };
        self.change_held(id.deployment, owner, Transition::Start, change, more, now).await?;
        crash_point("store.started");
        Ok(())
    }

    /// Stores how an attempt ended. READY promotes the branch's address in the same transaction, unless a newer
    /// deployment of the branch was promoted before.
    ///
    /// # Errors
    /// `owner` does not hold the lease any more, or another attempt has begun.
    pub async fn finished(
        &self,
        id: AttemptId,
        owner: &str,
        outcome: Outcome,
        now: DateTime<Utc>,
    ) -> Result<Deployment, StoreError> {
        again(|| self.finish(id, owner, outcome.clone(), now)).await
    }

    async fn finish(
        &self,
        id: AttemptId,
        owner: &str,
        outcome: Outcome,
        now: DateTime<Utc>,
    ) -> Result<Deployment, StoreError> {
        let transaction = self.begin().await?;
        let row = locked(&transaction, id.deployment).await?;
        let deployment = rows::deployment(row.clone(), false)?;
        let held = Held { by: row.lease_owner.as_deref(), attempt: deployment.attempt };
        if !held.counts(owner, id.attempt) {
            return Err(StoreError::Fenced);
        }
        let mut more = released();
        let deleted = row.deleted_at.is_some();
        if deleted {
            more.body = Set(None);
        }
        if let Outcome::Ready { files, bytes } = outcome {
            more.artifact_files = Set(i64::try_from(files).ok());
            more.artifact_bytes = Set(i64::try_from(bytes).ok());
        }
        let (mut transition, mut change) = after_attempt(id.attempt, outcome, deployment.cancel_requested);
        if transition == Transition::Retry {
            more.not_before = Set(now + RETRY * id.attempt);
            // Whoever was let finish first and lost its attempt is not begun anew beside the one that follows it.
            if let Some(by) = superseding::hand_over(&transaction, &row).await? {
                let canceled = Some(CancelReason::Superseded { by });
                transition = Transition::Cancel;
                change = StateChange { state: State::Canceled, failure: None, canceled };
            }
        }
        let deployment = apply(&transaction, row, transition, change, more, now).await?;
        self.commit(transaction, Rings::changed(vec![id.deployment])).await?;
        crash_point("store.finished");
        if deleted {
            self.wakeups.retention();
        }
        Ok(deployment)
    }

    async fn change_held(
        &self,
        id: DeploymentId,
        owner: &str,
        transition: Transition,
        change: StateChange,
        more: deployment::ActiveModel,
        now: DateTime<Utc>,
    ) -> Result<Deployment, StoreError> {
        let (transaction, row) = held(self.begin().await?, id, owner).await?;
        let changed = apply(&transaction, row, transition, change, more, now).await?;
        self.commit(transaction, Rings::changed(vec![id])).await?;
        Ok(changed)
    }
}

impl Claim {
    /// Says which deployments can be claimed: those that are due, and that nobody holds by the database's clock.
    fn eligible(self, now: DateTime<Utc>, clock: DateTime<Utc>) -> Condition {
        let free = Condition::any()
            .add(deployment::Column::LeaseExpiresAt.is_null())
            .add(deployment::Column::LeaseExpiresAt.lt(clock));
        let allowed = if self == Self::Queued { superseding::may_start() } else { Condition::all() };
        Condition::all()
            .add(deployment::Column::State.eq(self.state().as_str()))
            .add(allowed)
            .add(deployment::Column::FinishedAt.is_null())
            .add(deployment::Column::NotBefore.lte(now))
            .add(free)
    }

    fn state(self) -> State {
        match self {
            Self::Pending => State::Pending,
            Self::Queued => State::Queued,
            Self::Orphaned => State::Building,
        }
    }
}

/// Reads a deployment, locked, that `owner` holds. Where somebody else does, the lock is given back before this returns: a
/// claim that looks next would pass over it.
async fn held(
    transaction: sea_orm::DatabaseTransaction,
    id: DeploymentId,
    owner: &str,
) -> Result<(sea_orm::DatabaseTransaction, deployment::Model), StoreError> {
    let row = locked(&transaction, id).await?;
    if row.lease_owner.as_deref() == Some(owner) {
        return Ok((transaction, row));
    }
    transaction.rollback().await?;
    Err(StoreError::Fenced)
}

fn held_by(id: DeploymentId, owner: &str) -> Condition {
    Condition::all()
        .add(deployment::Column::Id.eq(id.to_string()))
        .add(deployment::Column::LeaseOwner.eq(owner))
        .add(deployment::Column::FinishedAt.is_null())
}

fn released() -> deployment::ActiveModel {
    deployment::ActiveModel { lease_owner: Set(None), lease_expires_at: Set(None), ..Default::default() }
}

fn claimed_from(
    row: deployment::Model,
    project: &project::Model,
    affinity: Affinity,
) -> Result<Claimed, StoreError> {
    let body = row.body.clone().unwrap_or_default();
    let deployment = rows::deployment(row, false)?;
    let project = rows::project(project)?;
    // A deployment that builds goes on with its attempt, one that waits begins the next.
    let attempt =
        if deployment.state == State::Building { deployment.attempt } else { deployment.attempt + 1 };
    let spec = BuildSpec {
        id: AttemptId { deployment: deployment.id, attempt },
        project_id: project.id,
        production: deployment.branch == project.production_branch,
        project_name: project.name,
        repository: project.repository,
        branch: deployment.branch.clone(),
        commit: deployment.commit.clone().unwrap_or_default(),
        commit_message: deployment.commit_message.clone(),
        hook: deployment.hook.clone().map(|(id, name)| HookOrigin { id, name }),
        trigger_count: deployment.trigger_count,
        title: deployment.title.clone(),
        body,
        use_cache: deployment.use_cache,
        settings: project.settings,
        variables: Vec::new(),
        access: SourceAccess::default(),
    };
    Ok(Claimed { deployment, spec, affinity })
}
