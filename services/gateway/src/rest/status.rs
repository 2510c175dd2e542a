//! States and targets of deployments, in the words that callers know.

use grapnel_proto::hooks::v1::DeploymentState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It waits, whether its commit is known or not.
    Queued,
    /// An executor runs its steps.
    Building,
    /// It is built and can be looked at.
    Ready,
    /// It failed.
    Error,
    /// It was ended.
    Canceled,
}

impl From<DeploymentState> for State {
    fn from(state: DeploymentState) -> Self {
        match state {
            DeploymentState::Unspecified | DeploymentState::Pending | DeploymentState::Queued => Self::Queued,
            DeploymentState::Building => Self::Building,
            DeploymentState::Ready => Self::Ready,
            DeploymentState::Error => Self::Error,
            DeploymentState::Canceled => Self::Canceled,
        }
    }
}

impl State {
    /// Reads a state; that which nothing here is ever in is read as well.
    pub fn read(text: &str) -> Option<Option<Self>> {
        Some(match text {
            "QUEUED" => Some(Self::Queued),
            "BUILDING" => Some(Self::Building),
            "READY" => Some(Self::Ready),
            "ERROR" => Some(Self::Error),
            "CANCELED" => Some(Self::Canceled),
            "INITIALIZING" => None,
            _ => return None,
        })
    }
}

/// What a deployment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The project's production branch.
    Production,
    /// Any other branch. Answers say null for it.
    Preview,
    /// Nothing here is for it.
    Staging,
}
