//! Deployments: read, listed, ended, deleted.

use grapnel_domain::{
    Error, Reason,
    deployment::CancelReason,
    id::{DeploymentId, TeamId},
};

use super::App;
use crate::{
    model::{Deployment, Page},
    store::{deployments::DeploymentFilter, projects::ProjectRef},
};

impl App {
    /// Reads a deployment.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND`.
    pub async fn deployment(&self, team: TeamId, id: DeploymentId) -> Result<Deployment, Error> {
        self.store.deployment(team, id).await.map_err(|error| error.into_error(Reason::DeploymentNotFound))
    }

    /// Lists the deployments of a project, or of all that a team has.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_deployments(
        &self,
        team: TeamId,
        project: impl Into<Option<&ProjectRef>>,
        filter: DeploymentFilter,
        after: Option<DeploymentId>,
        limit: u64,
    ) -> Result<Page<Deployment>, Error> {
        let project = self.one_or_all(team, project.into()).await?;
        self.store
            .list_deployments(team, project, &filter, after, limit)
            .await
            .map_err(|error| error.into_error(Reason::ProjectNotFound))
    }

    /// Ends a deployment: at once where it waits, else when its sandbox is gone. Asking for one that has ended changes
    /// nothing.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND`.
    pub async fn cancel_deployment(&self, team: TeamId, id: DeploymentId) -> Result<Deployment, Error> {
        let result = self.store.cancel_deployment(team, id, CancelReason::User, self.clock.now()).await;
        let result = result.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
        tracing::info!(deployment.id = %id, ?result, "a deployment was asked to end");
        self.deployment(team, id).await
    }

    /// Deletes a deployment, with its log and its artifact; one that goes on ends first. Asking for one that was deleted changes
    /// nothing.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND`, `DEPLOYMENT_SERVED`.
    pub async fn delete_deployment(&self, team: TeamId, id: DeploymentId) -> Result<(), Error> {
        let deleted = self.store.delete_deployment(team, id, self.clock.now()).await;
        deleted.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
        tracing::info!(deployment.id = %id, "a deployment was deleted");
        Ok(())
    }
}
