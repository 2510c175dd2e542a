//! From rows to records. A row that does not read is a fault, told with its table and never skipped.

mod sources;

use std::{fmt::Display, str::FromStr, time::Duration};

use grapnel_domain::{
    BranchName, RepositoryUrl,
    commit_status::Report,
    hook::Methods,
    scope::Scopes,
    trigger::{Unfinished, Waiting},
};
use serde::{Serialize, de::DeserializeOwned};
pub use sources::{credential, credential_row, trusted_host, variable};

use super::{StoreError, entity::*};
use crate::model::{
    Address, ClaimedStatus, CommitStatus, Deployment, Hook, Key, Project, Session, StoredEvent, Team, Token,
    Trigger, TriggerRequest,
};

pub fn parse<T>(table: &'static str, text: &str) -> Result<T, StoreError>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|error: T::Err| StoreError::Row { table, what: format!("`{text}`: {error}") })
}

pub fn from_json<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Row { table, what: error.to_string() })
}

pub fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Row { table: "json", what: error.to_string() })
}

pub fn branch(table: &'static str, text: &str) -> Result<BranchName, StoreError> {
    BranchName::parse(text).map_err(|error| StoreError::Row { table, what: error.to_string() })
}

pub fn number<T: TryFrom<i64>>(table: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Row { table, what: format!("{value} is out of range") })
}

pub fn team(row: &team::Model) -> Result<Team, StoreError> {
    Ok(Team { id: parse("team", &row.id)?, plan: parse("team", &row.plan)? })
}

pub fn key(row: api_key::Model) -> Result<Key, StoreError> {
    let scopes: Result<Scopes, _> = row.scopes.split(',').map(|scope| parse("api_key", scope)).collect();
    Ok(Key {
        id: parse("api_key", &row.id)?,
        team_id: parse("api_key", &row.team_id)?,
        name: row.name,
        scopes: scopes?,
        last_four: row.last_four,
        created_at: row.created_at,
    })
}

pub fn session(row: &session::Model) -> Result<Session, StoreError> {
    Ok(Session {
        id: parse("session", &row.id)?,
        team_id: parse("session", &row.team_id)?,
        key_id: parse("session", &row.key_id)?,
        created_at: row.created_at,
        expires_at: row.expires_at,
    })
}

pub fn project(row: &project::Model) -> Result<Project, StoreError> {
    let repository = RepositoryUrl::parse(&row.repository_url)
        .map_err(|error| StoreError::Row { table: "project", what: error.to_string() })?;
    Ok(Project {
        id: parse("project", &row.id)?,
        team_id: parse("project", &row.team_id)?,
        name: parse("project", &row.name)?,
        repository,
        production_branch: branch("project", &row.production_branch)?,
        settings: from_json("project", &row.settings)?,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub fn hook(row: &hook::Model, tokens: Vec<Token>) -> Result<Hook, StoreError> {
    Ok(Hook {
        id: parse("hook", &row.id)?,
        team_id: parse("hook", &row.team_id)?,
        project_id: parse("hook", &row.project_id)?,
        name: parse("hook", &row.name)?,
        branch: branch("hook", &row.branch)?,
        paused: row.paused,
        build_cache: row.build_cache,
        waiting: Waiting {
            quiet_period: Duration::from_millis(number("hook", row.quiet_period_ms)?),
            max_wait: Duration::from_millis(number("hook", row.max_wait_ms)?),
        },
        methods: Methods::parse(row.methods.split(','))
            .map_err(|what| StoreError::Row { table: "hook", what })?,
        last_triggered_at: row.last_triggered_at,
        trigger_count: number("hook", row.trigger_count)?,
        tokens,
        created_at: row.created_at,
        updated_at: row.updated_at,
        revoked_at: row.revoked_at,
    })
}

pub fn token(row: hook_token::Model) -> Result<Token, StoreError> {
    Ok(Token {
        id: parse("hook_token", &row.id)?,
        last_four: row.last_four,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        use_count: number("hook_token", row.use_count)?,
    })
}

pub fn trigger(row: trigger::Model) -> Result<Trigger, StoreError> {
    const TABLE: &str = "trigger";
    Ok(Trigger {
        id: parse(TABLE, &row.id)?,
        at: row.at,
        project_id: parse(TABLE, &row.project_id)?,
        hook: row.hook_id.map(|id| parse(TABLE, &id)).transpose()?,
        token: row.token_id.map(|id| parse(TABLE, &id)).transpose()?,
        request: TriggerRequest {
            method: row.method,
            client_address: row.client_address,
            user_agent: row.user_agent,
            body_bytes: number(TABLE, row.body_bytes)?,
            body_digest: row.body_digest,
            title: row.title,
        },
        decision: parse(TABLE, &row.decision)?,
        reason: row.reason,
        deployment: row.deployment_id.map(|id| parse(TABLE, &id)).transpose()?,
    })
}

pub fn deployment(row: deployment::Model, promoted: bool) -> Result<Deployment, StoreError> {
    const TABLE: &str = "deployment";
    let hook = match &row.hook_id {
        Some(id) => Some((parse(TABLE, id)?, parse(TABLE, &row.hook_name)?)),
        None => None,
    };
    let artifact = match (row.artifact_files, row.artifact_bytes) {
        (Some(files), Some(bytes)) => Some((number(TABLE, files)?, number(TABLE, bytes)?)),
        _ => None,
    };
    Ok(Deployment {
        id: parse(TABLE, &row.id)?,
        team_id: parse(TABLE, &row.team_id)?,
        project_id: parse(TABLE, &row.project_id)?,
        hook,
        branch: branch(TABLE, &row.branch)?,
        commit: row.commit_hash,
        commit_message: row.commit_message,
        state: parse(TABLE, &row.state)?,
        attempt: number(TABLE, row.attempt.into())?,
        executor: row.executor,
        resolve_attempts: number(TABLE, row.resolve_attempts.into())?,
        use_cache: row.use_cache,
        trigger_count: number(TABLE, row.trigger_count.into())?,
        title: row.title.unwrap_or_default(),
        waiting_since: row.waiting_since.unwrap_or(row.created_at),
        wanted_commit: row.wanted_commit,
        cancel_requested: row.cancel_requested.as_deref().map(|text| from_json(TABLE, text)).transpose()?,
        canceled: row.canceled.as_deref().map(|text| from_json(TABLE, text)).transpose()?,
        failure: row.failure.as_deref().map(|text| from_json(TABLE, text)).transpose()?,
        artifact,
        promoted,
        created_at: row.created_at,
        queued_at: row.queued_at,
        building_at: row.building_at,
        finished_at: row.finished_at,
        log_removed_at: row.log_removed_at,
        artifact_removed_at: row.artifact_removed_at,
        last_position: number(TABLE, row.last_position)?,
    })
}

/// Reads a deployment as the rules of superseding see it.
pub fn unfinished(row: &deployment::Model) -> Result<Unfinished, StoreError> {
    const TABLE: &str = "deployment";
    Ok(Unfinished {
        id: parse(TABLE, &row.id)?,
        state: parse(TABLE, &row.state)?,
        commit: row.commit_hash.clone(),
        waiting_since: row.waiting_since.unwrap_or(row.created_at),
    })
}

pub fn address(row: &branch_address::Model) -> Result<Address, StoreError> {
    const TABLE: &str = "branch_address";
    Ok(Address {
        branch: branch(TABLE, &row.branch)?,
        deployment: parse(TABLE, &row.deployment_id)?,
        held: row.held,
        updated_at: row.updated_at,
    })
}

pub fn event(row: &deployment_event::Model) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        position: number("deployment_event", row.position)?,
        at: row.at,
        event: from_json("deployment_event", &row.payload)?,
    })
}

pub fn commit_status(row: commit_status::Model, overtaken: bool) -> Result<CommitStatus, StoreError> {
    const TABLE: &str = "commit_status";
    Ok(CommitStatus {
        context: row.context,
        report: Report { state: parse(TABLE, &row.state)?, description: row.description },
        delivered: row.delivered_revision == row.revision,
        tries: number(TABLE, row.tries.into())?,
        last_error: row.last_error,
        gave_up: row.gave_up_at.is_some(),
        next_try_at: row.next_try_at.filter(|_| !overtaken),
        overtaken,
        updated_at: row.updated_at,
    })
}

pub fn claimed_status(row: commit_status::Model) -> Result<ClaimedStatus, StoreError> {
    const TABLE: &str = "commit_status";
    let unclaimed = || StoreError::Row { table: TABLE, what: "nobody has claimed it".to_owned() };
    Ok(ClaimedStatus {
        id: parse(TABLE, &row.id)?,
        deployment: parse(TABLE, &row.deployment_id)?,
        project: parse(TABLE, &row.project_id)?,
        commit: row.commit_hash,
        context: row.context,
        report: Report { state: parse(TABLE, &row.state)?, description: row.description },
        revision: row.revision,
        tries: number(TABLE, row.tries.into())?,
        wanted_at: row.wanted_at,
        lease_owner: row.lease_owner.ok_or_else(unclaimed)?,
        lease_expires_at: row.lease_expires_at.ok_or_else(unclaimed)?,
    })
}
