//! Deployments: read, watched, ended, deleted.

use futures_util::{Stream, stream};
use grapnel_domain::{
    Error, Reason,
    deployment::CancelReason,
    event::DeploymentEvent,
    id::{DeploymentId, TeamId},
};

use super::App;
use crate::{
    model::{Deployment, Page, StoredEvent},
    store::{Store, deployments::DeploymentFilter, projects::ProjectRef},
};

/// How many events are read at once. Together with the size of a batch of log lines it bounds what a watcher holds.
const READ_AT_ONCE: u64 = 100;

impl App {
    /// Reads a deployment.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND`.
    pub async fn deployment(&self, team: TeamId, id: DeploymentId) -> Result<Deployment, Error> {
        self.store.deployment(team, id).await.map_err(|error| error.into_error(Reason::DeploymentNotFound))
    }

    /// Lists a project's deployments.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_deployments(
        &self,
        team: TeamId,
        project: &ProjectRef,
        filter: DeploymentFilter,
        after: Option<DeploymentId>,
        limit: u64,
    ) -> Result<Page<Deployment>, Error> {
        let project = self.project(team, project).await?;
        self.store
            .list_deployments(team, project.id, filter, after, limit)
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

    /// Streams a deployment's history after `position` and then what happens to it, and ends after its final state.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND` at once; `STORE_UNAVAILABLE` at any time.
    pub async fn watch_deployment(
        &self,
        team: TeamId,
        id: DeploymentId,
        position: u64,
    ) -> Result<impl Stream<Item = Result<StoredEvent, Error>> + Send + use<>, Error> {
        // Registered before the first reading, so that nothing falls between history and what follows.
        let bell = self.store.wakeups.watch(id);
        self.deployment(team, id).await?;
        let watch = Watch {
            store: self.store.clone(),
            bell,
            id,
            position,
            read: Vec::new().into_iter(),
            over: false,
        };
        Ok(stream::try_unfold(watch, Watch::next))
    }
}

/// One watcher of a deployment.
struct Watch {
    store: Store,
    bell: tokio::sync::watch::Receiver<()>,
    id: DeploymentId,
    position: u64,
    read: std::vec::IntoIter<StoredEvent>,
    over: bool,
}

impl Watch {
    async fn next(mut self) -> Result<Option<(StoredEvent, Self)>, Error> {
        loop {
            if let Some(event) = self.read.next() {
                self.position = event.position;
                self.over = is_last(&event);
                return Ok(Some((event, self)));
            }
            if self.over {
                return Ok(None);
            }
            self.bell.mark_unchanged();
            // Asked before reading: what has ended then has nothing more to come after what is read.
            let ended = self.store.is_final(self.id).await;
            let ended = ended.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
            let read = self.store.events_after(self.id, self.position, READ_AT_ONCE).await;
            let read = read.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
            if read.is_empty() && ended {
                return Ok(None);
            }
            if read.is_empty() {
                // Rung by this process; another one's changes are found by looking again.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.bell.changed()).await;
            }
            self.read = read.into_iter();
        }
    }
}

/// How long a watcher relies on being rung.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

fn is_last(event: &StoredEvent) -> bool {
    matches!(&event.event, DeploymentEvent::State(change) if change.state.is_final())
}
