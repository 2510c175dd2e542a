//! Addresses: what serves a deployment, and letting one serve another.

use axum::Json;
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{Address, ListAddressesRequest, PromoteDeploymentRequest};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::{Conflicts, Refused},
    asked::Named,
    caller::Caller,
    deployment,
    paging::milliseconds,
    project,
    project::{AliasRequestKind, JobStatus, LastAliasRequest},
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// Some of a project's addresses: the production branch's first, then those that changed last.
pub struct Addresses(Vec<Address>);

impl Addresses {
    /// Reads the first two: that of the production branch, and that of the other branches that changed last.
    ///
    /// # Errors
    /// What the hooks service answers.
    pub async fn first_of(caller: &Caller, project: &str) -> Result<Self, Error> {
        let request =
            ListAddressesRequest { project: project.to_owned(), page_size: 2, ..Default::default() };
        answered(caller.calls.addresses().list_addresses(request)).await.map(|page| Self(page.addresses))
    }

    /// Returns the address of a branch.
    pub fn of_branch(&self, branch: &str) -> Option<&Address> {
        self.0.iter().find(|address| address.branch == branch)
    }

    /// Says what was done last with one of them.
    pub fn last_request(&self) -> Option<LastAliasRequest> {
        let changed = |address: &&Address| milliseconds(address.updated_at.as_ref());
        let last = self.0.iter().max_by_key(changed)?;
        Some(LastAliasRequest {
            job_status: JobStatus::Succeeded,
            requested_at: milliseconds(last.updated_at.as_ref())?,
            to_deployment_id: last.deployment_id.clone(),
            kind: if last.held { AliasRequestKind::Rollback } else { AliasRequestKind::Promote },
        })
    }
}

/// Returns the hosts that serve a deployment, the project's own first.
///
/// # Errors
/// What the hooks service answers.
pub async fn hosts_of(caller: &Caller, project: &str, branch: &str, id: &str) -> Result<Vec<String>, Error> {
    let request = ListAddressesRequest {
        project: project.to_owned(),
        branch: branch.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let page = answered(caller.calls.addresses().list_addresses(request)).await?;
    let serving = page.addresses.iter().filter(|address| address.deployment_id == id);
    let urls = serving.flat_map(|address| [address.project_url.as_str(), address.url.as_str()]);
    Ok(urls.filter_map(host_of).collect())
}

/// Finds what a host serves by its first label: a project's name, with `--` and a branch's label where it is a branch's.
///
/// # Errors
/// `DEPLOYMENT_NOT_FOUND`, and what the hooks service answers.
pub async fn served_at(caller: &Caller, label: &str) -> Result<String, Error> {
    let nothing = || Error::new(Reason::DeploymentNotFound, "nothing of the team is served at that host");
    let project = label.split("--").next().filter(|project| !project.is_empty()).ok_or_else(nothing)?;
    let mut request =
        ListAddressesRequest { project: project.to_owned(), page_size: 200, ..Default::default() };
    loop {
        let page = match answered(caller.calls.addresses().list_addresses(request.clone())).await {
            Err(error) if error.reason == Reason::ProjectNotFound => return Err(nothing()),
            answer => answer?,
        };
        if let Some(address) = page.addresses.iter().find(|address| is_at(address, label)) {
            return Ok(address.deployment_id.clone());
        }
        if page.next_page_token.is_empty() {
            return Err(nothing());
        }
        request.page_token = page.next_page_token;
    }
}

fn is_at(address: &Address, label: &str) -> bool {
    let hosts = [&address.project_url, &address.url].into_iter().filter_map(|url| host_of(url));
    hosts.into_iter().any(|host| host.split('.').next() == Some(label))
}

/// Returns the host of an address, with its port.
pub fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    (!host.is_empty()).then(|| host.to_owned())
}

/// The addresses that serve a deployment.
#[derive(Serialize, ToSchema)]
pub struct AliasesAnswer {
    aliases: Vec<Alias>,
}

/// An address that serves a deployment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The host, which is the address's only name.
    uid: String,
    /// The host.
    alias: String,
    /// The deployment's id.
    deployment_id: String,
}

/// Lists the addresses that serve a deployment now.
#[utoipa::path(
    get,
    path = "/v2/deployments/{deployment}/aliases",
    tag = "addresses",
    operation_id = "listDeploymentAliases",
    params(("deployment" = String, Path, description = "The deployment's id, or a host that serves it.")),
    responses((status = 200, description = "The addresses.", body = AliasesAnswer), Refused),
    security(("key" = []))
)]
pub async fn of_deployment(
    caller: Caller,
    Named(deployment): Named<String>,
) -> Result<Json<AliasesAnswer>, HttpError> {
    let found = deployment::find(&caller, &deployment).await?;
    let hosts = hosts_of(&caller, &found.project_id, &found.branch, &found.id).await?;
    let aliases = hosts.into_iter().map(|host| Alias {
        uid: host.clone(),
        alias: host,
        deployment_id: found.id.clone(),
    });
    Ok(Json(AliasesAnswer { aliases: aliases.collect() }))
}

/// An empty object: it is done.
#[derive(Serialize, ToSchema)]
pub struct Done {}

/// Lets the address of a deployment's branch serve it from now on.
#[utoipa::path(
    post,
    path = "/v10/projects/{project}/promote/{deployment}",
    tag = "addresses",
    operation_id = "promoteDeployment",
    params(
        ("project" = String, Path, description = "The project's id or name."),
        ("deployment" = String, Path, description = "The deployment's id."),
    ),
    responses((status = 201, description = "The address serves it.", body = Done), Refused, Conflicts),
    security(("key" = []))
)]
pub async fn promote(
    caller: Caller,
    Named((project, deployment)): Named<(String, String)>,
) -> Result<(StatusCode, Json<Done>), HttpError> {
    serve(&caller, &project, deployment).await
}

/// Lets the address of a deployment's branch go back to it, and stay there while newer ones get ready.
#[utoipa::path(
    post,
    path = "/v9/projects/{project}/rollback/{deployment}",
    tag = "addresses",
    operation_id = "rollbackDeployment",
    params(
        ("project" = String, Path, description = "The project's id or name."),
        ("deployment" = String, Path, description = "The deployment's id."),
    ),
    responses((status = 201, description = "The address serves it.", body = Done), Refused, Conflicts),
    security(("key" = []))
)]
pub async fn rollback(
    caller: Caller,
    Named((project, deployment)): Named<(String, String)>,
) -> Result<(StatusCode, Json<Done>), HttpError> {
    serve(&caller, &project, deployment).await
}

async fn serve(
    caller: &Caller,
    project: &str,
    deployment: String,
) -> Result<(StatusCode, Json<Done>), HttpError> {
    let project = project::read(caller, project).await?;
    if deployment::read(caller, &deployment).await?.project_id != project.id {
        return Err(Error::new(Reason::DeploymentNotFound, "the project has no such deployment").into());
    }
    let request = PromoteDeploymentRequest { deployment_id: deployment };
    answered(caller.calls.addresses().promote_deployment(request)).await?;
    Ok((StatusCode::CREATED, Json(Done {})))
}
