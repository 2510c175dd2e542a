//! What requests ask for, read into what the use cases take.

use grapnel_domain::{
    BranchName, Error, RepositoryUrl,
    hook::Methods,
    scope::Scope,
    secret_token::HookToken,
    trigger::{DEFAULT_MAX_WAIT, Waiting},
};
use grapnel_proto::{
    convert::{Violations, build, checked, project::settings_from_wire, time::datetime},
    hooks::v1::*,
};

use crate::{
    app::{Brought, NewHook, NewProject, TriggerTarget},
    grpc::{auth::Triggering, convert::hook_id, update},
    model::DeploymentRequest,
};

/// The most characters that a build is called by.
const TITLE_LIMIT: usize = 200;

/// Root inside a sandbox is for an admin to allow; everything else of a project is for whoever writes.
pub fn scope_to_set(settings: Option<&BuildSettings>) -> Scope {
    if settings.is_some_and(|settings| settings.run_as_root) { Scope::Admin } else { Scope::Write }
}

/// Reads what a project is made of.
pub fn new_project(request: CreateProjectRequest) -> Result<NewProject, Error> {
    let mut violations = Violations::default();
    let name = violations.check("name", request.name.parse());
    let repository = violations.check("repository_url", RepositoryUrl::parse(&request.repository_url));
    let branch = violations.check("production_branch", update::branch_or_main(&request.production_branch));
    let settings = settings_from_wire("settings", request.settings, &mut violations);
    violations.finish()?;
    Ok(NewProject {
        name: checked(name)?,
        repository: checked(repository)?,
        production_branch: checked(branch)?,
        settings,
    })
}

/// Reads what a hook is made of.
pub fn new_hook(request: &CreateHookRequest) -> Result<NewHook, Error> {
    let mut violations = Violations::default();
    let name = violations.check("name", request.name.parse());
    let branch = match request.branch.as_str() {
        "" => None,
        text => violations.check("branch", BranchName::parse(text)),
    };
    let quiet_period = violations.check("quiet_period_ms", update::wait(request.quiet_period_ms));
    let max_wait = request.max_wait_ms.map(|wait| violations.check("max_wait_ms", update::wait(wait)));
    let methods = match request.methods.as_slice() {
        [] => Some(Methods::default()),
        names => violations.check("methods", update::methods(names)),
    };
    let created_at = datetime(request.created_at.as_ref());
    if request.created_at.is_some() && created_at.is_none() {
        violations.add("created_at", "is no time that the calendar has");
    }
    violations.finish()?;
    let waiting = Waiting {
        quiet_period: checked(quiet_period)?,
        max_wait: max_wait.map(checked).transpose()?.unwrap_or(DEFAULT_MAX_WAIT),
    };
    Ok(NewHook {
        name: checked(name)?,
        branch,
        build_cache: request.build_cache,
        waiting,
        methods: checked(methods)?,
        created_at,
    })
}

/// Reads what a trigger brings along. How a request came over HTTP is believed of gateways alone.
pub fn brought(triggering: Triggering, request: TriggerHookRequest) -> Brought {
    let origin = match triggering {
        Triggering::Gateway => request.origin.unwrap_or_default(),
        Triggering::Team(_) => HttpOrigin {
            method: "gRPC".to_owned(),
            body_bytes: request.body.len() as u64,
            ..HttpOrigin::default()
        },
    };
    let commit = Some(request.commit).filter(|commit| !commit.is_empty());
    let malformed = commit.clone().and_then(|text| build::commit(text).err());
    let refusal = Some(origin.refusal).filter(|refusal| !refusal.is_empty());
    let refusal = refusal.or(malformed.map(|error| format!("`ref` {error}")));
    Brought {
        build_cache: request.build_cache,
        method: origin.method,
        client_address: origin.client_address,
        user_agent: origin.user_agent,
        title: request.title,
        body: request.body,
        body_bytes: origin.body_bytes,
        commit: commit.filter(|_| refusal.is_none()),
        idempotency_key: request.idempotency_key,
        prefetch: origin.prefetch,
        refusal,
    }
}

/// Reads which hook is triggered.
pub fn trigger_target(
    triggering: Triggering,
    target: Option<trigger_hook_request::Target>,
) -> Result<TriggerTarget, Error> {
    use trigger_hook_request::Target;
    match (target, triggering) {
        (Some(Target::HookId(id)), Triggering::Team(team)) => {
            Ok(TriggerTarget::Hook { team, hook: hook_id(&id)? })
        }
        (Some(Target::HookId(_)), Triggering::Gateway) => {
            Err(Error::invalid_field("address", "a gateway names hooks by their address"))
        }
        (Some(Target::Address(address)), triggering) => {
            let team = match triggering {
                Triggering::Team(team) => Some(team),
                Triggering::Gateway => None,
            };
            // A malformed token is a token that no hook has.
            let project = address.project_id.parse().map_err(|_| crate::app::unknown_hook())?;
            let token = HookToken::parse(&address.token).map_err(|_| crate::app::unknown_hook())?;
            Ok(TriggerTarget::Address { team, project, token })
        }
        (None, _) => Err(Error::invalid_field("target", "must be a hook's id or its address")),
    }
}

/// Reads what is deployed without a hook.
pub fn deployment_request(request: TriggerDeploymentRequest) -> Result<DeploymentRequest, Error> {
    let mut violations = Violations::default();
    let branch = match request.branch.as_str() {
        "" => None,
        text => violations.check("branch", BranchName::parse(text)),
    };
    let commit = match request.commit {
        text if text.is_empty() => None,
        text => violations.check("commit", build::commit(text)),
    };
    if request.title.chars().count() > TITLE_LIMIT {
        violations.add("title", format!("must have at most {TITLE_LIMIT} characters"));
    }
    violations.finish()?;
    Ok(DeploymentRequest {
        branch,
        build_cache: request.build_cache.unwrap_or(true),
        commit,
        title: request.title,
    })
}
