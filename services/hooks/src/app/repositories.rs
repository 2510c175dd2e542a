//! Repositories, looked into before anything is built of them.

use grapnel_domain::{Error, Reason, RepositoryUrl, failure::Failure, id::TeamId};

use super::App;
use crate::{inputs::InputError, model::RepositoryBranches, store::projects::ProjectRef};

/// Which repository is looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// A project's, with its credentials.
    Project(ProjectRef),
    /// The one at an address, with the team's.
    Url(RepositoryUrl),
}

impl App {
    /// Asks a repository for its branches, as a deployment would ask.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `REPOSITORY_UNREADABLE`, `EXECUTOR_UNAVAILABLE`.
    pub async fn inspect_repository(
        &self,
        team: TeamId,
        inspected: Inspected,
    ) -> Result<RepositoryBranches, Error> {
        let (repository, access) = match inspected {
            Inspected::Project(project) => {
                let project = self.project(team, &project).await?;
                (project.repository, self.inputs().access(team, project.id).await)
            }
            Inspected::Url(repository) => (repository, self.inputs().access_of_team(team).await),
        };
        let access = access.map_err(unopened)?;
        self.executors.branches(&repository, &access).await?.map_err(unreadable)
    }
}

fn unopened(error: InputError) -> Error {
    match (error.failure(), error) {
        (Some(failure), _) => unreadable(failure),
        (None, InputError::Store(error)) => error.into_error(Reason::ProjectNotFound),
        (None, error) => Error::internal(error),
    }
}

fn unreadable(failure: Failure) -> Error {
    Error::new(Reason::RepositoryUnreadable, failure.message).with_fact("failure", failure.code)
}
