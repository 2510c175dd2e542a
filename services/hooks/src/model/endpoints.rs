//! Endpoints, the events that go to them, and the tries to bring them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    endpoint::{DisabledReason, EndpointUrl, EventState, EventType, TryOutcome},
    id::{DeliveryId, DeploymentId, EndpointId, EndpointSecretId, EventId, ProjectId, TeamId},
};
use serde::{Deserialize, Serialize};

/// An address that hears of deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The team it belongs to.
    pub team_id: TeamId,
    /// The project whose deployments it hears of; none is all of the team's.
    pub project_id: Option<ProjectId>,
    /// Where it listens.
    pub url: EndpointUrl,
    /// What it wants to hear; empty is everything.
    pub types: Vec<EventType>,
    /// What it is for.
    pub description: String,
    /// Since when and why it hears nothing.
    pub disabled: Option<(DateTime<Utc>, DisabledReason)>,
    /// Since when every try has failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// Its secrets, the newest first; those that have expired among them.
    pub secrets: Vec<SecretOf>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// One of an endpoint's secrets, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretOf {
    /// Its id.
    pub id: EndpointSecretId,
    /// Its last four characters.
    pub last_four: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops signing.
    pub expires_at: Option<DateTime<Utc>>,
}

/// One event for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingEvent {
    /// Its id, which the endpoint sees as `webhook-id`.
    pub id: EventId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The deployment that it tells of; none for a test.
    pub deployment: Option<DeploymentId>,
    /// What it tells.
    pub kind: EventType,
    /// Where it stands.
    pub state: EventState,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next, where it waits.
    pub next_try_at: Option<DateTime<Utc>>,
    /// What is sent; empty before the first try.
    pub body: String,
    /// When it happened.
    pub created_at: DateTime<Utc>,
}

/// One try at an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The event.
    pub event: EventId,
    /// When it began.
    pub at: DateTime<Utc>,
    /// What came of it.
    pub tried: Tried,
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// In a word.
    pub outcome: TryOutcome,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// What went wrong, in words; empty where nothing did.
    pub error: String,
    /// The beginning of the answer's body.
    pub answer: String,
}

/// What an event says, as it was when it happened: the `data` of its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventFacts {
    /// Of a deployment.
    Deployment(Box<DeploymentFacts>),
    /// Of an endpoint that is tested.
    Endpoint {
        /// The endpoint.
        id: EndpointId,
    },
}

/// What an event says of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the body, which docs/events.md explains")]
pub struct DeploymentFacts {
    pub id: DeploymentId,
    pub project: Named,
    pub hook: Option<Named>,
    pub branch: String,
    pub commit: Option<String>,
    pub commit_message: String,
    pub state: String,
    pub reason: Option<EventReason>,
    pub attempt: u32,
    pub trigger_count: u32,
    pub title: String,
    pub created_at: String,
    pub queued_at: Option<String>,
    pub building_at: Option<String>,
    pub finished_at: Option<String>,
    /// Written when the event is sent first: the store does not know how addresses look.
    pub site_url: Option<String>,
    pub promoted: bool,
}

/// A thing by id and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "both say it")]
pub struct Named {
    pub id: String,
    pub name: String,
}

/// Why a deployment failed or was canceled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the body, which docs/events.md explains")]
pub struct EventReason {
    pub code: String,
    pub message: String,
    pub superseded_by: Option<DeploymentId>,
}
