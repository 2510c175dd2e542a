//! A project's hooks. The URL of one is whole in the answer that makes it, and never again.

use axum::Json;
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{
    CreateHookRequest, GetHookRequest, Hook, ListHooksRequest, RevokeHookRequest,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    answer::{BodyRefused, Conflicts, Refused},
    asked::{Named, Sent},
    caller::Caller,
    paging::milliseconds,
    project::{self, Project},
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// A hook of a project.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeployHook {
    /// `hook_` and 26 characters.
    pub id: String,
    /// Its name, unique in the project.
    pub name: String,
    /// The branch that it deploys.
    #[serde(rename = "ref")]
    pub branch: String,
    /// Where it is requested: whole in the answer that makes the hook, else with all of the token but its last four
    /// characters masked.
    pub url: String,
    /// In milliseconds of Unix time.
    pub created_at: i64,
}

/// A hook to be made.
#[derive(Deserialize, ToSchema)]
pub struct NewDeployHook {
    /// 1 to 100 characters, unique in the project.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The branch that it deploys.
    #[serde(rename = "ref")]
    #[schema(min_length = 1)]
    branch: String,
}

/// Lists a project's hooks, newest first.
///
/// # Errors
/// What the hooks service answers.
pub async fn hooks_of(caller: &Caller, project: &str) -> Result<Vec<DeployHook>, Error> {
    let mut request = ListHooksRequest { project: project.to_owned(), page_size: 200, ..Default::default() };
    let mut hooks = Vec::new();
    loop {
        let page = answered(caller.calls.hooks().list_hooks(request.clone())).await?;
        hooks.extend(page.hooks.iter().map(|hook| shape(&caller.address, hook)));
        if page.next_page_token.is_empty() {
            return Ok(hooks);
        }
        request.page_token = page.next_page_token;
    }
}

fn shape(address: &str, hook: &Hook) -> DeployHook {
    let last_four = hook.tokens.first().map_or("", |token| token.last_four.as_str());
    DeployHook {
        id: hook.id.clone(),
        name: hook.name.clone(),
        branch: hook.branch.clone(),
        url: format!("{address}/v1/integrations/deploy/{}/****{last_four}", hook.project_id),
        created_at: milliseconds(hook.created_at.as_ref()).unwrap_or_default(),
    }
}

/// Makes a hook, and answers the project with it. This answer alone holds the hook's URL.
#[utoipa::path(
    post,
    path = "/v2/projects/{project}/deploy-hooks",
    tag = "deploy hooks",
    operation_id = "createDeployHook",
    params(("project" = String, Path, description = "The project's id or name.")),
    request_body = NewDeployHook,
    responses(
        (status = 201, description = "The project, the new hook with its whole URL.", body = Project),
        Refused, Conflicts, BodyRefused,
    ),
    security(("key" = []))
)]
pub async fn create(
    caller: Caller,
    Named(project): Named<String>,
    Sent(new): Sent<NewDeployHook>,
) -> Result<(StatusCode, Json<Project>), HttpError> {
    // Read first: nothing may fail between the only sight of the URL and its answer.
    let mut project = project::whole(&caller, project::read(&caller, &project).await?).await?;
    let request = CreateHookRequest {
        project: project.id.clone(),
        name: new.name,
        branch: named_branch(new.branch)?,
        ..Default::default()
    };
    let created = answered(caller.calls.hooks().create_hook(request)).await.map_err(as_ref)?;
    let hook = created.hook.ok_or_else(|| Error::internal("the hooks service answered no hook"))?;
    project.link.deploy_hooks.insert(0, DeployHook { url: created.url, ..shape(&caller.address, &hook) });
    Ok((StatusCode::CREATED, Json(project)))
}

/// To the hooks service no branch is the production branch; here one has to be named.
fn named_branch(branch: String) -> Result<String, Error> {
    if branch.is_empty() { Err(Error::invalid_field("ref", "must be a branch")) } else { Ok(branch) }
}

/// What the hooks service calls `branch` is `ref` here.
fn as_ref(mut error: Error) -> Error {
    for violation in &mut error.violations {
        if violation.field == "branch" {
            violation.field = "ref".to_owned();
        }
    }
    if error.violations.is_empty() { error } else { Error::invalid(error.violations) }
}

/// Revokes a hook for good, and answers the project without it.
#[utoipa::path(
    delete,
    path = "/v2/projects/{project}/deploy-hooks/{hook}",
    tag = "deploy hooks",
    operation_id = "deleteDeployHook",
    params(
        ("project" = String, Path, description = "The project's id or name."),
        ("hook" = String, Path, description = "The hook's id."),
    ),
    responses((status = 200, description = "The project without the hook.", body = Project), Refused, Conflicts),
    security(("key" = []))
)]
pub async fn revoke(
    caller: Caller,
    Named((project, hook_id)): Named<(String, String)>,
) -> Result<Json<Project>, HttpError> {
    let project = project::read(&caller, &project).await?;
    let hook =
        answered(caller.calls.hooks().get_hook(GetHookRequest { hook_id: hook_id.clone() })).await?.hook;
    if hook.is_none_or(|hook| hook.project_id != project.id) {
        return Err(Error::new(Reason::HookNotFound, "the project has no such hook").into());
    }
    answered(caller.calls.hooks().revoke_hook(RevokeHookRequest { hook_id })).await?;
    Ok(Json(project::whole(&caller, project).await?))
}

#[cfg(test)]
mod tests {
    use grapnel_proto::hooks::v1::HookToken;

    use super::*;

    #[test]
    fn a_hook_that_is_there_shows_the_last_four_characters_of_its_token_alone() {
        let token = HookToken { last_four: "wxyz".into(), ..Default::default() };
        let hook = Hook {
            id: "hook_1".into(),
            project_id: "prj_1".into(),
            name: "cms".into(),
            branch: "main".into(),
            tokens: vec![token],
            ..Default::default()
        };
        let shown = serde_json::to_value(shape("http://127.0.0.1:7300", &hook)).unwrap();
        assert_eq!(shown["url"], "http://127.0.0.1:7300/v1/integrations/deploy/prj_1/****wxyz");
        assert_eq!((&shown["ref"], &shown["createdAt"]), (&"main".into(), &0.into()));
    }

    #[test]
    fn a_wrong_branch_is_named_as_it_was_sent() {
        let error = as_ref(Error::invalid_field("branch", "must not begin with `-`"));
        assert_eq!(error.message, "`ref` must not begin with `-`");
    }
}
