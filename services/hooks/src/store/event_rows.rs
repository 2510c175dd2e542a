//! From rows of endpoints and events to records.

use std::time::Duration;

use grapnel_domain::endpoint::EventState;

use super::{
    StoreError,
    entity::{delivery, endpoint, endpoint_secret, outgoing_event},
    rows::{number, parse},
};
use crate::model::{Delivery, Endpoint, OutgoingEvent, SecretOf, Tried};

pub fn endpoint(row: endpoint::Model, secrets: Vec<SecretOf>) -> Result<Endpoint, StoreError> {
    const TABLE: &str = "endpoint";
    let disabled = match (row.disabled_at, &row.disabled_reason) {
        (Some(at), Some(reason)) => Some((at, parse(TABLE, reason)?)),
        _ => None,
    };
    let types = row.types.split(',').filter(|kind| !kind.is_empty());
    Ok(Endpoint {
        id: parse(TABLE, &row.id)?,
        team_id: parse(TABLE, &row.team_id)?,
        project_id: row.project_id.as_deref().map(|id| parse(TABLE, id)).transpose()?,
        url: parse(TABLE, &row.url)?,
        types: types.map(|kind| parse(TABLE, kind)).collect::<Result<_, _>>()?,
        description: row.description,
        disabled,
        failing_since: row.failing_since,
        secrets,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub fn secret(row: endpoint_secret::Model) -> Result<SecretOf, StoreError> {
    Ok(SecretOf {
        id: parse("endpoint_secret", &row.id)?,
        last_four: row.last_four,
        created_at: row.created_at,
        expires_at: row.expires_at,
    })
}

pub fn event(row: outgoing_event::Model) -> Result<OutgoingEvent, StoreError> {
    const TABLE: &str = "outgoing_event";
    let state: EventState = parse(TABLE, &row.state)?;
    Ok(OutgoingEvent {
        id: parse(TABLE, &row.id)?,
        endpoint: parse(TABLE, &row.endpoint_id)?,
        deployment: row.deployment_id.as_deref().map(|id| parse(TABLE, id)).transpose()?,
        kind: parse(TABLE, &row.kind)?,
        state,
        tries: number(TABLE, row.tries.into())?,
        next_try_at: (state == EventState::Waiting).then_some(row.next_try_at),
        body: row.body.unwrap_or_default(),
        created_at: row.created_at,
    })
}

pub fn delivery(row: delivery::Model) -> Result<Delivery, StoreError> {
    const TABLE: &str = "delivery";
    Ok(Delivery {
        id: parse(TABLE, &row.id)?,
        endpoint: parse(TABLE, &row.endpoint_id)?,
        event: parse(TABLE, &row.event_id)?,
        at: row.at,
        tried: Tried {
            outcome: parse(TABLE, &row.outcome)?,
            status: row.status.map(|status| number(TABLE, status.into())).transpose()?,
            took: Duration::from_millis(number(TABLE, row.took_ms)?),
            error: row.error,
            answer: row.answer,
        },
    })
}
