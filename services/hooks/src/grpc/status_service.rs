//! The calls of `grapnel.hooks.v1.StatusService`.

use grapnel_domain::{Error, SecretText, scope::Scope};
use grapnel_proto::{
    convert::{Violations, checked, status::git_host_from_wire},
    hooks::v1::{status_service_server::StatusService, *},
};
use tonic::Request;

use super::{
    Answer,
    auth::Auth,
    convert::{self, project_ref},
};
use crate::app::{App, StatusChange};

/// The handlers.
pub struct StatusHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl StatusService for StatusHandlers {
    async fn set_commit_statuses(
        &self,
        request: Request<SetCommitStatusesRequest>,
    ) -> Answer<SetCommitStatusesResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let request = request.into_inner();
            let project = project_ref(&request.project)?;
            let plan = self.app.set_commit_statuses(team, &project, change(request)?).await?;
            Ok(SetCommitStatusesResponse { commit_statuses: Some(convert::commit_statuses(&plan)) })
        })
    }

    async fn get_commit_statuses(
        &self,
        request: Request<GetCommitStatusesRequest>,
    ) -> Answer<GetCommitStatusesResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let project = project_ref(&request.into_inner().project)?;
            let plan = self.app.commit_statuses(team, &project).await?;
            Ok(GetCommitStatusesResponse { commit_statuses: Some(convert::commit_statuses(&plan)) })
        })
    }
}

fn change(request: SetCommitStatusesRequest) -> Result<StatusChange, Error> {
    let mode = request.mode();
    let SetCommitStatusesRequest { host, api_base, token, .. } = request;
    let mut violations = Violations::default();
    let unnamed = host == 0;
    let host = violations.check("host", git_host_from_wire(host)).flatten();
    let token = (!token.is_empty()).then(|| SecretText::new(token));
    if mode != CommitStatusMode::ByHand {
        for (field, given) in [("host", host.is_some()), ("api_base", !api_base.is_empty())] {
            if given {
                violations.add(field, "goes only with the mode BY_HAND");
            }
        }
    }
    match mode {
        CommitStatusMode::Unspecified => {
            violations.add("mode", "must be OFF, AUTOMATIC or BY_HAND");
            violations.finish()?;
            Err(Error::internal("an unnamed mode passed"))
        }
        CommitStatusMode::Off => {
            if token.is_some() {
                violations.add("token", "goes only with the modes AUTOMATIC and BY_HAND");
            }
            violations.finish()?;
            Ok(StatusChange::Off)
        }
        CommitStatusMode::Automatic => {
            violations.finish()?;
            Ok(StatusChange::Automatic { token })
        }
        CommitStatusMode::ByHand => {
            if unnamed {
                violations.add("host", "must be named with the mode BY_HAND");
            }
            let api_base = violations.check("api_base", api_base.parse());
            violations.finish()?;
            Ok(StatusChange::ByHand { host: checked(host)?, api_base: checked(api_base)?, token })
        }
    }
}
