//! The history of deployments.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    build::AttemptId,
    deployment::State,
    ending::Held,
    event::{BuildEvent, DeploymentEvent},
    id::DeploymentId,
};
use grapnel_runtime::crash_point;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::{
    Store, StoreError,
    entity::{deployment, deployment_event},
    notices::Rings,
    rows,
    transitions::locked,
};
use crate::model::StoredEvent;

/// How the payload of an event that holds log lines begins. A test holds it against what is written.
const LOG: &str = r#"{"what":"build","attempt":%,"event":{"type":"log",%"#;

impl Store {
    /// Reads a deployment's history after `position`, with or without what was printed, at most `limit` events of it. The
    /// caller has made sure that the deployment may be seen.
    ///
    /// # Errors
    /// The database fails.
    pub async fn events_after(
        &self,
        id: DeploymentId,
        position: u64,
        log: bool,
        limit: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut query = deployment_event::Entity::find()
            .filter(deployment_event::Column::DeploymentId.eq(id.to_string()))
            .filter(deployment_event::Column::Position.gt(i64::try_from(position).unwrap_or(i64::MAX)))
            .order_by_asc(deployment_event::Column::Position)
            .limit(limit);
        if !log {
            query = query.filter(deployment_event::Column::Payload.not_like(LOG));
        }
        let found = query.all(&self.reader).await?;
        found.iter().map(rows::event).collect()
    }

    /// Stores events of an attempt. Those that are stored already are passed over, so that a stream may tell them
    /// twice.
    ///
    /// # Errors
    /// The attempt is over, or `owner` does not hold its lease any more.
    pub async fn append_build_events(
        &self,
        id: AttemptId,
        owner: &str,
        events: Vec<(u64, BuildEvent)>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let row = locked(&transaction, id.deployment).await?;
        let attempt = u32::try_from(row.attempt).unwrap_or_default();
        let held = Held { by: row.lease_owner.as_deref(), attempt };
        if row.state != State::Building.as_str() || !held.counts(owner, id.attempt) {
            return Err(StoreError::Fenced);
        }
        let stored = last_sequence(&transaction, id).await?;
        let mut position = row.last_position;
        let mut fresh = Vec::new();
        for (sequence, event) in events.into_iter().filter(|(sequence, _)| *sequence > stored) {
            position += 1;
            let event = DeploymentEvent::Build { attempt: id.attempt, event };
            fresh.push(deployment_event::ActiveModel {
                deployment_id: Set(row.id.clone()),
                position: Set(position),
                attempt: Set(Some(row.attempt)),
                sequence: Set(i64::try_from(sequence).ok()),
                payload: Set(rows::to_json(&event)?),
                at: Set(now),
            });
        }
        if fresh.is_empty() {
            return Ok(());
        }
        deployment_event::Entity::insert_many(fresh).exec_without_returning(&transaction).await?;
        let change =
            deployment::ActiveModel { id: Set(row.id), last_position: Set(position), ..Default::default() };
        deployment::Entity::update(change).exec(&transaction).await?;
        self.commit(transaction, Rings::told(id.deployment)).await?;
        crash_point("store.events-stored");
        Ok(())
    }

    /// Returns the number of the last event of an attempt that is stored; 0 for none.
    ///
    /// # Errors
    /// The database fails.
    pub async fn last_sequence(&self, id: AttemptId) -> Result<u64, StoreError> {
        last_sequence(&self.reader, id).await
    }
}

async fn last_sequence(database: &impl ConnectionTrait, id: AttemptId) -> Result<u64, StoreError> {
    let last: Option<Option<i64>> = deployment_event::Entity::find()
        .select_only()
        .column_as(deployment_event::Column::Sequence.max(), "last")
        .filter(deployment_event::Column::DeploymentId.eq(id.deployment.to_string()))
        .filter(deployment_event::Column::Attempt.eq(i32::try_from(id.attempt).unwrap_or(i32::MAX)))
        .into_tuple()
        .one(database)
        .await?;
    Ok(last.flatten().and_then(|last| u64::try_from(last).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use grapnel_domain::event::Step;

    use super::*;

    #[test]
    fn log_lines_are_told_by_how_their_payload_begins() {
        let event = BuildEvent::Log { step: Step::Build, lines: Vec::new() };
        let written = rows::to_json(&DeploymentEvent::Build { attempt: 12, event }).unwrap();
        let parts: Vec<&str> = LOG.split('%').collect();
        assert!(written.starts_with(parts[0]) && written.contains(parts[1]), "{written}");
    }
}
