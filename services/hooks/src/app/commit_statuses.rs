//! What is told to git hosts about commits: how a project wants it, and where it goes.

use grapnel_domain::{
    Error, Reason, SecretText,
    commit_status::{ApiBase, GitHost},
    id::{DeploymentId, ProjectId, TeamId},
};

use super::App;
use crate::{
    model::{CommitStatus, Project, Silence, StatusDestination, StatusPlan, TokenFrom},
    sealing::OpenError,
    store::{
        StoreError,
        projects::ProjectRef,
        statuses::{GivenToken, NewStatusSetting, setting_owner},
    },
};

/// The most bytes of a token.
const LONGEST_TOKEN: usize = 4096;

/// How a project wants it from now on. Without a token the one that there is stays.
#[derive(Clone, Debug)]
pub enum StatusChange {
    /// Nothing is told.
    Off,
    /// By the repository's address.
    Automatic {
        /// The token.
        token: Option<SecretText>,
    },
    /// By hand.
    ByHand {
        /// The kind of host.
        host: GitHost,
        /// Where its interface begins.
        api_base: ApiBase,
        /// The token.
        token: Option<SecretText>,
    },
}

/// Why a status goes nowhere.
#[derive(Debug, thiserror::Error)]
pub enum NoDestination {
    /// The project wants nothing told, or lacks something.
    #[error("{0}")]
    Silent(Silence),
    /// The token does not open.
    #[error("the token cannot be opened: {0}")]
    Sealed(#[from] OpenError),
    /// It cannot be found out now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Says what is told of a project, and where.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn commit_statuses(&self, team: TeamId, wanted: &ProjectRef) -> Result<StatusPlan, Error> {
        let project = self.project(team, wanted).await?;
        self.store.status_plan(project.id).await.map_err(|error| error.into_error(Reason::ProjectNotFound))
    }

    /// Changes what is told of a project, and tries again what was given up lately.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, or `INVALID_REQUEST` for a token that is none or is missing.
    pub async fn set_commit_statuses(
        &self,
        team: TeamId,
        wanted: &ProjectRef,
        change: StatusChange,
    ) -> Result<StatusPlan, Error> {
        let project = self.project(team, wanted).await?;
        let new = self.new_setting(&project, &change)?;
        if let NewStatusSetting::ByHand { api_base, token: None, .. } = &new {
            self.keeps_token(project.id, api_base).await?;
        }
        let mut stored = self.store.set_status_setting(project.id, new, self.clock.now()).await;
        if self.has_a_new_key(&stored) {
            let sealed_anew = self.new_setting(&project, &change)?;
            stored = self.store.set_status_setting(project.id, sealed_anew, self.clock.now()).await;
        }
        stored.map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        tracing::info!(project.id = %project.id, "what git hosts are told was changed");
        self.commit_statuses(team, wanted).await
    }

    /// Reads how it stands with what is told of a deployment. The caller has made sure that it may be seen.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn commit_status(&self, id: DeploymentId) -> Result<Option<CommitStatus>, Error> {
        self.store.commit_status(id).await.map_err(|error| error.into_error(Reason::DeploymentNotFound))
    }

    /// Finds where a project's statuses go at this moment, with the token that opens it.
    ///
    /// # Errors
    /// See [`NoDestination`].
    pub async fn status_destination(&self, project: ProjectId) -> Result<StatusDestination, NoDestination> {
        let plan = self.store.status_plan(project).await?;
        if let Some(silence) = plan.silence() {
            return Err(NoDestination::Silent(silence));
        }
        let StatusPlan {
            host: Some((host, api_base)),
            repository: Some(repository),
            sealed: Some(sealed),
            ..
        } = plan
        else {
            return Err(NoDestination::Silent(Silence::NoToken));
        };
        let (owner, sealed) = sealed;
        let token = self.sealer.unseal(&owner, &sealed)?;
        Ok(StatusDestination { host, api_base, repository, token })
    }

    /// Returns the address of the page that shows a deployment to whoever comes from its commit.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn status_page(&self, id: DeploymentId) -> Result<String, Error> {
        let token = self.status_token(id).await?;
        Ok(format!("{}/v1/status/{id}/{token}", self.addresses.public_url))
    }

    fn new_setting(&self, project: &Project, change: &StatusChange) -> Result<NewStatusSetting, Error> {
        Ok(match change {
            StatusChange::Off => NewStatusSetting::Off,
            StatusChange::Automatic { token: None } => NewStatusSetting::Automatic { token: None },
            StatusChange::Automatic { token: Some(token) } => {
                let Some((_, base)) = GitHost::of(&project.repository) else {
                    return Err(Error::invalid_field(
                        "token",
                        format!("goes nowhere: {}", Silence::UnknownHost),
                    ));
                };
                NewStatusSetting::Automatic { token: Some(self.sealed_token(project.id, token, base)?) }
            }
            StatusChange::ByHand { host, api_base, token } => {
                let token = match token {
                    Some(token) => Some(self.sealed_token(project.id, token, api_base.clone())?),
                    None => None,
                };
                NewStatusSetting::ByHand { host: *host, api_base: api_base.clone(), token }
            }
        })
    }

    fn sealed_token(
        &self,
        project: ProjectId,
        token: &SecretText,
        base: ApiBase,
    ) -> Result<GivenToken, Error> {
        let text = token.expose();
        if text.is_empty() || text.len() > LONGEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            let rule = format!("must have 1 to {LONGEST_TOKEN} printable characters and no white space");
            return Err(Error::invalid_field("token", rule));
        }
        Ok(GivenToken {
            sealed: self.sealer.seal(&setting_owner(project), token),
            // Of a short one that would be too much.
            last_four: if text.len() >= 16 { text[text.len() - 4..].to_owned() } else { String::new() },
            base,
        })
    }

    /// Makes sure that there is a token that was given for this interface: one that was given for another must never
    /// reach it.
    async fn keeps_token(&self, project: ProjectId, base: &ApiBase) -> Result<(), Error> {
        let plan = self.store.status_plan(project).await;
        let plan = plan.map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        let same = plan.host.as_ref().is_some_and(|(_, known)| known == base);
        if same && matches!(plan.token, Some(TokenFrom::Given { .. })) {
            return Ok(());
        }
        Err(Error::invalid_field("token", "must be given: none was given for this address yet"))
    }
}
