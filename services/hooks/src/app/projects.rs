//! Projects.

use grapnel_domain::{
    BranchName, Error, Reason, RepositoryUrl,
    id::{ProjectId, TeamId},
    name::ProjectName,
    project::BuildSettings,
};

use super::App;
use crate::{
    model::{Deployment, Page, Project},
    store::{
        StoreError,
        projects::{ProjectFilter, ProjectRef},
    },
};

/// A project to be made.
#[derive(Clone, Debug)]
pub struct NewProject {
    /// Its name.
    pub name: ProjectName,
    /// Its repository.
    pub repository: RepositoryUrl,
    /// The branch that its address serves.
    pub production_branch: BranchName,
    /// How it is built.
    pub settings: BuildSettings,
}

/// What is to be changed of a project; the settings as a function of the present ones.
#[derive(Default)]
pub struct ProjectChanges {
    /// Its name.
    pub name: Option<ProjectName>,
    /// Its repository.
    pub repository: Option<RepositoryUrl>,
    /// The branch that its address serves.
    pub production_branch: Option<BranchName>,
    /// How it is built.
    pub settings: Option<Box<dyn FnOnce(BuildSettings) -> BuildSettings + Send>>,
}

impl App {
    /// Makes a project.
    ///
    /// # Errors
    /// `PROJECT_NAME_TAKEN`.
    pub async fn create_project(&self, team: TeamId, new: NewProject) -> Result<Project, Error> {
        let now = self.clock.now();
        let project = Project {
            id: self.clock.new_id(),
            team_id: team,
            name: new.name,
            repository: new.repository,
            production_branch: new.production_branch,
            settings: new.settings,
            created_at: now,
            updated_at: now,
        };
        self.store.create_project(&project).await.map_err(|error| refused(error, &project.name))?;
        tracing::info!(project.id = %project.id, project.name = %project.name, "a project was created");
        Ok(project)
    }

    /// Reads a project.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn project(&self, team: TeamId, wanted: &ProjectRef) -> Result<Project, Error> {
        self.store.project(team, wanted).await.map_err(|error| error.into_error(Reason::ProjectNotFound))
    }

    /// Reads which project is meant where none is all of them.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub(super) async fn one_or_all(
        &self,
        team: TeamId,
        wanted: Option<&ProjectRef>,
    ) -> Result<Option<ProjectId>, Error> {
        match wanted {
            Some(wanted) => Ok(Some(self.project(team, wanted).await?.id)),
            None => Ok(None),
        }
    }

    /// Lists a team's projects, and the newest deployment of each of them that has one, in the same order.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn list_projects(
        &self,
        team: TeamId,
        filter: &ProjectFilter,
        after: Option<ProjectId>,
        limit: u64,
    ) -> Result<(Page<Project>, Vec<Deployment>), Error> {
        let refused = |error: StoreError| error.into_error(Reason::ProjectNotFound);
        let page = self.store.list_projects(team, filter, after, limit).await.map_err(refused)?;
        let ids: Vec<ProjectId> = page.items.iter().map(|project| project.id).collect();
        let mut newest = self.store.newest_deployments(team, &ids).await.map_err(refused)?;
        newest.sort_by_key(|deployment| ids.iter().position(|id| *id == deployment.project_id));
        Ok((page, newest))
    }

    /// Changes a project.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `PROJECT_NAME_TAKEN`.
    pub async fn update_project(
        &self,
        team: TeamId,
        wanted: &ProjectRef,
        changes: ProjectChanges,
    ) -> Result<Project, Error> {
        let mut project = self.project(team, wanted).await?;
        project.name = changes.name.unwrap_or(project.name);
        project.repository = changes.repository.unwrap_or(project.repository);
        project.production_branch = changes.production_branch.unwrap_or(project.production_branch);
        if let Some(change) = changes.settings {
            project.settings = change(project.settings);
        }
        project.updated_at = self.clock.now();
        self.store.update_project(&project).await.map_err(|error| refused(error, &project.name))?;
        Ok(project)
    }

    /// Deletes a project with all it has.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn delete_project(&self, team: TeamId, wanted: &ProjectRef) -> Result<(), Error> {
        let project = self.project(team, wanted).await?;
        self.store
            .delete_project(team, project.id, self.clock.now())
            .await
            .map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        tracing::info!(project.id = %project.id, "a project was deleted");
        if let Err(error) = self.executors.purge(project.id, None).await {
            // What is left is dropped when it has not been used for long.
            tracing::warn!(project.id = %project.id, %error, "the caches of a deleted project cannot be purged now");
        }
        Ok(())
    }
}

fn refused(error: StoreError, name: &ProjectName) -> Error {
    match error {
        StoreError::NameTaken => Error::new(
            Reason::ProjectNameTaken,
            format!("another project is called `{name}`; names are unique in an installation"),
        ),
        other => other.into_error(Reason::ProjectNotFound),
    }
}
