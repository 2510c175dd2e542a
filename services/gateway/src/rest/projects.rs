//! Projects: listed, read, added, removed.

use axum::Json;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use grapnel_proto::hooks::v1::{self as wire, DeleteProjectRequest, ListProjectsRequest};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    addresses::Addresses,
    answer::{Conflicts, Refused},
    asked::{Asked, Named},
    caller::Caller,
    paging::{Pagination, Window, page},
    project::{self, Project},
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// How many projects are made whole at once.
const AT_ONCE: usize = 8;

/// Which projects are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only those whose names contain this.
    #[param(max_length = 100, pattern = "^[^\\x00]*$")]
    search: Option<String>,
    /// Only those of this repository, by its address.
    repo_url: Option<String>,
}

/// A page of projects.
#[derive(Serialize, ToSchema)]
pub struct ProjectsAnswer {
    /// Newest first.
    projects: Vec<Project>,
    pagination: Pagination,
}

/// Lists the team's projects, newest first.
#[utoipa::path(
    get,
    path = "/v9/projects",
    tag = "projects",
    operation_id = "getProjects",
    params(Window, Which),
    responses((status = 200, description = "A page of projects.", body = ProjectsAnswer), Refused),
    security(("key" = []))
)]
pub async fn list(
    caller: Caller,
    Asked(window): Asked<Window>,
    Asked(which): Asked<Which>,
) -> Result<Json<ProjectsAnswer>, HttpError> {
    let window = window.checked()?;
    let give = |page_size, page_token| {
        let request = ListProjectsRequest {
            page_size,
            page_token,
            search: which.search.clone().unwrap_or_default(),
            until: window.until(),
        };
        let calls = &caller.calls;
        async move {
            let page = answered(calls.hooks().list_projects(request)).await?;
            Ok((page.projects, page.next_page_token))
        }
    };
    let wanted = |project: &wire::Project| {
        which.repo_url.as_ref().is_none_or(|url| same_repository(url, &project.repository_url))
    };
    let (found, pagination) = page(&window, which.repo_url.is_none(), give, wanted).await?;
    let whole = stream::iter(found).map(|found| project::whole(&caller, found)).buffered(AT_ONCE);
    Ok(Json(ProjectsAnswer { projects: whole.try_collect().await?, pagination }))
}

/// Whether two addresses are one repository's, however each is written.
fn same_repository(one: &str, other: &str) -> bool {
    let bare = |address: &str| {
        let address = address.split_once("://").map_or(address, |(_, rest)| rest).trim_end_matches('/');
        address.strip_suffix(".git").unwrap_or(address).to_ascii_lowercase()
    };
    bare(one) == bare(other)
}

/// What of a project is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Parts {
    /// Whether to say what was done last with an address of it.
    #[serde(default)]
    rollback_info: bool,
}

/// Reads a project by its id or name.
#[utoipa::path(
    get,
    path = "/v9/projects/{project}",
    tag = "projects",
    operation_id = "getProject",
    params(("project" = String, Path, description = "The project's id or name."), Parts),
    responses((status = 200, description = "The project.", body = Project), Refused),
    security(("key" = []))
)]
pub async fn get(
    caller: Caller,
    Named(named): Named<String>,
    Asked(parts): Asked<Parts>,
) -> Result<Json<Project>, HttpError> {
    let mut whole = project::whole(&caller, project::read(&caller, &named).await?).await?;
    if parts.rollback_info {
        whole.last_alias_request = Addresses::first_of(&caller, &whole.id).await?.last_request();
    }
    Ok(Json(whole))
}

/// Removes a project with its hooks and its deployments.
#[utoipa::path(
    delete,
    path = "/v9/projects/{project}",
    tag = "projects",
    operation_id = "deleteProject",
    params(("project" = String, Path, description = "The project's id or name.")),
    responses((status = 204, description = "It is removed."), Refused, Conflicts),
    security(("key" = []))
)]
pub async fn remove(caller: Caller, Named(project): Named<String>) -> Result<StatusCode, HttpError> {
    answered(caller.calls.hooks().delete_project(DeleteProjectRequest { project })).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_same_however_its_address_is_written() {
        assert!(same_repository("https://github.com/org/site", "https://github.com/Org/site.git/"));
        assert!(!same_repository("https://github.com/org/site", "https://github.com/org/site2"));
    }
}
