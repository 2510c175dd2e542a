//! Adding a project.

use axum::Json;
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest};
use http::StatusCode;
use serde::{Deserialize, Deserializer, de::Error as _};
use utoipa::ToSchema;

use super::{
    answer::{BodyRefused, Conflicts, Refused},
    asked::{Sent, field_by_field},
    caller::Caller,
    project::{self, Project},
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// How much of a name is shown to whoever sent it.
const SHOWN: usize = 60;

/// A project to be added.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum NewProject {
    /// By its repository's address alone.
    Addressed(Addressed),
    /// By its name and its repository.
    Named(NamedProject),
}

/// A project to be added by its repository's address alone. It is named after the last segment.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Addressed {
    /// The address. It may be a directory too, where the operator allows that.
    #[schema(
        max_length = 200,
        pattern = "^(https?|ssh)://[a-z]([a-z0-9-]*[a-z0-9])?([.][a-z]+)+(/[A-Za-z0-9_-]+)*/[a-z0-9]{1,30}([.]git)?$"
    )]
    name: String,
    #[serde(flatten)]
    settings: Settings,
}

/// A project to be added by its name and its repository.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedProject {
    /// Lower-case letters, digits and inner hyphens, never two of them together.
    #[schema(max_length = 40, pattern = "^(?!dpl-)[a-z0-9]+(-[a-z0-9]+)*$")]
    name: String,
    git_repository: GitRepository,
    #[serde(flatten)]
    settings: Settings,
}

/// How to build a project. What is not there is found out from the repository.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The directory of the repository in which it lives; empty is the top.
    #[schema(max_length = 200, pattern = "^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$")]
    root_directory: Option<String>,
    /// The command of the install step; empty skips the step.
    #[schema(max_length = 1000, pattern = "^[ -~]*$")]
    install_command: Option<String>,
    /// The command of the build step; empty skips the step.
    #[schema(max_length = 1000, pattern = "^[ -~]*$")]
    build_command: Option<String>,
    /// The directory that is published, below the root directory; empty is found out.
    #[schema(max_length = 200, pattern = "^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$")]
    output_directory: Option<String>,
}

/// The repository of a project to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum GitRepository {
    /// One at github.com.
    Github(Hosted),
    /// One at gitlab.com.
    Gitlab(Hosted),
    /// One at bitbucket.org.
    Bitbucket(Hosted),
    /// One at any address.
    Git(Anywhere),
}

/// A repository at a host that everybody knows.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Hosted {
    /// Its path there.
    #[schema(max_length = 200, pattern = "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)+$")]
    repo: String,
}

/// A repository at any address.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Anywhere {
    /// The address.
    #[schema(
        max_length = 200,
        pattern = "^(https?|ssh)://[a-z]([a-z0-9-]*[a-z0-9])?([.][a-z]+)+(/[A-Za-z0-9_-]+)+([.]git)?$"
    )]
    repo: String,
}

impl<'de> Deserialize<'de> for NewProject {
    fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        let mut body = serde_json::Map::deserialize(body)?;
        body.retain(|_, value| !value.is_null());
        let name = body.get("name").and_then(|name| name.as_str());
        match name {
            _ if body.contains_key("gitRepository") => field_by_field(body).map(Self::Named),
            Some(name) if !is_address(name) => Err(D::Error::custom(no_repository(name))),
            _ => field_by_field(body).map(Self::Addressed),
        }
    }
}

impl From<NewProject> for CreateProjectRequest {
    fn from(new: NewProject) -> Self {
        let (name, repository_url, settings) = match new {
            NewProject::Addressed(new) => (named_after(&new.name), new.name, new.settings),
            NewProject::Named(new) => (new.name, new.git_repository.address(), new.settings),
        };
        let named = |directory: Option<String>| directory.filter(|directory| !directory.is_empty());
        let settings = BuildSettings {
            root_directory: named(settings.root_directory),
            install_command: settings.install_command,
            build_command: settings.build_command,
            output_directory: named(settings.output_directory),
            ..Default::default()
        };
        Self { name, repository_url, settings: Some(settings), ..Default::default() }
    }
}

impl GitRepository {
    fn address(self) -> String {
        let (host, Hosted { repo }) = match self {
            Self::Github(hosted) => ("github.com", hosted),
            Self::Gitlab(hosted) => ("gitlab.com", hosted),
            Self::Bitbucket(hosted) => ("bitbucket.org", hosted),
            Self::Git(anywhere) => return anywhere.repo,
        };
        if is_address(&repo) { repo } else { format!("https://{host}/{repo}.git") }
    }
}

/// Whether it is the address of something: a URL, a directory, or `user@host:path` as git writes it.
fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with('/') || text.contains('@')
}

/// Names a project after the last segment of its repository's address.
fn named_after(address: &str) -> String {
    let path = address.trim_end_matches('/');
    let last = path.rsplit(['/', ':']).next().unwrap_or(path);
    last.strip_suffix(".git").unwrap_or(last).to_ascii_lowercase()
}

fn no_repository(name: &str) -> String {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    format!(
        "`name` must be a repository's address, such as https://git.example.org/team/site.git, or stand beside \
         `gitRepository`: a project is built from a repository, and `{shown}` names none"
    )
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
    let request = CreateProjectRequest::from(new);
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(sent: Value) -> Result<CreateProjectRequest, String> {
        serde_json::from_value(sent).map(NewProject::into).map_err(|error| error.to_string())
    }

    #[test]
    fn a_repositorys_address_is_enough_to_add_a_project() {
        for (sent, name) in [
            ("https://git.example.org/team/Site.git", "site"),
            ("ssh://git@example.org/team/site/", "site"),
            ("git@example.org:site.git", "site"),
            ("/srv/git/site", "site"),
        ] {
            let request = request(json!({ "name": sent, "framework": null, "outputDirectory": "" })).unwrap();
            assert_eq!((request.name.as_str(), request.repository_url.as_str()), (name, sent));
            assert_eq!(request.settings.unwrap(), BuildSettings::default());
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
            let repository = json!({ "type": kind, "repo": repo });
            let sent = json!({ "name": "web", "gitRepository": repository, "buildCommand": "make" });
            let request = request(sent).unwrap();
            assert_eq!((request.name.as_str(), request.repository_url.as_str()), ("web", url));
            assert_eq!(request.settings.unwrap().build_command.as_deref(), Some("make"));
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_a_name_alone_is_answered_with_what_to_do() {
        for (sent, named) in [
            (
                json!({ "name": "site\u{7}" }),
                "gitRepository`: a project is built from a repository, and `site` names none",
            ),
            (json!({}), "missing field `name`"),
            (json!({ "name": 7 }), "`name`: invalid type"),
            (
                json!({ "name": "web", "gitRepository": { "type": "svn", "repo": "a/b" } }),
                "unknown variant `svn`",
            ),
            (json!({ "name": "https://example.org/a", "buildCommand": 7 }), "invalid type"),
        ] {
            let error = request(sent).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
