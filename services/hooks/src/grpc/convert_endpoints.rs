//! From records of endpoints and events to messages.

use grapnel_proto::{
    convert::{
        endpoint::{disabled_reason_to_wire, event_state_to_wire, outcome_to_wire},
        time::timestamp,
    },
    hooks::v1 as wire,
};

use crate::model::{Delivery, Endpoint, OutgoingEvent};

pub fn endpoint(endpoint: &Endpoint) -> wire::Endpoint {
    let secrets = endpoint.secrets.iter().map(|secret| wire::EndpointSecret {
        id: secret.id.to_string(),
        last_four: secret.last_four.clone(),
        created_at: Some(timestamp(secret.created_at)),
        expires_at: secret.expires_at.map(timestamp),
    });
    let reason = endpoint.disabled.map(|(_, reason)| disabled_reason_to_wire(reason).into());
    wire::Endpoint {
        id: endpoint.id.to_string(),
        project_id: endpoint.project_id.map(|id| id.to_string()).unwrap_or_default(),
        url: endpoint.url.to_string(),
        types: endpoint.types.iter().map(ToString::to_string).collect(),
        description: endpoint.description.clone(),
        disabled_at: endpoint.disabled.map(|(at, _)| timestamp(at)),
        disabled_reason: reason.unwrap_or_default(),
        failing_since: endpoint.failing_since.map(timestamp),
        secrets: secrets.collect(),
        created_at: Some(timestamp(endpoint.created_at)),
        updated_at: Some(timestamp(endpoint.updated_at)),
    }
}

pub fn event(event: OutgoingEvent) -> wire::Event {
    wire::Event {
        id: event.id.to_string(),
        endpoint_id: event.endpoint.to_string(),
        deployment_id: event.deployment.map(|id| id.to_string()).unwrap_or_default(),
        r#type: event.kind.to_string(),
        state: event_state_to_wire(event.state).into(),
        tries: event.tries,
        next_try_at: event.next_try_at.map(timestamp),
        body: event.body,
        created_at: Some(timestamp(event.created_at)),
    }
}

pub fn delivery(delivery: Delivery) -> wire::Delivery {
    let tried = delivery.tried;
    wire::Delivery {
        id: delivery.id.to_string(),
        endpoint_id: delivery.endpoint.to_string(),
        event_id: delivery.event.to_string(),
        at: Some(timestamp(delivery.at)),
        outcome: outcome_to_wire(tried.outcome).into(),
        status: tried.status.map(u32::from).unwrap_or_default(),
        took_ms: u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX),
        error: tried.error,
        answer: tried.answer,
    }
}
