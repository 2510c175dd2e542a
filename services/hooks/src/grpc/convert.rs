//! From records to messages, and from what requests name to what the use cases know.

use std::time::Duration;

use grapnel_domain::{
    Error, Reason,
    id::{DeploymentId, HookId},
};
use grapnel_proto::{
    convert::{
        deployment::{cancellation_to_wire, failure_to_wire, state_to_wire},
        project::settings_to_wire,
        status::{git_host_to_wire, report_state_to_wire},
        time::timestamp,
        trigger::decision_to_wire,
    },
    error::to_status,
    hooks::v1 as wire,
};
use tonic::Status;

use crate::{
    app::Addresses,
    model::{
        BuildCache, CommitStatus, Deployment, Hook, Key, Project, PurgedCaches, StatusMode, StatusPlan,
        TokenFrom, Trigger,
    },
    store::projects::ProjectRef,
};

/// Writes a build cache.
pub fn build_cache(cache: BuildCache) -> wire::BuildCache {
    wire::BuildCache {
        executor: cache.executor,
        key: cache.key,
        branch: cache.branch,
        root_directory: cache.root_directory,
        builder_image: cache.builder_image,
        generation: cache.generation,
        layers: cache.layers,
        bytes: cache.bytes,
        made_at: cache.made_at.map(timestamp),
        used_at: cache.used_at.map(timestamp),
        shared: cache.shared,
    }
}

/// Writes what an executor has dropped.
pub fn purged_caches(purged: PurgedCaches) -> wire::PurgedCaches {
    let PurgedCaches { executor, count, bytes } = purged;
    wire::PurgedCaches { executor, count, bytes }
}

/// Turns an error into an answer. What is our own fault is logged here, with its causes, and only here.
#[expect(clippy::needless_pass_by_value, reason = "it ends an error, as `map_err` wants it")]
pub fn refuse(error: Error) -> Status {
    if matches!(error.reason, Reason::Internal | Reason::StoreUnavailable) {
        let mut causes = String::new();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            causes += &format!(": {cause}");
            source = cause.source();
        }
        tracing::error!(reason = %error.reason, "a call failed{causes}");
    }
    to_status(&error)
}

/// Reads how a request names a project. What is neither an id nor a name names none.
pub fn project_ref(text: &str) -> Result<ProjectRef, Error> {
    if let Ok(id) = text.parse() {
        return Ok(ProjectRef::Id(id));
    }
    match text.parse() {
        Ok(name) => Ok(ProjectRef::Name(name)),
        Err(_) if text.is_empty() => {
            Err(Error::invalid_field("project", "must be the id or the name of a project"))
        }
        Err(_) => Err(Error::new(Reason::ProjectNotFound, "there is no such project")),
    }
}

/// Reads a hook's id. What is none names no hook.
pub fn hook_id(text: &str) -> Result<HookId, Error> {
    text.parse().map_err(|_| Error::new(Reason::HookNotFound, "there is no such hook"))
}

/// Reads a deployment's id. What is none names no deployment.
pub fn deployment_id(text: &str) -> Result<DeploymentId, Error> {
    text.parse().map_err(|_| Error::new(Reason::DeploymentNotFound, "there is no such deployment"))
}

pub fn project(project: &Project, addresses: &Addresses) -> wire::Project {
    wire::Project {
        id: project.id.to_string(),
        name: project.name.to_string(),
        repository_url: project.repository.to_string(),
        production_branch: project.production_branch.to_string(),
        settings: Some(settings_to_wire(&project.settings)),
        created_at: Some(timestamp(project.created_at)),
        updated_at: Some(timestamp(project.updated_at)),
        site_url: addresses.site_url(&project.name),
    }
}

pub fn hook(hook: &Hook) -> wire::Hook {
    let tokens = hook.tokens.iter().map(|token| wire::HookToken {
        id: token.id.to_string(),
        last_four: token.last_four.clone(),
        created_at: Some(timestamp(token.created_at)),
        expires_at: token.expires_at.map(timestamp),
        last_used_at: token.last_used_at.map(timestamp),
        use_count: token.use_count,
    });
    wire::Hook {
        id: hook.id.to_string(),
        project_id: hook.project_id.to_string(),
        name: hook.name.to_string(),
        branch: hook.branch.to_string(),
        paused: hook.paused,
        build_cache: hook.build_cache,
        tokens: tokens.collect(),
        created_at: Some(timestamp(hook.created_at)),
        updated_at: Some(timestamp(hook.updated_at)),
        quiet_period_ms: milliseconds(hook.waiting.quiet_period),
        max_wait_ms: milliseconds(hook.waiting.max_wait),
        methods: hook.methods.names().into_iter().map(str::to_owned).collect(),
        last_triggered_at: hook.last_triggered_at.map(timestamp),
        trigger_count: hook.trigger_count,
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

pub fn trigger(trigger: &Trigger) -> wire::Trigger {
    let request = trigger.request.clone();
    let text = |id: Option<String>| id.unwrap_or_default();
    wire::Trigger {
        id: trigger.id.to_string(),
        at: Some(timestamp(trigger.at)),
        project_id: trigger.project_id.to_string(),
        hook_id: text(trigger.hook.map(|id| id.to_string())),
        token_id: text(trigger.token.map(|id| id.to_string())),
        method: request.method,
        client_address: request.client_address,
        user_agent: request.user_agent,
        body_bytes: request.body_bytes,
        body_digest: request.body_digest,
        title: request.title,
        decision: decision_to_wire(trigger.decision).into(),
        reason: trigger.reason.clone(),
        deployment_id: text(trigger.deployment.map(|id| id.to_string())),
    }
}

/// Shows what whoever may read a state may know.
pub fn status(deployment: &Deployment, addresses: &Addresses) -> wire::Deployment {
    let whole = self::deployment(deployment, addresses);
    wire::Deployment {
        id: whole.id,
        state: whole.state,
        failure: whole.failure,
        cancellation: whole.cancellation,
        created_at: whole.created_at,
        queued_at: whole.queued_at,
        building_at: whole.building_at,
        finished_at: whole.finished_at,
        site_url: whole.site_url,
        ..wire::Deployment::default()
    }
}

pub fn key(key: &Key) -> wire::Key {
    wire::Key {
        id: key.id.to_string(),
        name: key.name.clone(),
        scopes: key.scopes.iter().map(|scope| scope.to_string()).collect(),
        last_four: key.last_four.clone(),
        created_at: Some(timestamp(key.created_at)),
    }
}

pub fn deployment(deployment: &Deployment, addresses: &Addresses) -> wire::Deployment {
    let (hook_id, hook_name) =
        deployment.hook.as_ref().map(|(id, name)| (id.to_string(), name.to_string())).unwrap_or_default();
    let artifact = deployment.artifact.map(|(files, bytes)| wire::Artifact { files, bytes });
    let served = artifact.filter(|_| deployment.artifact_removed_at.is_none());
    wire::Deployment {
        id: deployment.id.to_string(),
        project_id: deployment.project_id.to_string(),
        hook_id,
        hook_name,
        branch: deployment.branch.to_string(),
        commit: deployment.commit.clone().unwrap_or_default(),
        commit_message: deployment.commit_message.lines().next().unwrap_or_default().to_owned(),
        state: state_to_wire(deployment.state).into(),
        failure: deployment.failure.as_ref().map(failure_to_wire),
        cancellation: deployment.canceled.map(cancellation_to_wire),
        attempt: deployment.attempt,
        build_cache: deployment.use_cache,
        trigger_count: deployment.trigger_count,
        cancel_requested: deployment.cancel_requested.is_some(),
        created_at: Some(timestamp(deployment.created_at)),
        queued_at: deployment.queued_at.map(timestamp),
        building_at: deployment.building_at.map(timestamp),
        finished_at: deployment.finished_at.map(timestamp),
        site_url: served.map(|_| addresses.site_url(deployment.id)).unwrap_or_default(),
        artifact,
        promoted: deployment.promoted,
        title: deployment.title.clone(),
        commit_status: None,
        executor: deployment.executor.clone().unwrap_or_default(),
        log_removed_at: deployment.log_removed_at.map(timestamp),
        artifact_removed_at: deployment.artifact_removed_at.map(timestamp),
        last_position: deployment.last_position,
    }
}

/// Writes what is told of a deployment.
pub fn commit_status(status: CommitStatus) -> wire::CommitStatus {
    wire::CommitStatus {
        context: status.context,
        state: report_state_to_wire(status.report.state).into(),
        description: status.report.description,
        delivered: status.delivered,
        tries: status.tries,
        last_error: status.last_error,
        gave_up: status.gave_up,
        next_try_at: status.next_try_at.map(timestamp),
        updated_at: Some(timestamp(status.updated_at)),
        overtaken: status.overtaken,
    }
}

/// Writes what is told of a project, without what opens its host.
pub fn commit_statuses(plan: &StatusPlan) -> wire::CommitStatuses {
    let mode = match plan.mode {
        StatusMode::Off => wire::CommitStatusMode::Off,
        StatusMode::Automatic => wire::CommitStatusMode::Automatic,
        StatusMode::ByHand => wire::CommitStatusMode::ByHand,
    };
    let (source, last_four) = match &plan.token {
        None => (wire::StatusTokenSource::Unspecified, String::new()),
        Some(TokenFrom::Given { last_four }) => (wire::StatusTokenSource::Given, last_four.clone()),
        Some(TokenFrom::Credential) => (wire::StatusTokenSource::Credential, String::new()),
    };
    let host = plan.host.as_ref();
    wire::CommitStatuses {
        mode: mode.into(),
        host: host.map_or(wire::GitHost::Unspecified, |(host, _)| git_host_to_wire(*host)).into(),
        api_base: host.map(|(_, base)| base.to_string()).unwrap_or_default(),
        repository: plan.repository.clone().unwrap_or_default(),
        token_source: source.into(),
        token_last_four: last_four,
        silent_because: plan.silence().map(|silence| silence.to_string()).unwrap_or_default(),
    }
}
