//! The calls of `grapnel.hooks.v1.HookService`: parse, authorise, call one use case, convert.

mod requests;

use grapnel_domain::scope::Scope;
use grapnel_proto::{
    convert::trigger::decision_to_wire,
    hooks::v1::{hook_service_server::HookService, *},
};
use grapnel_runtime::CancellationToken;
use requests::{brought, deployment_request, new_hook, new_project, scope_to_set, trigger_target};
use tonic::Request;

use super::{
    Answer,
    auth::Auth,
    convert::{self, deployment_id, hook_id, project_ref},
    lists::{self, Asked},
    page, update,
    watching::{self, Messages, Watcher},
};
use crate::app::{Answered, App, Part};

/// The handlers.
pub struct HookHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
    /// Ends all streams.
    pub stopping: CancellationToken,
}

#[tonic::async_trait]
impl HookService for HookHandlers {
    async fn create_project(&self, request: Request<CreateProjectRequest>) -> Answer<CreateProjectResponse> {
        answer!({
            let settings = request.get_ref().settings.as_ref();
            let team = self.auth.team(&request, scope_to_set(settings)).await?;
            let new = new_project(request.into_inner())?;
            let project = self.app.create_project(team, new).await?;
            Ok(CreateProjectResponse { project: Some(convert::project(&project, &self.app.addresses)) })
        })
    }

    async fn get_project(&self, request: Request<GetProjectRequest>) -> Answer<GetProjectResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let project = self.app.project(team, &project_ref(&request.into_inner().project)?).await?;
            Ok(GetProjectResponse { project: Some(convert::project(&project, &self.app.addresses)) })
        })
    }

    async fn list_projects(&self, request: Request<ListProjectsRequest>) -> Answer<ListProjectsResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let Asked { list, filter } = lists::projects(&request)?;
            let after = page::after(&list, &request.page_token)?;
            let size = page::size(request.page_size)?;
            let (page, latest) = self.app.list_projects(team, &filter, after, size).await?;
            Ok(ListProjectsResponse {
                latest_deployments: latest
                    .iter()
                    .map(|it| convert::deployment(it, &self.app.addresses))
                    .collect(),
                next_page_token: page::next(&list, page.items.last().map(|it| it.id), page.more),
                projects: page.items.iter().map(|it| convert::project(it, &self.app.addresses)).collect(),
            })
        })
    }

    async fn update_project(&self, request: Request<UpdateProjectRequest>) -> Answer<UpdateProjectResponse> {
        answer!({
            let settings = request.get_ref().changes.as_ref().and_then(|changes| changes.settings.as_ref());
            let team = self.auth.team(&request, scope_to_set(settings)).await?;
            let request = request.into_inner();
            let changes = update::project(request.changes, request.update_mask)?;
            let project = self.app.update_project(team, &project_ref(&request.project)?, changes).await?;
            Ok(UpdateProjectResponse { project: Some(convert::project(&project, &self.app.addresses)) })
        })
    }

    async fn delete_project(&self, request: Request<DeleteProjectRequest>) -> Answer<DeleteProjectResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            self.app.delete_project(team, &project_ref(&request.into_inner().project)?).await?;
            Ok(DeleteProjectResponse {})
        })
    }

    async fn create_hook(&self, request: Request<CreateHookRequest>) -> Answer<CreateHookResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let request = request.into_inner();
            let project = project_ref(&request.project)?;
            let new = new_hook(&request)?;
            let created = self.app.create_hook(team, &project, new).await?;
            Ok(CreateHookResponse { hook: Some(convert::hook(&created.hook)), url: created.url })
        })
    }

    async fn get_hook(&self, request: Request<GetHookRequest>) -> Answer<GetHookResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let hook = self.app.hook(team, hook_id(&request.into_inner().hook_id)?).await?;
            Ok(GetHookResponse { hook: Some(convert::hook(&hook)) })
        })
    }

    async fn list_hooks(&self, request: Request<ListHooksRequest>) -> Answer<ListHooksResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let list = format!("hooks {}", request.project);
            let after = page::after(&list, &request.page_token)?;
            let project = project_ref(&request.project)?;
            let page = self.app.list_hooks(team, &project, after, page::size(request.page_size)?).await?;
            Ok(ListHooksResponse {
                next_page_token: page::next(&list, page.items.last().map(|hook| hook.id), page.more),
                hooks: page.items.iter().map(convert::hook).collect(),
            })
        })
    }

    async fn update_hook(&self, request: Request<UpdateHookRequest>) -> Answer<UpdateHookResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let request = request.into_inner();
            let changes = update::hook(request.changes, request.update_mask)?;
            let hook = self.app.update_hook(team, hook_id(&request.hook_id)?, changes).await?;
            Ok(UpdateHookResponse { hook: Some(convert::hook(&hook)) })
        })
    }

    async fn rotate_hook_token(
        &self,
        request: Request<RotateHookTokenRequest>,
    ) -> Answer<RotateHookTokenResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let request = request.into_inner();
            let grace = update::grace(request.grace_seconds)?;
            let expected = update::expected_token(&request.expected_token_id)?;
            let rotated = self.app.rotate_token(team, hook_id(&request.hook_id)?, grace, expected).await?;
            Ok(RotateHookTokenResponse { hook: Some(convert::hook(&rotated.hook)), url: rotated.url })
        })
    }

    async fn revoke_hook(&self, request: Request<RevokeHookRequest>) -> Answer<RevokeHookResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            self.app.revoke_hook(team, hook_id(&request.into_inner().hook_id)?).await?;
            Ok(RevokeHookResponse {})
        })
    }

    async fn get_limits(&self, request: Request<GetLimitsRequest>) -> Answer<GetLimitsResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let (plan, limit, used) =
                self.app.limits(team, &project_ref(&request.into_inner().project)?).await?;
            Ok(GetLimitsResponse { plan: plan.to_string(), hooks_limit: limit, hooks_used: used })
        })
    }

    async fn trigger_hook(&self, request: Request<TriggerHookRequest>) -> Answer<TriggerHookResponse> {
        answer!({
            let triggering = self.auth.triggering(&request).await?;
            let request = request.into_inner();
            let target = trigger_target(triggering, request.target.clone())?;
            let answered = self.app.trigger_hook(target, brought(triggering, request)).await?;
            Ok(match answered {
                Answered::Job(deployment, decision) => TriggerHookResponse {
                    deployment: Some(convert::deployment(&deployment, &self.app.addresses)),
                    decision: decision_to_wire(decision).into(),
                    status_token: self.app.status_token(deployment.id).await?,
                },
                Answered::Ignored => TriggerHookResponse {
                    decision: TriggerDecision::PrefetchIgnored.into(),
                    ..TriggerHookResponse::default()
                },
            })
        })
    }

    async fn list_triggers(&self, request: Request<ListTriggersRequest>) -> Answer<ListTriggersResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let project = project_ref(&request.project)?;
            let Asked { list, filter } = lists::triggers(&request)?;
            let after = page::after(&list, &request.page_token)?;
            let size = page::size(request.page_size)?;
            let page = self.app.list_triggers(team, &project, filter, after, size).await?;
            Ok(ListTriggersResponse {
                next_page_token: page::next(&list, page.items.last().map(|it| it.id), page.more),
                triggers: page.items.iter().map(convert::trigger).collect(),
            })
        })
    }

    async fn trigger_deployment(
        &self,
        request: Request<TriggerDeploymentRequest>,
    ) -> Answer<TriggerDeploymentResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Deploy).await?;
            let request = request.into_inner();
            let project = project_ref(&request.project)?;
            let deployment = self.app.deploy(team, &project, deployment_request(request)?).await?;
            Ok(TriggerDeploymentResponse {
                deployment: Some(convert::deployment(&deployment, &self.app.addresses)),
            })
        })
    }

    async fn get_deployment(&self, request: Request<GetDeploymentRequest>) -> Answer<GetDeploymentResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let deployment =
                self.app.deployment(team, deployment_id(&request.into_inner().deployment_id)?).await?;
            let told = self.app.commit_status(deployment.id).await?;
            let deployment = Deployment {
                commit_status: told.map(convert::commit_status),
                ..convert::deployment(&deployment, &self.app.addresses)
            };
            Ok(GetDeploymentResponse { deployment: Some(deployment) })
        })
    }

    async fn list_deployments(
        &self,
        request: Request<ListDeploymentsRequest>,
    ) -> Answer<ListDeploymentsResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let project = lists::one_or_all(&request.project)?;
            let Asked { list, filter } = lists::deployments(&request)?;
            let after = page::after(&list, &request.page_token)?;
            let size = page::size(request.page_size)?;
            let page = self.app.list_deployments(team, project.as_ref(), filter, after, size).await?;
            Ok(ListDeploymentsResponse {
                next_page_token: page::next(
                    &list,
                    page.items.last().map(|deployment| deployment.id),
                    page.more,
                ),
                deployments: page
                    .items
                    .iter()
                    .map(|it| convert::deployment(it, &self.app.addresses))
                    .collect(),
            })
        })
    }

    async fn cancel_deployment(
        &self,
        request: Request<CancelDeploymentRequest>,
    ) -> Answer<CancelDeploymentResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Deploy).await?;
            let id = deployment_id(&request.into_inner().deployment_id)?;
            let deployment = self.app.cancel_deployment(team, id).await?;
            Ok(CancelDeploymentResponse {
                deployment: Some(convert::deployment(&deployment, &self.app.addresses)),
            })
        })
    }

    async fn delete_deployment(
        &self,
        request: Request<DeleteDeploymentRequest>,
    ) -> Answer<DeleteDeploymentResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            self.app.delete_deployment(team, deployment_id(&request.into_inner().deployment_id)?).await?;
            Ok(DeleteDeploymentResponse {})
        })
    }

    type WatchDeploymentsStream = Messages<WatchDeploymentsResponse>;

    async fn watch_deployments(
        &self,
        request: Request<WatchDeploymentsRequest>,
    ) -> Answer<Self::WatchDeploymentsStream> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let watcher = Watcher::of(&request, &self.auth, &self.stopping);
            let project = lists::one_or_all(&request.into_inner().project)?;
            let changes = self.app.watch_deployments(team, project.as_ref()).await?;
            Ok(watcher.told(watching::changes(changes, self.app.addresses.clone())))
        })
    }

    type WatchDeploymentStream = Messages<WatchDeploymentResponse>;

    async fn watch_deployment(
        &self,
        request: Request<WatchDeploymentRequest>,
    ) -> Answer<Self::WatchDeploymentStream> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let watcher = Watcher::of(&request, &self.auth, &self.stopping);
            let request = request.into_inner();
            let id = deployment_id(&request.deployment_id)?;
            let part = Part {
                after: request.after_position,
                log: !request.without_log,
                follow: !request.history_only,
            };
            let events = self.app.watch_deployment(team, id, part).await?;
            Ok(watcher.told(watching::history(events)))
        })
    }

    async fn list_caches(&self, request: Request<ListCachesRequest>) -> Answer<ListCachesResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let caches = self.app.list_caches(team, &project_ref(&request.into_inner().project)?).await?;
            Ok(ListCachesResponse { caches: caches.into_iter().map(convert::build_cache).collect() })
        })
    }

    async fn purge_cache(&self, request: Request<PurgeCacheRequest>) -> Answer<PurgeCacheResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let PurgeCacheRequest { project, branch } = request.into_inner();
            let branch = update::branch_or_all(&branch)?;
            let purged = self.app.purge_cache(team, &project_ref(&project)?, branch.as_ref()).await?;
            Ok(PurgeCacheResponse { purged: purged.into_iter().map(convert::purged_caches).collect() })
        })
    }
}
