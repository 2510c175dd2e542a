//! One deployment: as callers know it, ended, and removed.

use std::collections::BTreeMap;

use axum::Json;
use grapnel_domain::Error;
use grapnel_proto::hooks::v1::{
    self as wire, CancelDeploymentRequest, DeleteDeploymentRequest, DeploymentState, GetDeploymentRequest,
    ListDeploymentsRequest,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    addresses::{self, host_of},
    answer::{Conflicts, Refused},
    asked::Named,
    caller::Caller,
    paging::{Made, milliseconds},
    project,
    status::{State, Target},
    teams::Team,
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// A deployment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// `dpl_` and 26 characters.
    pub id: String,
    /// The id again.
    pub uid: String,
    /// The project's name.
    pub name: String,
    /// The project's id.
    pub project_id: String,
    /// The team's id.
    pub owner_id: String,
    /// The host that serves it once it is READY, without a scheme.
    pub url: String,
    /// Where it is served, whole; null until it is READY, and once its files are removed.
    #[schema(required)]
    pub site_url: Option<String>,
    /// The page about it.
    pub inspector_url: String,
    /// Where it stands.
    pub state: State,
    /// Where it stands, again.
    pub ready_state: State,
    /// Who asked for it.
    pub source: Source,
    /// Always `LAMBDAS`, which is what the shape calls deployments of any kind.
    #[serde(rename = "type")]
    pub kind: DeploymentKind,
    /// The version of the shape: 2.
    pub version: u32,
    /// `production` for one of the project's production branch, else null.
    #[schema(required)]
    pub target: Option<Target>,
    /// What it was made of, by whom.
    pub meta: BTreeMap<String, String>,
    /// Who asked for it: the hook, or the team whose key did.
    pub creator: Creator,
    /// What its trigger calls it; empty where it does not say.
    pub title: String,
    /// In milliseconds of Unix time.
    pub created: i64,
    /// In milliseconds of Unix time.
    pub created_at: i64,
    /// When its build began, in milliseconds of Unix time.
    #[schema(required)]
    pub building_at: Option<i64>,
    /// When it was READY, in milliseconds of Unix time.
    #[schema(required)]
    pub ready: Option<i64>,
    /// When it was canceled, in milliseconds of Unix time.
    #[schema(required)]
    pub canceled_at: Option<i64>,
    /// When its own address was there, in milliseconds of Unix time; null until it is READY.
    #[schema(required)]
    pub alias_assigned: Option<i64>,
    /// Null: an address is given together with the state READY, or not at all.
    #[schema(required)]
    pub alias_error: Option<String>,
    /// Whether its branch's address serves it now.
    pub promoted: bool,
    /// Why it failed or was canceled: a code of docs/errors.md, or a reason such as `SUPERSEDED`.
    #[schema(required)]
    pub error_code: Option<String>,
    /// Why it failed, in words.
    #[schema(required)]
    pub error_message: Option<String>,
    /// The deployment that took its place.
    #[schema(required)]
    pub superseded_by: Option<String>,
}

/// A deployment, with what is said of a single one only.
#[derive(Serialize, ToSchema)]
pub struct WholeDeployment {
    #[serde(flatten)]
    deployment: Deployment,
    /// The hosts that serve it now besides its own, the project's first.
    alias: Vec<String>,
    /// Always false: who may look at it is for whoever runs the host to say.
    public: bool,
    /// The team's.
    team: Team,
}

/// Who asked for a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A hook.
    GitDeployHook,
    /// A key.
    ApiTriggerGitDeploy,
}

/// A kind of deployment.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeploymentKind {
    /// Any.
    Lambdas,
}

/// Who asked for a deployment.
#[derive(Serialize, ToSchema)]
pub struct Creator {
    /// The id of the hook, or of the team.
    pub uid: String,
    /// The name of the hook, or of the team.
    pub username: String,
}

impl Made for wire::Deployment {
    fn made(&self) -> i64 {
        milliseconds(self.created_at.as_ref()).unwrap_or_default()
    }
}

/// Reads a deployment by its id.
///
/// # Errors
/// `DEPLOYMENT_NOT_FOUND`, and what the hooks service answers.
pub async fn read(caller: &Caller, id: &str) -> Result<wire::Deployment, Error> {
    let request = GetDeploymentRequest { deployment_id: id.to_owned() };
    of_answer(answered(caller.calls.hooks().get_deployment(request)).await?.deployment)
}

/// Reads a deployment by its id or by a host that serves it.
///
/// # Errors
/// As [`read`].
pub async fn find(caller: &Caller, id_or_host: &str) -> Result<wire::Deployment, Error> {
    match id_or_host.split_once('.') {
        Some((label, _)) if !label.starts_with("dpl_") => {
            let id = addresses::served_at(caller, label).await?;
            read(caller, &id).await
        }
        Some((id, _)) => read(caller, id).await,
        None => read(caller, id_or_host).await,
    }
}

/// Takes the deployment out of an answer.
///
/// # Errors
/// There is none, which the hooks service never answers.
pub fn of_answer(deployment: Option<wire::Deployment>) -> Result<wire::Deployment, Error> {
    deployment.ok_or_else(|| Error::internal("the hooks service answered no deployment"))
}

/// Reads the newest deployment of a project.
///
/// # Errors
/// What the hooks service answers.
pub async fn newest_of(caller: &Caller, project: &wire::Project) -> Result<Option<Deployment>, Error> {
    let request = ListDeploymentsRequest { project: project.id.clone(), page_size: 1, ..Default::default() };
    let page = answered(caller.calls.hooks().list_deployments(request)).await?;
    Ok(page.deployments.into_iter().next().map(|newest| shape(caller, project, newest)))
}

/// Adds to a deployment what callers see of a single one.
///
/// # Errors
/// What the hooks service answers.
pub async fn whole(caller: &Caller, deployment: wire::Deployment) -> Result<WholeDeployment, Error> {
    let project = project::read(caller, &deployment.project_id).await?;
    let alias = if deployment.promoted {
        addresses::hosts_of(caller, &project.id, &deployment.branch, &deployment.id).await?
    } else {
        Vec::new()
    };
    let deployment = shape(caller, &project, deployment);
    Ok(WholeDeployment { deployment, alias, public: false, team: Team::from(caller) })
}

/// Puts a deployment of a project into the shape that callers know.
pub fn shape(caller: &Caller, project: &wire::Project, it: wire::Deployment) -> Deployment {
    let state = State::from(it.state());
    let finished = milliseconds(it.finished_at.as_ref());
    let when = |wanted| finished.filter(|_| state == wanted);
    let why = it.cancellation.clone().map(|why| {
        let name = why.reason().as_str_name().trim_start_matches("CANCEL_REASON_").to_owned();
        (name, Some(why.superseded_by).filter(|id| !id.is_empty()))
    });
    let failure = it.failure.clone();
    Deployment {
        uid: it.id.clone(),
        name: project.name.clone(),
        project_id: it.project_id.clone(),
        owner_id: caller.session.team_id.clone(),
        url: host(project, &it),
        inspector_url: format!("{}/projects/{}/deployments/{}", caller.address, project.name, it.id),
        state,
        ready_state: state,
        source: if it.hook_id.is_empty() { Source::ApiTriggerGitDeploy } else { Source::GitDeployHook },
        kind: DeploymentKind::Lambdas,
        version: 2,
        target: (it.branch == project.production_branch).then_some(Target::Production),
        meta: meta(&it),
        creator: creator(caller, &it),
        created: it.made(),
        created_at: it.made(),
        building_at: milliseconds(it.building_at.as_ref()),
        ready: when(State::Ready),
        canceled_at: when(State::Canceled),
        alias_assigned: when(State::Ready),
        alias_error: None,
        promoted: it.promoted,
        error_code: failure
            .as_ref()
            .map(|failure| failure.code.clone())
            .or_else(|| why.as_ref().map(|(name, _)| name.clone())),
        error_message: failure.map(|failure| failure.message),
        superseded_by: why.and_then(|(_, by)| by),
        site_url: Some(it.site_url).filter(|url| !url.is_empty()),
        title: it.title,
        id: it.id,
    }
}

/// The host of a deployment's own address, by that of its project until it has one.
fn host(project: &wire::Project, deployment: &wire::Deployment) -> String {
    host_of(&deployment.site_url).unwrap_or_else(|| {
        let project = host_of(&project.site_url).unwrap_or_default();
        let domain = project.split_once('.').map_or(project.as_str(), |(_, domain)| domain);
        format!("{}.{domain}", deployment.id)
    })
}

/// What a deployment is made of, in the words that tools look for; what is not known is not there.
pub fn meta(it: &wire::Deployment) -> BTreeMap<String, String> {
    let hook_branch = if it.hook_id.is_empty() { "" } else { it.branch.as_str() };
    let known = [
        ("deployHookId", it.hook_id.as_str()),
        ("deployHookName", &it.hook_name),
        ("deployHookRef", hook_branch),
        ("githubCommitSha", &it.commit),
        ("githubCommitRef", &it.branch),
        ("githubCommitMessage", &it.commit_message),
    ];
    let known = known.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn creator(caller: &Caller, it: &wire::Deployment) -> Creator {
    if it.hook_id.is_empty() {
        Creator { uid: caller.session.team_id.clone(), username: caller.team_slug() }
    } else {
        Creator { uid: it.hook_id.clone(), username: it.hook_name.clone() }
    }
}

/// Reads a deployment.
#[utoipa::path(
    get,
    path = "/v13/deployments/{deployment}",
    tag = "deployments",
    operation_id = "getDeployment",
    params(("deployment" = String, Path, description = "The deployment's id, or a host that serves it.")),
    responses((status = 200, description = "The deployment.", body = WholeDeployment), Refused),
    security(("key" = []))
)]
pub async fn get(caller: Caller, Named(named): Named<String>) -> Result<Json<WholeDeployment>, HttpError> {
    let deployment = find(&caller, &named).await?;
    Ok(Json(whole(&caller, deployment).await?))
}

/// Ends a deployment: at once where it waits, else when its container is gone. Asking twice is no error.
#[utoipa::path(
    patch,
    path = "/v12/deployments/{deployment}/cancel",
    tag = "deployments",
    operation_id = "cancelDeployment",
    params(("deployment" = String, Path, description = "The deployment's id.")),
    responses((status = 200, description = "The deployment.", body = WholeDeployment), Refused, Conflicts),
    security(("key" = []))
)]
pub async fn cancel(caller: Caller, Named(id): Named<String>) -> Result<Json<WholeDeployment>, HttpError> {
    let request = CancelDeploymentRequest { deployment_id: read(&caller, &id).await?.id };
    let canceled = of_answer(answered(caller.calls.hooks().cancel_deployment(request)).await?.deployment)?;
    Ok(Json(whole(&caller, canceled).await?))
}

/// A deployment that was removed.
#[derive(Serialize, ToSchema)]
pub struct Removed {
    uid: String,
    state: RemovedState,
}

/// The state of what was removed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RemovedState {
    /// It is not there any more.
    Deleted,
}

/// Removes a deployment for good, with its log and its files. One that an address serves is not removed.
#[utoipa::path(
    delete,
    path = "/v13/deployments/{deployment}",
    tag = "deployments",
    operation_id = "deleteDeployment",
    params(("deployment" = String, Path, description = "The deployment's id.")),
    responses((status = 200, description = "It is removed.", body = Removed), Refused, Conflicts),
    security(("key" = []))
)]
pub async fn remove(caller: Caller, Named(id): Named<String>) -> Result<Json<Removed>, HttpError> {
    let request = DeleteDeploymentRequest { deployment_id: id.clone() };
    answered(caller.calls.hooks().delete_deployment(request)).await?;
    Ok(Json(Removed { uid: id, state: RemovedState::Deleted }))
}

/// The builds of a deployment: one, once it has begun.
#[derive(Serialize, ToSchema)]
pub struct BuildsAnswer {
    builds: Vec<Build>,
}

/// The build of a deployment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// The deployment's id, with `bld_` in front.
    id: String,
    deployment_id: String,
    /// Always `.`: the project's root directory.
    entrypoint: String,
    ready_state: State,
    /// When it began, in milliseconds of Unix time.
    created_at: i64,
    /// When it ended, in milliseconds of Unix time.
    #[schema(required)]
    ready_state_at: Option<i64>,
}

/// Lists the builds of a deployment: one, once it has begun.
#[utoipa::path(
    get,
    path = "/v11/deployments/{deployment}/builds",
    tag = "deployments",
    operation_id = "listDeploymentBuilds",
    params(("deployment" = String, Path, description = "The deployment's id, or a host that serves it.")),
    responses((status = 200, description = "The builds.", body = BuildsAnswer), Refused),
    security(("key" = []))
)]
pub async fn builds(caller: Caller, Named(named): Named<String>) -> Result<Json<BuildsAnswer>, HttpError> {
    let found = find(&caller, &named).await?;
    let begun = milliseconds(found.building_at.as_ref());
    let build = begun.map(|begun| Build {
        id: format!("bld_{}", found.id.trim_start_matches("dpl_")),
        deployment_id: found.id.clone(),
        entrypoint: ".".to_owned(),
        ready_state: DeploymentState::try_from(found.state).unwrap_or_default().into(),
        created_at: begun,
        ready_state_at: milliseconds(found.finished_at.as_ref()),
    });
    Ok(Json(BuildsAnswer { builds: build.into_iter().collect() }))
}
