//! The body of an event.

use chrono::{DateTime, SecondsFormat, Utc};
use grapnel_domain::{deployment::State, endpoint::EventType, id::DeploymentId};
use serde::Serialize;

use crate::model::EventFacts;

/// The form that Standard Webhooks 1.0.0 recommends ("Payload structure").
#[derive(Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: EventFacts,
}

/// Writes the body of an event that happened at `at`. `site` tells the address of a deployment that has an artifact.
pub fn body(
    kind: EventType,
    at: DateTime<Utc>,
    mut facts: EventFacts,
    site: &dyn Fn(DeploymentId) -> String,
) -> String {
    if let EventFacts::Deployment(deployment) = &mut facts
        && deployment.state == State::Ready.as_str()
    {
        deployment.site_url = Some(site(deployment.id));
    }
    let timestamp = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let body = Body { kind: kind.as_str(), timestamp, data: facts };
    serde_json::to_string(&body).unwrap_or_else(|error| unreachable!("every field has JSON: {error}"))
}
