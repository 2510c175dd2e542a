//! The calls of `grapnel.hooks.v1.RepositoryService`.

use grapnel_domain::{Error, RepositoryUrl, scope::Scope};
use grapnel_proto::{
    convert::{Violations, checked},
    hooks::v1::{repository_service_server::RepositoryService, *},
};
use tonic::Request;

use super::{Answer, auth::Auth, convert::project_ref};
use crate::{
    app::{App, Inspected},
    model::RepositoryBranches,
};

/// The handlers.
pub struct RepositoryHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl RepositoryService for RepositoryHandlers {
    async fn inspect_repository(
        &self,
        request: Request<InspectRepositoryRequest>,
    ) -> Answer<InspectRepositoryResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let inspected = inspected(&request.into_inner())?;
            let found = self.app.inspect_repository(team, inspected).await?;
            Ok(branches(found))
        })
    }
}

fn inspected(request: &InspectRepositoryRequest) -> Result<Inspected, Error> {
    match (request.project.as_str(), request.repository_url.as_str()) {
        ("", "") => Err(Error::invalid_field("repository_url", "must be an address, or `project` be given")),
        (project, "") => Ok(Inspected::Project(project_ref(project)?)),
        ("", url) => {
            let mut violations = Violations::default();
            let url = violations.check("repository_url", RepositoryUrl::parse(url));
            violations.finish()?;
            Ok(Inspected::Url(checked(url)?))
        }
        (_, _) => Err(Error::invalid_field(
            "repository_url",
            "must be empty where `project` is given: it has its own",
        )),
    }
}

fn branches(found: RepositoryBranches) -> InspectRepositoryResponse {
    let branches = found.branches.into_iter();
    InspectRepositoryResponse {
        default_branch: found.default_branch.map(|name| name.to_string()).unwrap_or_default(),
        branches: branches.map(|it| Branch { name: it.name.to_string(), commit: it.commit }).collect(),
        truncated: found.truncated,
    }
}
