//! Deploying without a hook: again what was deployed before, or a branch.

use axum::Json;
use grapnel_domain::Error;
use grapnel_proto::hooks::v1::TriggerDeploymentRequest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{BodyRefused, Conflicts, Refused},
    asked::{Asked, Sent},
    caller::Caller,
    deployment::{self, WholeDeployment},
    project,
    status::Target,
};
use crate::{error::HttpError, hooks_client::answered};

/// How to deploy.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct How {
    /// Whether the build gets the build cache; true where nothing is said.
    build_cache: Option<bool>,
}

/// What to deploy: with `deploymentId` that again, else the branch `gitSource.ref` of `project`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewDeployment {
    /// The deployment to make again, of the same branch and commit.
    deployment_id: Option<String>,
    /// With `deploymentId`: whether to take the branch as it is now, instead of the same commit.
    #[serde(default)]
    with_latest_commit: bool,
    /// With `deploymentId`: `production` deploys its commit on the project's production branch, where it has to be
    /// reachable.
    target: Option<Target>,
    /// The project's id or name.
    project: Option<String>,
    /// The project's name, as older callers send it.
    name: Option<String>,
    /// What of the project's repository to deploy.
    git_source: Option<GitSource>,
}

/// What of a project's repository to deploy.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct GitSource {
    /// The branch.
    #[serde(rename = "ref")]
    branch: String,
    /// The full hash of a commit that is reachable from the branch; not set is where the branch is by then.
    sha: Option<String>,
}

impl NewDeployment {
    async fn into_request(self, caller: &Caller) -> Result<TriggerDeploymentRequest, Error> {
        if let Some(id) = &self.deployment_id {
            return self.again(caller, id).await;
        }
        let Some(source) = self.git_source else {
            return Err(Error::invalid_field(
                "gitSource",
                "must name a branch, or `deploymentId` a deployment to make again: files are not taken, what is deployed \
                 is the project's repository",
            ));
        };
        let named = self.project.or(self.name).unwrap_or_default();
        if named.is_empty() {
            return Err(Error::invalid_field("project", "must be the id or the name of a project"));
        }
        if source.branch.is_empty() {
            return Err(Error::invalid_field("gitSource.ref", "must be a branch"));
        }
        Ok(TriggerDeploymentRequest {
            project: project::read(caller, &named).await?.id,
            branch: source.branch,
            commit: source.sha.unwrap_or_default(),
            ..Default::default()
        })
    }

    async fn again(&self, caller: &Caller, id: &str) -> Result<TriggerDeploymentRequest, Error> {
        let before = deployment::find(caller, id).await?;
        let project = project::read(caller, &before.project_id).await?;
        let branch =
            if self.target == Some(Target::Production) { project.production_branch } else { before.branch };
        Ok(TriggerDeploymentRequest {
            project: project.id,
            branch,
            commit: if self.with_latest_commit { String::new() } else { before.commit },
            title: before.title,
            ..Default::default()
        })
    }
}

/// Deploys: again what was deployed before, or a branch. Nothing is uploaded.
#[utoipa::path(
    post,
    path = "/v13/deployments",
    tag = "deployments",
    operation_id = "createDeployment",
    params(How),
    request_body = NewDeployment,
    responses(
        (status = 200, description = "The new deployment.", body = WholeDeployment),
        Refused, Conflicts, BodyRefused,
    ),
    security(("key" = []))
)]
pub async fn create(
    caller: Caller,
    Asked(how): Asked<How>,
    Sent(new): Sent<NewDeployment>,
) -> Result<Json<WholeDeployment>, HttpError> {
    let request =
        TriggerDeploymentRequest { build_cache: how.build_cache, ..new.into_request(&caller).await? };
    let triggered = answered(caller.calls.hooks().trigger_deployment(request)).await.map_err(as_sent)?;
    let deployment = deployment::of_answer(triggered.deployment)?;
    Ok(Json(deployment::whole(&caller, deployment).await?))
}

/// Names wrong fields as they were sent.
fn as_sent(mut error: Error) -> Error {
    for violation in &mut error.violations {
        match violation.field.as_str() {
            "branch" => violation.field = "gitSource.ref".to_owned(),
            "commit" => violation.field = "gitSource.sha".to_owned(),
            _ => {}
        }
    }
    if error.violations.is_empty() { error } else { Error::invalid(error.violations) }
}
