//! How a deployment's state changes: by the domain's table, with its event, in one transaction.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::{CancelReason, State, Transition},
    endpoint::EventType,
    event::{DeploymentEvent, StateChange},
    id::DeploymentId,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::{
    Store, StoreError, addresses,
    again::again,
    entity::{deployment, deployment_event},
    notices::Rings,
    outgoing_events::{self, Change},
    rows,
    set_wise::Writes,
    statuses,
};
use crate::model::Deployment;

/// What came of asking a deployment to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelResult {
    /// It waited, and has ended.
    Ended,
    /// It runs, and will end when its sandbox is gone.
    Asked,
    /// It had ended already.
    Final,
}

impl Store {
    /// Asks a team's deployment to end.
    ///
    /// # Errors
    /// There is none.
    pub async fn cancel_deployment(
        &self,
        team: grapnel_domain::id::TeamId,
        id: DeploymentId,
        reason: CancelReason,
        now: DateTime<Utc>,
    ) -> Result<CancelResult, StoreError> {
        again(|| async {
            let transaction = self.begin().await?;
            let row = locked(&transaction, id).await?;
            if row.team_id != team.to_string() {
                return Err(StoreError::NotFound);
            }
            let result = cancel(&transaction, row, reason, now).await?;
            self.commit(transaction, Rings::changed(vec![id])).await?;
            Ok(result)
        })
        .await
    }
}

/// Reads a deployment and keeps others from changing it until the transaction ends.
pub(super) async fn locked(
    transaction: &DatabaseTransaction,
    id: DeploymentId,
) -> Result<deployment::Model, StoreError> {
    let row = deployment::Entity::find_by_id(id.to_string()).lock_exclusive().one(transaction).await?;
    row.ok_or(StoreError::NotFound)
}

/// Ends or marks every deployment that the condition names, and returns their ids. The newest is locked first, as
/// everywhere, so that two who do this wait for each other and not in a circle.
pub(super) async fn cancel_all(
    transaction: &DatabaseTransaction,
    which: Condition,
    reason: CancelReason,
    now: DateTime<Utc>,
) -> Result<Vec<DeploymentId>, StoreError> {
    let found = deployment::Entity::find()
        .filter(which)
        .order_by_desc(deployment::Column::Id)
        .lock_exclusive()
        .all(transaction)
        .await?;
    let mut ids = Vec::with_capacity(found.len());
    for row in found {
        ids.push(rows::deployment(row.clone(), false)?.id);
        cancel(transaction, row, reason, now).await?;
    }
    Ok(ids)
}

/// Ends a waiting deployment, or marks one that runs. Asking twice keeps the first reason.
pub(super) async fn cancel(
    transaction: &DatabaseTransaction,
    row: deployment::Model,
    reason: CancelReason,
    now: DateTime<Utc>,
) -> Result<CancelResult, StoreError> {
    let deployment = rows::deployment(row.clone(), false)?;
    if deployment.state.is_final() {
        return Ok(CancelResult::Final);
    }
    if deployment.state != State::Building {
        let change = StateChange { state: State::Canceled, failure: None, canceled: Some(reason) };
        apply(transaction, row, Transition::Cancel, change, deployment::ActiveModel::default(), now).await?;
        return Ok(CancelResult::Ended);
    }
    if deployment.cancel_requested.is_none() {
        let mark = deployment::ActiveModel {
            id: Set(row.id),
            revision: Set(row.revision + 1),
            cancel_requested: Set(Some(rows::to_json(&reason)?)),
            ..Default::default()
        };
        deployment::Entity::update(mark).exec(transaction).await?;
    }
    Ok(CancelResult::Asked)
}

/// Makes the event of a new deployment's first state.
pub(super) fn first_event(new: &deployment::Model) -> Result<deployment_event::Model, StoreError> {
    let change = StateChange { state: State::Pending, failure: None, canceled: None };
    event(new.id.clone(), new.last_position, change, new.created_at)
}

/// Ends a waiting deployment by the table, as far as its row goes, and makes the event of it. The caller has it locked, and
/// stores both.
pub(super) fn end_waiting(
    row: &mut deployment::Model,
    reason: CancelReason,
    now: DateTime<Utc>,
) -> Result<deployment_event::Model, StoreError> {
    let from: State = rows::parse("deployment", &row.state)?;
    let to = from.apply(Transition::Cancel)?;
    row.state = to.to_string();
    row.revision += 1;
    row.last_position += 1;
    row.canceled = Some(rows::to_json(&reason)?);
    row.finished_at = Some(now);
    let change = StateChange { state: to, failure: None, canceled: Some(reason) };
    event(row.id.clone(), row.last_position, change, now)
}

/// Stores new deployments, and events.
pub(super) async fn insert_all(
    transaction: &DatabaseTransaction,
    new: &[deployment::Model],
    events: &[deployment_event::Model],
) -> Result<(), StoreError> {
    let mut writes = Writes::new(transaction, new.len());
    writes.insert(new);
    writes.insert(events);
    writes.run(transaction).await?;
    Ok(())
}

/// Changes a deployment's state by the table and stores the event of it, with those of the endpoints that hear of it;
/// `more` is what else becomes known. READY promotes the branch's address, unless it is held
/// or serves a newer deployment, or this one was deleted.
///
/// Whoever changed the row since it was read wins, and this change is [`StoreError::Fenced`].
pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    row: deployment::Model,
    transition: Transition,
    change: StateChange,
    more: deployment::ActiveModel,
    now: DateTime<Utc>,
) -> Result<Deployment, StoreError> {
    let from: State = rows::deployment(row.clone(), false)?.state;
    let to = from.apply(transition)?;
    debug_assert_eq!(to, change.state, "the event tells another state than the table");
    let deleted = row.deleted_at.is_some();
    let position = row.last_position + 1;
    let optional = |value: Option<String>| {
        if value.is_some() { Set(value) } else { Default::default() }
    };
    let failure =
        if to == State::Error { change.failure.as_ref().map(rows::to_json).transpose()? } else { None };
    let canceled = change.canceled.as_ref().map(rows::to_json).transpose()?;
    // An attempt that follows a lost one comes into states in which the deployment was before.
    let first = match to {
        State::Queued => row.queued_at.is_none(),
        State::Building => row.building_at.is_none(),
        State::Pending | State::Ready | State::Error | State::Canceled => true,
    };
    let update = deployment::ActiveModel {
        state: Set(to.to_string()),
        revision: Set(row.revision + 1),
        last_position: Set(position),
        failure: optional(failure),
        canceled: optional(canceled),
        queued_at: if to == State::Queued && first { Set(Some(now)) } else { Default::default() },
        building_at: if to == State::Building && first { Set(Some(now)) } else { Default::default() },
        finished_at: if to.is_final() { Set(Some(now)) } else { Default::default() },
        ..more
    };
    let updated = deployment::Entity::update_many()
        .set(update)
        .filter(deployment::Column::Id.eq(&row.id))
        .filter(deployment::Column::Revision.eq(row.revision))
        .exec_with_returning(transaction)
        .await?;
    let updated = updated.into_iter().next().ok_or(StoreError::Fenced)?;
    insert_all(transaction, &[], &[event(row.id, position, change, now)?]).await?;
    let mut deployment = rows::deployment(updated, false)?;
    if to == State::Ready && !deleted {
        deployment.promoted = addresses::serve_newer(transaction, &deployment, now).await?;
    }
    statuses::record(transaction, &deployment, now).await?;
    if let Some(kind) = EventType::of(to, first) {
        let change = Change { deployment, kind, position, at: now };
        outgoing_events::store(transaction, std::slice::from_ref(&change)).await?;
        return Ok(change.deployment);
    }
    Ok(deployment)
}

fn event(
    deployment_id: String,
    position: i64,
    change: StateChange,
    at: DateTime<Utc>,
) -> Result<deployment_event::Model, StoreError> {
    let payload = rows::to_json(&DeploymentEvent::State(change))?;
    Ok(deployment_event::Model { deployment_id, position, attempt: None, sequence: None, payload, at })
}
