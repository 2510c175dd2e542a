//! Build caches, wherever they are.

use grapnel_domain::{BranchName, Error, id::TeamId};

use super::App;
use crate::{
    model::{BuildCache, PurgedCaches},
    store::projects::ProjectRef,
};

impl App {
    /// Lists the build caches of a project.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `EXECUTOR_UNAVAILABLE`.
    pub async fn list_caches(&self, team: TeamId, project: &ProjectRef) -> Result<Vec<BuildCache>, Error> {
        let project = self.project(team, project).await?;
        self.executors.caches(project.id).await
    }

    /// Drops the build caches of a project, or of one of its branches.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `EXECUTOR_UNAVAILABLE`.
    pub async fn purge_cache(
        &self,
        team: TeamId,
        project: &ProjectRef,
        branch: Option<&BranchName>,
    ) -> Result<Vec<PurgedCaches>, Error> {
        let project = self.project(team, project).await?;
        let purged = self.executors.purge(project.id, branch).await?;
        tracing::info!(project.id = %project.id, branch = branch.map(tracing::field::display), "build caches were purged");
        Ok(purged)
    }
}
