//! Events on their way out: stored with what they tell of, claimed by who sends them, ended by what came of it.
//!
//! An endpoint's row is locked before those of its events, everywhere.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use grapnel_domain::{
    deployment::CancelReason,
    endpoint::{DisabledReason, EventState, EventType, TryOutcome, is_given_up},
    hook::token_is_live,
    id::{EndpointId, EventKind},
};
use grapnel_runtime::{clock::id_at, crash_point};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Alias, Expr, ExprTrait as _, LockBehavior, LockType, Query, SimpleExpr},
};

use super::{
    Store, StoreError,
    endpoints::{self, with_secrets},
    entity::{delivery, endpoint, outgoing_event, project},
    event_rows,
    notices::Rings,
    rows, sealed,
    set_wise::{self, padded},
};
use crate::{
    model::{
        Delivery, Deployment, DeploymentFacts, Endpoint, EventFacts, EventReason, Named, OutgoingEvent,
        SecretOf,
    },
    sealing::Sealed,
};

/// How many events that are due are looked at at once.
const LOOKED_AT: u64 = 128;

/// An event that was claimed, with what sending it needs.
#[derive(Clone, Debug)]
pub struct ClaimedEvent {
    /// The event, with its body.
    pub event: OutgoingEvent,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// The secrets that sign, the newest first; `None` for one that is not there any more.
    pub secrets: Vec<(SecretOf, Option<Sealed>)>,
    /// How often it was tried since it was stored, or asked to be sent again.
    pub tries: u32,
    /// Until when it is leased: together with the owner it says which claim this is.
    pub lease_expires_at: Option<DateTime<Utc>>,
}

/// Makes the body of an event from what it tells, when it happened, and what is known of it.
pub type Render = dyn Fn(EventType, DateTime<Utc>, EventFacts) -> String + Send + Sync;

/// Who claims events, and how.
pub struct Claimer<'a> {
    /// The name under which leases are held.
    pub owner: &'a str,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How many events an endpoint is sent at once.
    pub at_once: usize,
    /// Makes the body of an event at its first try. It is the same at all others.
    pub render: &'a Render,
}

impl Store {
    /// Claims events that are due, at most `limit`, and none that waits for an earlier one of its deployment. No two owners ever
    /// get the same one. `under_way` says how many each endpoint is being sent, and counts what is claimed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn claim_events(
        &self,
        claimer: &Claimer<'_>,
        under_way: &mut HashMap<EndpointId, usize>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<ClaimedEvent>, StoreError> {
        // Triggers wake who sends more often than there is something to send, and the one writer is theirs.
        let clock = self.lease_clock.now(&self.reader).await?;
        if waiting(now, clock).limit(1).one(&self.reader).await?.is_none() {
            return Ok(Vec::new());
        }
        let transaction = self.begin().await?;
        let clock = self.lease_clock.now(&transaction).await?;
        let full = under_way.iter().filter(|(_, count)| **count >= claimer.at_once);
        let due = due(&transaction, full.map(|(id, _)| id.to_string()).collect(), now, clock).await?;
        let endpoints = live_endpoints(&transaction, &due).await?;
        let mut claimed = Vec::new();
        for row in due {
            let Some(endpoint) = endpoints.get(&row.endpoint_id) else {
                // It was disabled or deleted while the event was being stored.
                end_unheard(&transaction, row.id).await?;
                continue;
            };
            let count = under_way.entry(endpoint.id).or_default();
            if *count >= claimer.at_once || claimed.len() >= limit {
                continue;
            }
            *count += 1;
            let body = match &row.body {
                Some(body) => body.clone(),
                None => {
                    let facts = rows::from_json("outgoing_event", &row.facts)?;
                    (claimer.render)(rows::parse("outgoing_event", &row.kind)?, row.created_at, facts)
                }
            };
            let change = outgoing_event::ActiveModel {
                id: Set(row.id),
                body: Set(Some(body)),
                lease_owner: Set(Some(claimer.owner.to_owned())),
                lease_expires_at: Set(Some(clock + claimer.lease)),
                ..Default::default()
            };
            let row = outgoing_event::Entity::update(change).exec(&transaction).await?;
            claimed.push(claimed_from(&transaction, row, endpoint.clone(), now).await?);
        }
        transaction.commit().await?;
        crash_point("store.event-claimed");
        Ok(claimed)
    }

    /// Stores what came of a try; `next` is when the event is tried again, if it has to be.
    ///
    /// # Errors
    /// `owner` does not hold the lease any more, or the event is gone.
    pub async fn tried(
        &self,
        claimed: &ClaimedEvent,
        owner: &str,
        tried: &Delivery,
        next: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let endpoint = endpoints::locked(&transaction, claimed.endpoint.team_id, claimed.endpoint.id).await;
        let row = outgoing_event::Entity::find_by_id(claimed.event.id.to_string())
            .lock_exclusive()
            .one(&transaction)
            .await?;
        let row = row.ok_or(StoreError::NotFound)?;
        // Whoever has slept past its lease may find it taken again by itself.
        let held =
            row.lease_owner.as_deref() == Some(owner) && row.lease_expires_at == claimed.lease_expires_at;
        if !held {
            return Err(StoreError::Fenced);
        }
        insert_delivery(&transaction, &row.team_id, tried).await?;
        let present: EventState = rows::parse("outgoing_event", &row.state)?;
        let state = match (tried.tried.outcome, present, next) {
            (TryOutcome::Delivered, _, _) => EventState::Delivered,
            // What was dropped while it was being tried stays dropped.
            (_, EventState::Waiting, None) => EventState::Failed,
            (_, present, _) => present,
        };
        let change = outgoing_event::ActiveModel {
            id: Set(row.id),
            state: Set(state.to_string()),
            tries: Set(row.tries.saturating_add(1)),
            next_try_at: next.map_or_else(Default::default, Set),
            lease_owner: Set(None),
            lease_expires_at: Set(None),
            ..Default::default()
        };
        outgoing_event::Entity::update(change).exec(&transaction).await?;
        match endpoint {
            Ok(endpoint) => judge(&transaction, endpoint, tried.tried.outcome, now).await?,
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.commit(transaction, Rings::events()).await?;
        crash_point("store.event-tried");
        Ok(())
    }
}

/// A deployment's change of state, as others hear of it.
pub(super) struct Change {
    /// The deployment, as it is since.
    pub deployment: Deployment,
    /// What is told of it.
    pub kind: EventType,
    /// The place of the change in the deployment's history.
    pub position: i64,
    /// When it changed.
    pub at: DateTime<Utc>,
}

/// Stores the events of changes of state: one for each endpoint that wants to hear of one. Returns how many there are.
pub(super) async fn store(
    transaction: &DatabaseTransaction,
    changes: &[Change],
) -> Result<usize, StoreError> {
    if changes.is_empty() {
        return Ok(0);
    }
    let teams: BTreeSet<_> = changes.iter().map(|change| change.deployment.team_id.to_string()).collect();
    let projects: BTreeSet<_> =
        changes.iter().map(|change| change.deployment.project_id.to_string()).collect();
    let projects = padded(projects);
    let of_projects = endpoint::Column::ProjectId.is_in(projects.clone());
    let hearing = endpoint::Entity::find()
        .filter(endpoint::Column::TeamId.is_in(padded(teams)))
        .filter(Condition::any().add(endpoint::Column::ProjectId.is_null()).add(of_projects))
        .filter(endpoint::Column::DisabledAt.is_null())
        .all(transaction)
        .await?;
    if hearing.is_empty() {
        return Ok(0);
    }
    let projects =
        project::Entity::find().filter(project::Column::Id.is_in(projects)).all(transaction).await?;
    let names: HashMap<_, _> = projects.into_iter().map(|project| (project.id, project.name)).collect();
    let mut fresh = Vec::new();
    for change in changes {
        let hears = |endpoint: &&endpoint::Model| hears(endpoint, &change.deployment, change.kind);
        let mut hearing = hearing.iter().filter(hears).peekable();
        if hearing.peek().is_none() {
            continue;
        }
        let name = names.get(&change.deployment.project_id.to_string()).ok_or(StoreError::NotFound)?;
        let facts = EventFacts::Deployment(Box::new(facts_of(&change.deployment, name.clone())));
        let facts = rows::to_json(&facts)?;
        fresh.extend(hearing.map(|endpoint| outgoing_event::Model {
            id: id_at::<EventKind>(change.at, u64::try_from(change.position).unwrap_or(0)).to_string(),
            team_id: endpoint.team_id.clone(),
            endpoint_id: endpoint.id.clone(),
            deployment_id: Some(change.deployment.id.to_string()),
            position: change.position,
            facts: facts.clone(),
            ..unsent(change.kind, change.at)
        }));
    }
    let stored = fresh.len();
    insert(transaction, &fresh).await?;
    Ok(stored)
}

/// Says whether an endpoint wants to hear of a deployment's change.
fn hears(endpoint: &endpoint::Model, deployment: &Deployment, kind: EventType) -> bool {
    endpoint.team_id == deployment.team_id.to_string()
        && endpoint.project_id.as_ref().is_none_or(|project| *project == deployment.project_id.to_string())
        && (endpoint.types.is_empty() || endpoint.types.split(',').any(|it| it == kind.as_str()))
}

/// An event that nobody has tried to send.
pub(super) fn unsent(kind: EventType, now: DateTime<Utc>) -> outgoing_event::Model {
    outgoing_event::Model {
        id: String::new(),
        team_id: String::new(),
        endpoint_id: String::new(),
        deployment_id: None,
        position: 0,
        kind: kind.to_string(),
        facts: String::new(),
        body: None,
        state: EventState::Waiting.to_string(),
        tries: 0,
        tries_before: 0,
        next_try_at: now,
        lease_owner: None,
        lease_expires_at: None,
        created_at: now,
    }
}

/// Stores events.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    fresh: &[outgoing_event::Model],
) -> Result<(), StoreError> {
    set_wise::insert(transaction, fresh).await?;
    Ok(())
}

/// Finds events whose time has come, and that nobody is trying by the clock of leases.
fn waiting(now: DateTime<Utc>, clock: DateTime<Utc>) -> Select<outgoing_event::Entity> {
    let free = Condition::any()
        .add(outgoing_event::Column::LeaseExpiresAt.is_null())
        .add(outgoing_event::Column::LeaseExpiresAt.lt(clock));
    outgoing_event::Entity::find()
        .filter(outgoing_event::Column::State.eq(EventState::Waiting.as_str()))
        .filter(outgoing_event::Column::NextTryAt.lte(now))
        .filter(free)
}

/// Reads events that are due, but none of these endpoints.
async fn due(
    transaction: &DatabaseTransaction,
    full: Vec<String>,
    now: DateTime<Utc>,
    clock: DateTime<Utc>,
) -> Result<Vec<outgoing_event::Model>, StoreError> {
    let mut query = waiting(now, clock)
        .filter(its_turn())
        .order_by_asc(outgoing_event::Column::NextTryAt)
        .order_by_asc(outgoing_event::Column::Id)
        .limit(LOOKED_AT)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    if !full.is_empty() {
        query = query.filter(outgoing_event::Column::EndpointId.is_not_in(full));
    }
    Ok(query.all(transaction).await?)
}

/// Says of an event that no earlier one of its deployment waits for its first try at the same endpoint.
fn its_turn() -> Condition {
    let earlier = Alias::new("earlier");
    let of = |column: outgoing_event::Column| Expr::col((earlier.clone(), column));
    let own = |column: outgoing_event::Column| SimpleExpr::from(Expr::col((outgoing_event::Entity, column)));
    let untried = Query::select()
        .expr(Expr::val(1))
        .from_as(outgoing_event::Entity, earlier.clone())
        .and_where(of(outgoing_event::Column::EndpointId).eq(own(outgoing_event::Column::EndpointId)))
        .and_where(of(outgoing_event::Column::DeploymentId).eq(own(outgoing_event::Column::DeploymentId)))
        .and_where(of(outgoing_event::Column::Position).lt(own(outgoing_event::Column::Position)))
        .and_where(of(outgoing_event::Column::State).eq(EventState::Waiting.as_str()))
        .and_where(of(outgoing_event::Column::Tries).eq(0))
        .to_owned();
    Condition::all().add(Expr::exists(untried).not())
}

/// Reads the endpoints of events, those that are not disabled, by id.
async fn live_endpoints(
    transaction: &DatabaseTransaction,
    events: &[outgoing_event::Model],
) -> Result<HashMap<String, Endpoint>, StoreError> {
    let found = endpoint::Entity::find()
        .filter(endpoint::Column::Id.is_in(events.iter().map(|row| row.endpoint_id.clone())))
        .filter(endpoint::Column::DisabledAt.is_null())
        .all(transaction)
        .await?;
    let found = with_secrets(transaction, found).await?;
    Ok(found.into_iter().map(|endpoint| (endpoint.id.to_string(), endpoint)).collect())
}

async fn end_unheard(transaction: &DatabaseTransaction, id: String) -> Result<(), StoreError> {
    let state = Set(EventState::Dropped.to_string());
    let change = outgoing_event::ActiveModel { id: Set(id), state, ..Default::default() };
    outgoing_event::Entity::update(change).exec(transaction).await?;
    Ok(())
}

async fn claimed_from(
    transaction: &DatabaseTransaction,
    row: outgoing_event::Model,
    endpoint: Endpoint,
    now: DateTime<Utc>,
) -> Result<ClaimedEvent, StoreError> {
    let live: Vec<_> =
        endpoint.secrets.iter().filter(|secret| token_is_live(secret.expires_at, now)).cloned().collect();
    let mut values = sealed::of(transaction, live.iter().map(|secret| secret.id.to_string())).await?;
    let secrets = live.into_iter().map(|secret| {
        let value = values.remove(&secret.id.to_string());
        (secret, value)
    });
    Ok(ClaimedEvent {
        secrets: secrets.collect(),
        tries: u32::try_from(row.tries - row.tries_before).unwrap_or(0),
        lease_expires_at: row.lease_expires_at,
        event: event_rows::event(row)?,
        endpoint,
    })
}

/// Says what follows from a try for its endpoint, which is locked.
async fn judge(
    transaction: &DatabaseTransaction,
    row: endpoint::Model,
    outcome: TryOutcome,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if row.disabled_at.is_some() {
        return Ok(());
    }
    let failing_since = match outcome {
        TryOutcome::Gone => return endpoints::disable(transaction, &row.id, DisabledReason::Gone, now).await,
        // That is no fault of the endpoint's.
        TryOutcome::Unsigned => return Ok(()),
        TryOutcome::Delivered => None,
        TryOutcome::Refused
        | TryOutcome::Redirected
        | TryOutcome::AddressRefused
        | TryOutcome::Unreachable
        | TryOutcome::Silent => Some(row.failing_since.unwrap_or(now)),
    };
    if failing_since != row.failing_since {
        let change = endpoint::ActiveModel {
            id: Set(row.id.clone()),
            failing_since: Set(failing_since),
            ..Default::default()
        };
        endpoint::Entity::update(change).exec(transaction).await?;
    }
    if failing_since.is_some_and(|since| is_given_up(since, now)) {
        endpoints::disable(transaction, &row.id, DisabledReason::Failing, now).await?;
    }
    Ok(())
}

async fn insert_delivery(
    transaction: &DatabaseTransaction,
    team: &str,
    tried: &Delivery,
) -> Result<(), StoreError> {
    let row = delivery::Model {
        id: tried.id.to_string(),
        team_id: team.to_owned(),
        endpoint_id: tried.endpoint.to_string(),
        event_id: tried.event.to_string(),
        at: tried.at,
        outcome: tried.tried.outcome.to_string(),
        status: tried.tried.status.map(Into::into),
        took_ms: i64::try_from(tried.tried.took.as_millis()).unwrap_or(i64::MAX),
        error: tried.tried.error.clone(),
        answer: tried.tried.answer.clone(),
    };
    delivery::Entity::insert(delivery::ActiveModel::from(row)).exec_without_returning(transaction).await?;
    Ok(())
}

fn facts_of(deployment: &Deployment, project_name: String) -> DeploymentFacts {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    DeploymentFacts {
        id: deployment.id,
        project: Named { id: deployment.project_id.to_string(), name: project_name },
        hook: deployment.hook.as_ref().map(|(id, name)| Named { id: id.to_string(), name: name.to_string() }),
        branch: deployment.branch.to_string(),
        commit: deployment.commit.clone(),
        commit_message: deployment.commit_message.lines().next().unwrap_or_default().to_owned(),
        state: deployment.state.to_string(),
        reason: reason_of(deployment),
        attempt: deployment.attempt,
        trigger_count: deployment.trigger_count,
        title: deployment.title.clone(),
        created_at: time(deployment.created_at),
        queued_at: deployment.queued_at.map(time),
        building_at: deployment.building_at.map(time),
        finished_at: deployment.finished_at.map(time),
        site_url: None,
        promoted: deployment.promoted,
    }
}

fn reason_of(deployment: &Deployment) -> Option<EventReason> {
    let canceled = deployment.canceled.map(|reason| {
        let (message, superseded_by) = match reason {
            CancelReason::Superseded { by } => ("a newer deployment took its place", Some(by)),
            CancelReason::User => ("somebody asked for it", None),
            CancelReason::DisabledByConfig => ("the repository switches deployments off", None),
            CancelReason::IgnoredByCommand => ("the repository's ignore command said so", None),
            CancelReason::HookRevoked => ("its hook was revoked while it waited", None),
            CancelReason::ProjectDeleted => ("its project was deleted", None),
        };
        EventReason { code: reason.as_str().to_owned(), message: message.to_owned(), superseded_by }
    });
    let failed = deployment.failure.as_ref().map(|failure| EventReason {
        code: failure.code.to_string(),
        message: failure.message.clone(),
        superseded_by: None,
    });
    canceled.or(failed)
}
