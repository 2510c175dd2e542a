//! Deploying without a hook: again what was deployed before, or a branch.

use axum::Json;
use grapnel_domain::Error;
use grapnel_proto::hooks::v1::TriggerDeploymentRequest;
use serde::{Deserialize, Deserializer, de::Error as _};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{BodyRefused, Conflicts, Refused},
    asked::{Asked, Sent, field_by_field},
    caller::Caller,
    deployment::{self, WholeDeployment},
    project,
    status::Target,
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// How to deploy.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct How {
    /// Whether the build gets the build cache; true where nothing is said.
    build_cache: Option<bool>,
}

/// What to deploy.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum NewDeployment {
    /// What was deployed before.
    Again(Again),
    /// A branch.
    OfBranch(OfBranch),
}

/// A deployment to make again, of the same branch and commit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Again {
    /// The deployment's id.
    #[schema(min_length = 1)]
    deployment_id: String,
    /// Whether to take the branch as it is now, in place of the same commit.
    with_latest_commit: Option<bool>,
    /// `production` deploys its commit on the project's production branch, where it has to be reachable.
    target: Option<Target>,
}

/// A branch of a project to deploy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfBranch {
    /// The project's id or name.
    #[schema(min_length = 1)]
    #[serde(alias = "name")]
    project: String,
    /// What of its repository to deploy.
    git_source: GitSource,
}

/// What of a project's repository to deploy.
#[derive(Debug, Deserialize, ToSchema)]
pub struct GitSource {
    /// The branch.
    #[serde(rename = "ref")]
    #[schema(min_length = 1)]
    branch: String,
    /// The full hash of a commit that is reachable from the branch; not set is where the branch is by then.
    sha: Option<String>,
}

impl<'de> Deserialize<'de> for NewDeployment {
    fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        let mut body = serde_json::Map::deserialize(body)?;
        // Tools send both names of a project, or null for what they do not mean.
        body.retain(|_, value| !value.is_null());
        if body.contains_key("project") {
            body.remove("name");
        }
        if body.contains_key("deploymentId") {
            return field_by_field(body).map(Self::Again);
        }
        if body.contains_key("files") && !body.contains_key("gitSource") {
            return Err(D::Error::custom(
                "`files` are not taken: what is deployed is the project's repository, by `gitSource` or `deploymentId`",
            ));
        }
        field_by_field(body).map(Self::OfBranch)
    }
}

impl NewDeployment {
    async fn into_request(self, caller: &Caller) -> Result<TriggerDeploymentRequest, Error> {
        match self {
            Self::Again(again) => again.into_request(caller).await,
            Self::OfBranch(OfBranch { project, git_source }) => {
                let empty = [("project", &project), ("gitSource.ref", &git_source.branch)];
                if let Some((name, _)) = empty.into_iter().find(|(_, value)| value.is_empty()) {
                    return Err(Error::invalid_field(name, "must not be empty"));
                }
                Ok(TriggerDeploymentRequest {
                    project: project::read(caller, &project).await?.id,
                    branch: git_source.branch,
                    commit: git_source.sha.unwrap_or_default(),
                    ..Default::default()
                })
            }
        }
    }
}

impl Again {
    async fn into_request(self, caller: &Caller) -> Result<TriggerDeploymentRequest, Error> {
        if self.deployment_id.is_empty() {
            return Err(Error::invalid_field("deploymentId", "must not be empty"));
        }
        let before = deployment::find(caller, &self.deployment_id).await?;
        let project = project::read(caller, &before.project_id).await?;
        let branch =
            if self.target == Some(Target::Production) { project.production_branch } else { before.branch };
        Ok(TriggerDeploymentRequest {
            project: project.id,
            branch,
            commit: if self.with_latest_commit == Some(true) { String::new() } else { before.commit },
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<NewDeployment, String> {
        serde_json::from_value(body).map_err(|error| error.to_string())
    }

    #[test]
    fn a_deployment_is_made_again_or_a_branch_is_deployed() {
        // As `vercel redeploy` sends it.
        let again = json!({ "deploymentId": "dpl_1", "meta": { "action": "redeploy" }, "name": "site", "target": null });
        assert!(matches!(read(again), Ok(NewDeployment::Again(again)) if again.target.is_none()));
        for named in [json!({ "name": "site" }), json!({ "project": "site", "name": "another" })] {
            let mut body = named;
            body["gitSource"] = json!({ "type": "github", "ref": "main" });
            let read = read(body);
            assert!(
                matches!(read, Ok(NewDeployment::OfBranch(of)) if of.project == "site" && of.git_source.branch == "main")
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, named) in [
            (json!({}), "missing field `project`"),
            (json!({ "project": "site" }), "missing field `gitSource`"),
            (json!({ "project": "site", "gitSource": { "ref": 7 } }), "`gitSource.ref`: invalid type"),
            (json!({ "deploymentId": 7 }), "`deploymentId`: invalid type"),
            (json!({ "deploymentId": "dpl_1", "target": "moon" }), "`target`: unknown variant"),
            (json!({ "name": "site", "files": [] }), "`files` are not taken"),
            (json!(["dpl_1"]), "invalid type: sequence"),
        ] {
            let error = read(body).err().unwrap();
            assert!(error.contains(named), "{error}");
        }
    }
}
