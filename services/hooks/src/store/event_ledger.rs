//! The ledger of events and of every try at one, and what can be asked of it: send it again, send a test.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    endpoint::{EventState, EventType},
    id::{DeliveryId, DeploymentId, EndpointId, EventId, TeamId},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    Store, StoreError, endpoints,
    entity::{delivery, outgoing_event},
    event_rows,
    notices::Rings,
    outgoing_events,
    retention::Step,
    rows,
};
use crate::model::{Delivery, EventFacts, OutgoingEvent, Page};

/// How many rows are removed at once, so that nobody waits for it.
const PRUNED_AT_ONCE: u64 = 1_000;

/// Which events to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFilter {
    /// Only those for this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only those of this deployment.
    pub deployment: Option<DeploymentId>,
    /// Only those in this state.
    pub state: Option<EventState>,
}

/// Which tries to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryFilter {
    /// Only those to this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only those at this event.
    pub event: Option<EventId>,
}

impl Store {
    /// Reads an event of a team.
    ///
    /// # Errors
    /// There is none.
    pub async fn outgoing_event(&self, team: TeamId, id: EventId) -> Result<OutgoingEvent, StoreError> {
        let row = outgoing_event::Entity::find_by_id(id.to_string())
            .filter(outgoing_event::Column::TeamId.eq(team.to_string()))
            .one(&self.reader)
            .await?;
        event_rows::event(row.ok_or(StoreError::NotFound)?)
    }

    /// Lists a team's events, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_outgoing_events(
        &self,
        team: TeamId,
        filter: EventFilter,
        after: Option<EventId>,
        limit: u64,
    ) -> Result<Page<OutgoingEvent>, StoreError> {
        let mut query = outgoing_event::Entity::find()
            .filter(outgoing_event::Column::TeamId.eq(team.to_string()))
            .order_by_desc(outgoing_event::Column::Id)
            .limit(limit + 1);
        if let Some(endpoint) = filter.endpoint {
            query = query.filter(outgoing_event::Column::EndpointId.eq(endpoint.to_string()));
        }
        if let Some(deployment) = filter.deployment {
            query = query.filter(outgoing_event::Column::DeploymentId.eq(deployment.to_string()));
        }
        if let Some(state) = filter.state {
            query = query.filter(outgoing_event::Column::State.eq(state.as_str()));
        }
        if let Some(after) = after {
            query = query.filter(outgoing_event::Column::Id.lt(after.to_string()));
        }
        let mut found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page { items: found.into_iter().map(event_rows::event).collect::<Result<_, _>>()?, more })
    }

    /// Lists a team's tries, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_deliveries(
        &self,
        team: TeamId,
        filter: DeliveryFilter,
        after: Option<DeliveryId>,
        limit: u64,
    ) -> Result<Page<Delivery>, StoreError> {
        let mut query = delivery::Entity::find()
            .filter(delivery::Column::TeamId.eq(team.to_string()))
            .order_by_desc(delivery::Column::Id)
            .limit(limit + 1);
        if let Some(endpoint) = filter.endpoint {
            query = query.filter(delivery::Column::EndpointId.eq(endpoint.to_string()));
        }
        if let Some(event) = filter.event {
            query = query.filter(delivery::Column::EventId.eq(event.to_string()));
        }
        if let Some(after) = after {
            query = query.filter(delivery::Column::Id.lt(after.to_string()));
        }
        let mut found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page { items: found.into_iter().map(event_rows::delivery).collect::<Result<_, _>>()?, more })
    }

    /// Lets an event be sent again, whatever came of it before: at once, and by the whole schedule where that fails. An event
    /// that is being tried at this moment is not tried a second time beside that.
    ///
    /// # Errors
    /// The endpoint is gone, or disabled.
    pub async fn redeliver(
        &self,
        team: TeamId,
        event: &OutgoingEvent,
        now: DateTime<Utc>,
    ) -> Result<OutgoingEvent, StoreError> {
        let transaction = self.begin().await?;
        let endpoint = endpoints::locked(&transaction, team, event.endpoint).await?;
        if endpoint.disabled_at.is_some() {
            return Err(StoreError::EndpointDisabled);
        }
        let row = outgoing_event::Entity::find_by_id(event.id.to_string())
            .lock_exclusive()
            .one(&transaction)
            .await?;
        let row = row.ok_or(StoreError::NotFound)?;
        let change = outgoing_event::ActiveModel {
            id: Set(row.id),
            state: Set(EventState::Waiting.to_string()),
            tries_before: Set(row.tries),
            next_try_at: Set(now),
            ..Default::default()
        };
        let row = outgoing_event::Entity::update(change).exec(&transaction).await?;
        self.commit(transaction, Rings::events()).await?;
        event_rows::event(row)
    }

    /// Stores an event that only shows whether events arrive.
    ///
    /// # Errors
    /// The endpoint is gone, or disabled.
    pub async fn store_test_event(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        id: EventId,
        now: DateTime<Utc>,
    ) -> Result<OutgoingEvent, StoreError> {
        let transaction = self.begin().await?;
        if endpoints::locked(&transaction, team, endpoint).await?.disabled_at.is_some() {
            return Err(StoreError::EndpointDisabled);
        }
        let row = outgoing_event::Model {
            id: id.to_string(),
            team_id: team.to_string(),
            endpoint_id: endpoint.to_string(),
            facts: rows::to_json(&EventFacts::Endpoint { id: endpoint })?,
            ..outgoing_events::unsent(EventType::EndpointTest, now)
        };
        outgoing_events::insert(&transaction, std::slice::from_ref(&row)).await?;
        self.commit(transaction, Rings::events()).await?;
        event_rows::event(row)
    }

    /// Removes the oldest events that happened before `before`, with their tries, unless they still wait, as many as nobody
    /// waits for.
    ///
    /// # Errors
    /// The database fails.
    pub async fn prune_events(&self, before: DateTime<Utc>) -> Result<Step, StoreError> {
        let oldest: Vec<String> = outgoing_event::Entity::find()
            .select_only()
            .column(outgoing_event::Column::Id)
            .filter(outgoing_event::Column::CreatedAt.lt(before))
            .filter(outgoing_event::Column::State.ne(EventState::Waiting.as_str()))
            .order_by_asc(outgoing_event::Column::CreatedAt)
            .limit(PRUNED_AT_ONCE)
            .into_tuple()
            // What the writer has just removed has to be seen.
            .all(&self.writer)
            .await?;
        let more = oldest.len() as u64 == PRUNED_AT_ONCE;
        // One that was asked to be sent again meanwhile waits, and stays.
        let done = outgoing_event::Entity::delete_many()
            .filter(outgoing_event::Column::Id.is_in(oldest))
            .filter(outgoing_event::Column::State.ne(EventState::Waiting.as_str()))
            .exec(&self.writer)
            .await?;
        Ok(Step { removed: done.rows_affected, more })
    }
}
