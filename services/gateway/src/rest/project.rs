//! A project as callers know it: whole, with its hooks, its newest deployment and what is served.

use futures_util::try_join;
use grapnel_domain::Error;
use grapnel_proto::hooks::v1 as wire;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    addresses::{Addresses, host_of},
    caller::Caller,
    deploy_hooks::{DeployHook, hooks_of},
    deployment::{Deployment, newest_of},
    paging::{Made, milliseconds},
    status::{State, Target},
};
use crate::hooks_client::answered_to_people as answered;

/// A project.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// `prj_` and 26 characters.
    pub id: String,
    /// Its name, the first label of its address.
    pub name: String,
    /// The team's id.
    pub account_id: String,
    /// In milliseconds of Unix time.
    pub created_at: i64,
    /// In milliseconds of Unix time.
    pub updated_at: i64,
    /// Null: what builds it is found out from the repository.
    #[schema(required)]
    pub framework: Option<String>,
    /// The directory of the repository in which it lives; null is the top.
    #[schema(required)]
    pub root_directory: Option<String>,
    /// The command of the install step; null is found out from the repository.
    #[schema(required)]
    pub install_command: Option<String>,
    /// The command of the build step; null is found out from the repository.
    #[schema(required)]
    pub build_command: Option<String>,
    /// The directory that is published; null is found out from the repository.
    #[schema(required)]
    pub output_directory: Option<String>,
    /// The Node.js of the builder image, unless the repository names another; null where the project has an image of its
    /// own.
    #[schema(required)]
    pub node_version: Option<String>,
    /// Its repository and its hooks.
    pub link: Link,
    /// Its newest deployment, where there is one.
    pub latest_deployments: Vec<Deployment>,
    /// What is served.
    pub targets: Targets,
    /// What was done last with an address of the project. Only where `rollbackInfo` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_alias_request: Option<LastAliasRequest>,
    /// Where its production branch is served.
    pub site_url: String,
}

/// A project's repository, with the hooks that deploy it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// `github`, `gitlab`, `bitbucket`, or `git` for any other host.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The path of the repository before its last segment; empty where there is none.
    pub org: String,
    /// The last segment of the repository's path.
    pub repo: String,
    /// The repository's address.
    pub url: String,
    /// The branch that the project's own address serves.
    pub production_branch: String,
    /// The project's hooks, newest first.
    pub deploy_hooks: Vec<DeployHook>,
    /// In milliseconds of Unix time.
    pub created_at: i64,
    /// In milliseconds of Unix time.
    pub updated_at: i64,
}

/// What of a project is served.
#[derive(Serialize, ToSchema)]
pub struct Targets {
    /// What the project's own address serves; not there where it serves nothing yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<Served>,
}

/// What an address serves.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// The deployment's id.
    pub id: String,
    /// The hosts that serve it.
    pub alias: Vec<String>,
    /// Always `READY`.
    pub ready_state: State,
    /// Always `production`.
    pub target: Target,
}

/// What was done last with an address of a project.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAliasRequest {
    /// Always `succeeded`: an address changes at once.
    pub job_status: JobStatus,
    /// When, in milliseconds of Unix time.
    pub requested_at: i64,
    /// What the address serves since then.
    pub to_deployment_id: String,
    /// Whether the address went back and stays there.
    #[serde(rename = "type")]
    pub kind: AliasRequestKind,
}

/// How a change of an address went.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It is done.
    Succeeded,
}

/// What was done with an address.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AliasRequestKind {
    /// It serves the newest of its branch.
    Promote,
    /// It was taken back to an older one.
    Rollback,
}

impl Made for wire::Project {
    fn made(&self) -> i64 {
        milliseconds(self.created_at.as_ref()).unwrap_or_default()
    }
}

/// Reads a project by id or name.
///
/// # Errors
/// `PROJECT_NOT_FOUND`, and what the hooks service answers.
pub async fn read(caller: &Caller, project: &str) -> Result<wire::Project, Error> {
    let request = wire::GetProjectRequest { project: project.to_owned() };
    let answer = answered(caller.calls.hooks().get_project(request)).await?;
    answer.project.ok_or_else(|| Error::internal("the hooks service answered no project"))
}

/// Adds to a project what callers see of it.
///
/// # Errors
/// What the hooks service answers.
pub async fn whole(caller: &Caller, project: wire::Project) -> Result<Project, Error> {
    let (hooks, addresses, newest) = try_join!(
        hooks_of(caller, &project.id),
        Addresses::first_of(caller, &project.id),
        newest_of(caller, &project),
    )?;
    Ok(shape(caller, project, hooks, &addresses, newest))
}

fn shape(
    caller: &Caller,
    project: wire::Project,
    deploy_hooks: Vec<DeployHook>,
    addresses: &Addresses,
    newest: Option<Deployment>,
) -> Project {
    let settings = project.settings.clone().unwrap_or_default();
    let created_at = project.made();
    let updated_at = milliseconds(project.updated_at.as_ref()).unwrap_or(created_at);
    let production = addresses.of_branch(&project.production_branch).map(|address| Served {
        id: address.deployment_id.clone(),
        alias: [&address.project_url, &address.url].into_iter().filter_map(|url| host_of(url)).collect(),
        ready_state: State::Ready,
        target: Target::Production,
    });
    let (kind, org, repo) = of_repository(&project.repository_url);
    Project {
        account_id: caller.session.team_id.clone(),
        created_at,
        updated_at,
        framework: None,
        root_directory: settings.root_directory,
        install_command: settings.install_command,
        build_command: settings.build_command,
        output_directory: settings.output_directory,
        node_version: settings.builder_image.is_none().then(|| "24.x".to_owned()),
        link: Link {
            kind,
            org,
            repo,
            url: project.repository_url,
            production_branch: project.production_branch,
            deploy_hooks,
            created_at,
            updated_at,
        },
        latest_deployments: newest.into_iter().collect(),
        targets: Targets { production },
        last_alias_request: None,
        site_url: project.site_url,
        id: project.id,
        name: project.name,
    }
}

/// Splits a repository's address into the kind of its host, the path to it, and its own name.
fn of_repository(address: &str) -> (&'static str, String, String) {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or(("", rest));
    let host = host.rsplit('@').next().unwrap_or(host);
    let kind = match host.split(':').next().unwrap_or(host) {
        "github.com" => "github",
        "gitlab.com" => "gitlab",
        "bitbucket.org" => "bitbucket",
        _ => "git",
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let (org, repo) = path.rsplit_once('/').unwrap_or(("", path));
    (kind, org.to_owned(), repo.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_address() {
        for (address, expected) in [
            ("https://github.com/org/site.git", ("github", "org", "site")),
            ("ssh://git@gitlab.com/group/sub/site", ("gitlab", "group/sub", "site")),
            ("https://bitbucket.org/team/site/", ("bitbucket", "team", "site")),
            ("https://git.example.org:8443/team/site.git", ("git", "team", "site")),
            ("/srv/git/site", ("git", "srv/git", "site")),
        ] {
            let (kind, org, repo) = of_repository(address);
            assert_eq!((kind, org.as_str(), repo.as_str()), expected, "{address}");
        }
    }
}
