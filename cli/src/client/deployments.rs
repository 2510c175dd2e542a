//! `grapnel trigger`, `grapnel deploy`, `grapnel deployment`.

use std::{collections::HashMap, io::Read as _, process::ExitCode};

use grapnel_proto::{
    convert::deployment::state_to_wire,
    hooks::v1::{
        CancelDeploymentRequest, DeleteDeploymentRequest, Deployment, GetDeploymentRequest, HookAddress,
        ListDeploymentsRequest, ListDeploymentsResponse, TriggerDeploymentRequest, TriggerHookRequest,
        trigger_hook_request::Target,
    },
};

use super::{Client, follow::Until, paged, progress::Shown};
use crate::{
    args::{BuildArgs, DeploymentCommand, ListArgs},
    exit::Failure,
    out,
};

impl Client {
    pub(super) async fn trigger(
        &mut self,
        hook: &str,
        title: String,
        build: &BuildArgs,
    ) -> Result<ExitCode, Failure> {
        let request = TriggerHookRequest {
            target: Some(target(hook)?),
            build_cache: build.no_cache.then_some(false),
            title,
            ..TriggerHookRequest::default()
        };
        let answer = self.answer(self.hooks.clone().trigger_hook(request)).await?;
        self.triggered(answer.deployment.unwrap_or_default(), build).await
    }

    pub(super) async fn deploy(
        &mut self,
        project: String,
        branch: Option<String>,
        build: &BuildArgs,
    ) -> Result<ExitCode, Failure> {
        let branch = branch.unwrap_or_default();
        let request = TriggerDeploymentRequest {
            project,
            branch,
            build_cache: build.no_cache.then_some(false),
            ..Default::default()
        };
        let answer = self.answer(self.hooks.clone().trigger_deployment(request)).await?;
        self.triggered(answer.deployment.unwrap_or_default(), build).await
    }

    pub(super) async fn deployment(&mut self, command: DeploymentCommand) -> Result<ExitCode, Failure> {
        match command {
            DeploymentCommand::List(wanted) => self.list_deployments(wanted).await?,
            DeploymentCommand::Show { deployment } => self.show(&self.read(deployment).await?)?,
            DeploymentCommand::Logs { deployment, follow } => {
                let until = if follow { Until::End } else { Until::Now };
                return self.follow(deployment, until, Shown::Log).await;
            }
            DeploymentCommand::Watch { deployment } => {
                return self.follow(deployment, Until::End, Shown::Steps).await;
            }
            DeploymentCommand::Cancel { deployment } => {
                let request = CancelDeploymentRequest { deployment_id: deployment };
                let answer = self.answer(self.hooks.clone().cancel_deployment(request)).await?;
                self.show(&answer.deployment.unwrap_or_default())?;
            }
            DeploymentCommand::Redeploy { deployment, build } => {
                return self.redeploy(deployment, &build).await;
            }
            DeploymentCommand::Promote { deployment } => return self.promote(deployment).await,
            DeploymentCommand::Delete { deployment } => {
                let request = DeleteDeploymentRequest { deployment_id: deployment };
                let answer = self.answer(self.hooks.clone().delete_deployment(request)).await?;
                self.printer.message("grapnel.hooks.v1.DeleteDeploymentResponse", &answer, |_| {
                    "deleted".to_owned()
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn list_deployments(&self, wanted: ListArgs) -> Result<(), Failure> {
        let hook_id = self.hook_of(wanted.project.as_deref(), wanted.hook).await?;
        let of_all = wanted.project.is_none();
        let filter = ListDeploymentsRequest {
            project: wanted.project.unwrap_or_default(),
            state: wanted.state.map(|state| state_to_wire(state).into()).unwrap_or_default(),
            hook_id,
            branch: wanted.branch.unwrap_or_default(),
            ..Default::default()
        };
        let (deployments, next_page_token) = paged(wanted.limit, async |page_size, page_token| {
            let request = ListDeploymentsRequest { page_size, page_token, ..filter.clone() };
            let page = self.answer(self.hooks.clone().list_deployments(request)).await?;
            Ok((page.deployments, page.next_page_token))
        })
        .await?;
        let names =
            if of_all && self.printer.for_people() { Some(self.project_names().await?) } else { None };
        let all = ListDeploymentsResponse { deployments, next_page_token };
        self.printer.message("grapnel.hooks.v1.ListDeploymentsResponse", &all, |printer| {
            printer.deployments(&all.deployments, names.as_ref())
        })?;
        self.printer.more(&all.next_page_token);
        Ok(())
    }

    async fn project_names(&self) -> Result<HashMap<String, String>, Failure> {
        let (projects, _) = self.projects(u32::MAX).await?;
        Ok(projects.into_iter().map(|project| (project.id, project.name)).collect())
    }

    async fn redeploy(&self, id: String, build: &BuildArgs) -> Result<ExitCode, Failure> {
        let before = self.read(id).await?;
        let request = TriggerDeploymentRequest {
            project: before.project_id,
            branch: before.branch,
            commit: before.commit,
            title: before.title,
            build_cache: build.no_cache.then_some(false),
        };
        let answer = self.answer(self.hooks.clone().trigger_deployment(request)).await?;
        self.triggered(answer.deployment.unwrap_or_default(), build).await
    }

    async fn triggered(&self, deployment: Deployment, build: &BuildArgs) -> Result<ExitCode, Failure> {
        if !build.wait {
            self.show(&deployment)?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.printer.for_people() {
            out::line(&deployment.id)?;
        }
        self.follow(deployment.id, Until::End, Shown::Log).await
    }

    pub(super) async fn read(&self, id: String) -> Result<Deployment, Failure> {
        let request = GetDeploymentRequest { deployment_id: id };
        Ok(self.answer(self.hooks.clone().get_deployment(request)).await?.deployment.unwrap_or_default())
    }

    pub(super) fn show(&self, deployment: &Deployment) -> Result<(), Failure> {
        self.printer
            .message("grapnel.hooks.v1.Deployment", deployment, |printer| printer.deployment(deployment))
    }
}

/// Reads how a hook was named: by id, by URL, or by a URL on standard input.
fn target(hook: &str) -> Result<Target, Failure> {
    let mut text = hook.to_owned();
    if hook == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text)?;
    }
    let text = text.trim();
    if !text.contains("://") {
        return Ok(Target::HookId(text.to_owned()));
    }
    let url = url::Url::parse(text).map_err(|_| Failure::usage("the URL cannot be read"))?;
    let segments: Vec<_> = url.path_segments().map(Iterator::collect).unwrap_or_default();
    match segments[..] {
        [.., "deploy", project, token] => {
            Ok(Target::Address(HookAddress { project_id: project.to_owned(), token: token.to_owned() }))
        }
        _ => Err(Failure::usage("the URL is none of a hook: it ends with /deploy/<project id>/<token>")),
    }
}
