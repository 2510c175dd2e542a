//! Triggers: requests for a deployment.

use grapnel_domain::{
    BranchName, Error, Reason,
    hook::Decision,
    id::{HookId, ProjectId, TeamId},
    secret_token::HookToken,
};

use super::App;
use crate::{
    model::Deployment,
    store::{Triggered, projects::ProjectRef},
};

/// How a trigger names its hook.
#[derive(Debug)]
pub enum TriggerTarget {
    /// By id, with a team's key.
    Hook {
        /// The team of the key.
        team: TeamId,
        /// The hook.
        hook: HookId,
    },
    /// By what stands in its URL. A gateway asks for all teams, a team's key for its own.
    Address {
        /// The team of the key; none for a gateway.
        team: Option<TeamId>,
        /// The project.
        project: ProjectId,
        /// The token.
        token: HookToken,
    },
}

impl App {
    /// Stores the deployment that a trigger asks for.
    ///
    /// # Errors
    /// `HOOK_NOT_FOUND`, `HOOK_REVOKED`, `HOOK_PAUSED`, `STORE_UNAVAILABLE`.
    pub async fn trigger_hook(
        &self,
        target: TriggerTarget,
        build_cache: Option<bool>,
    ) -> Result<Deployment, Error> {
        let (id, now) = (self.clock.new_id(), self.clock.now());
        let triggered = match target {
            TriggerTarget::Hook { team, hook } => {
                self.store.trigger_by_id(team, hook, id, build_cache, now).await
            }
            TriggerTarget::Address { team, project, token } => {
                self.store.trigger_by_token(team, project, &token.hash(), id, build_cache, now).await
            }
        };
        match triggered.map_err(|error| error.into_error(Reason::HookNotFound))? {
            Triggered::Accepted(deployment) => {
                tracing::info!(deployment.id = %deployment.id, project.id = %deployment.project_id, "a trigger was accepted");
                Ok(*deployment)
            }
            Triggered::Refused(Decision::Paused) => Err(Error::new(
                Reason::HookPaused,
                "the hook is paused; nothing is deployed until it is resumed",
            )),
            Triggered::Refused(Decision::Revoked | Decision::Accepted) => Err(Error::new(
                Reason::HookRevoked,
                "the hook or its token was revoked; it will not work again",
            )),
            Triggered::Unknown => Err(unknown_hook()),
        }
    }

    /// Stores a deployment of a branch that no hook asked for.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `STORE_UNAVAILABLE`.
    pub async fn trigger_deployment(
        &self,
        team: TeamId,
        project: &ProjectRef,
        branch: Option<BranchName>,
        build_cache: bool,
    ) -> Result<Deployment, Error> {
        let project = self.project(team, project).await?;
        let branch = branch.unwrap_or_else(|| project.production_branch.clone());
        let (id, now) = (self.clock.new_id(), self.clock.now());
        self.store
            .create_deployment(&project, &branch, id, build_cache, now)
            .await
            .map_err(|error| error.into_error(Reason::ProjectNotFound))
    }
}

/// The answer to a project or token that is not known: the same for both, so that nobody learns which projects exist.
pub fn unknown_hook() -> Error {
    Error::new(Reason::HookNotFound, "there is no such hook")
}
