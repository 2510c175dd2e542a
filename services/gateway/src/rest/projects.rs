//! Projects: listed, read, added, removed.

use axum::Json;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{
    self as wire, BuildSettings, CreateProjectRequest, DeleteProjectRequest, ListProjectsRequest,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    addresses::Addresses,
    answer::{BodyRefused, Conflicts, Refused},
    asked::{Asked, Named, Sent},
    caller::Caller,
    paging::{Pagination, Window, page},
    project::{self, Project},
};
use crate::{error::HttpError, hooks_client::answered};

/// How many projects are made whole at once.
const AT_ONCE: usize = 8;

/// Which projects are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only those whose names contain this.
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

/// A project to be added.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewProject {
    /// Its name, or the address of its repository: it is named after the last segment then.
    #[schema(min_length = 1)]
    name: String,
    /// Its repository.
    git_repository: Option<GitRepository>,
    /// The directory of the repository in which it lives.
    root_directory: Option<String>,
    /// The command of the install step; empty skips the step.
    install_command: Option<String>,
    /// The command of the build step; empty skips the step.
    build_command: Option<String>,
    /// The directory that is published.
    output_directory: Option<String>,
}

/// The repository of a project to be added.
#[derive(Debug, Deserialize, ToSchema)]
pub struct GitRepository {
    /// Where `repo` is: `github`, `gitlab`, `bitbucket`; `git` where it is a whole address.
    #[serde(rename = "type")]
    kind: GitRepositoryKind,
    /// The path of the repository there, or its whole address.
    repo: String,
}

/// Where a repository is.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GitRepositoryKind {
    /// At github.com.
    Github,
    /// At gitlab.com.
    Gitlab,
    /// At bitbucket.org.
    Bitbucket,
    /// Where its address says.
    Git,
}

impl GitRepository {
    fn address(&self) -> String {
        let host = match self.kind {
            GitRepositoryKind::Github => "github.com",
            GitRepositoryKind::Gitlab => "gitlab.com",
            GitRepositoryKind::Bitbucket => "bitbucket.org",
            GitRepositoryKind::Git => return self.repo.clone(),
        };
        if is_address(&self.repo) { self.repo.clone() } else { format!("https://{host}/{}.git", self.repo) }
    }
}

impl NewProject {
    fn into_request(self) -> Result<CreateProjectRequest, Error> {
        let (name, repository_url) = match &self.git_repository {
            Some(repository) => (self.name, repository.address()),
            None if is_address(&self.name) => (named_after(&self.name), self.name),
            None => return Err(no_repository(&self.name)),
        };
        let settings = BuildSettings {
            root_directory: self.root_directory,
            install_command: self.install_command,
            build_command: self.build_command,
            output_directory: self.output_directory,
            ..Default::default()
        };
        Ok(CreateProjectRequest { name, repository_url, settings: Some(settings), ..Default::default() })
    }
}

fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with('/')
}

/// Names a project after the last segment of its repository's address.
fn named_after(address: &str) -> String {
    let path = address.trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or(path);
    last.strip_suffix(".git").unwrap_or(last).to_ascii_lowercase()
}

fn no_repository(name: &str) -> Error {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    let description = format!(
        "must be a repository's address, such as https://git.example.org/team/site.git, or stand beside \
         `gitRepository`: a project is built from a repository, and `{shown}` names none"
    );
    Error::invalid_field("name", description)
}

/// Adds a project.
#[utoipa::path(
    post,
    path = "/v9/projects",
    tag = "projects",
    operation_id = "createProject",
    request_body = NewProject,
    responses((status = 201, description = "The project.", body = Project), Refused, Conflicts, BodyRefused),
    security(("key" = []))
)]
pub async fn add(
    caller: Caller,
    Sent(new): Sent<NewProject>,
) -> Result<(StatusCode, Json<Project>), HttpError> {
    caller.may_read()?;
    let request = new.into_request()?;
    let created = answered(caller.calls.hooks().create_project(request)).await.map_err(as_sent)?;
    let project = created.project.ok_or_else(|| Error::internal("the hooks service answered no project"))?;
    Ok((StatusCode::CREATED, Json(project::whole(&caller, project).await?)))
}

/// Names wrong fields as they were sent.
fn as_sent(mut error: Error) -> Error {
    for violation in &mut error.violations {
        violation.field = match violation.field.as_str() {
            "repository_url" => "gitRepository".to_owned(),
            "settings.root_directory" => "rootDirectory".to_owned(),
            "settings.install_command" => "installCommand".to_owned(),
            "settings.build_command" => "buildCommand".to_owned(),
            "settings.output_directory" => "outputDirectory".to_owned(),
            other => other.to_owned(),
        };
    }
    if error.violations.is_empty() || error.reason != Reason::InvalidRequest {
        error
    } else {
        Error::invalid(error.violations)
    }
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

    fn request(sent: serde_json::Value) -> Result<CreateProjectRequest, Error> {
        serde_json::from_value::<NewProject>(sent).unwrap().into_request()
    }

    #[test]
    fn a_repositorys_address_is_enough_to_add_a_project() {
        for (sent, name, url) in [
            ("https://git.example.org/team/Site.git", "site", "https://git.example.org/team/Site.git"),
            ("ssh://git@example.org/team/site/", "site", "ssh://git@example.org/team/site/"),
            ("/srv/git/site", "site", "/srv/git/site"),
        ] {
            let request = request(serde_json::json!({ "name": sent })).unwrap();
            assert_eq!((request.name.as_str(), request.repository_url.as_str()), (name, url));
        }
    }

    #[test]
    fn a_repository_beside_the_name_is_one_of_a_known_host_or_an_address() {
        for (kind, repo, url) in [
            ("github", "org/site", "https://github.com/org/site.git"),
            ("gitlab", "group/sub/site", "https://gitlab.com/group/sub/site.git"),
            ("bitbucket", "https://bitbucket.org/team/site", "https://bitbucket.org/team/site"),
            ("git", "ssh://git@example.org/site", "ssh://git@example.org/site"),
        ] {
            let sent = serde_json::json!({ "name": "web", "gitRepository": { "type": kind, "repo": repo } });
            let request = request(sent).unwrap();
            assert_eq!((request.name.as_str(), request.repository_url.as_str()), ("web", url));
        }
    }

    #[test]
    fn a_name_alone_is_answered_with_what_to_do() {
        let error = request(serde_json::json!({ "name": "site\u{7}" })).unwrap_err();
        assert!(error.message.ends_with("and `site` names none"), "{}", error.message);
        assert_eq!(error.violations[0].field, "name");
    }

    #[test]
    fn a_repository_is_the_same_however_its_address_is_written() {
        assert!(same_repository("https://github.com/org/site", "https://github.com/Org/site.git/"));
        assert!(!same_repository("https://github.com/org/site", "https://github.com/org/site2"));
    }
}
