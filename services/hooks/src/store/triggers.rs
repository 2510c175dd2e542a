//! What a trigger stores: its row of the ledger, and the deployment that answers it, in one transaction, which it shares with
//! those that come with it (`trigger_batches`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::{CancelReason, State},
    hook::token_is_live,
    id::{DeploymentId, HookId, ProjectId, TeamId, TriggerId},
    secret_token::SecretHash,
    trigger::{Decision, Fate, REPLAY_WINDOW, Standing, decide, when_stored},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    TransactionTrait as _,
};

use super::{
    Store, StoreError,
    deleting::visible,
    deployments::NewDeployment,
    entity::{deployment, hook, hook_token, project, trigger},
    ledger, rows, transitions,
    trigger_batches::{Gathered, Waiting},
};
use crate::model::{Deployment, Hook, Project, TriggerRequest};

/// How a trigger names its hook.
#[derive(Clone, Debug)]
pub enum Named {
    /// By id, with a team's key.
    Hook {
        /// The team of the key.
        team: TeamId,
        /// The hook.
        hook: HookId,
    },
    /// By what stands in its URL; `team` narrows it down to one team's hooks.
    Address {
        /// The team, where the caller is one.
        team: Option<TeamId>,
        /// The project.
        project: ProjectId,
        /// The token's hash.
        token: SecretHash,
    },
}

/// A trigger that came.
#[derive(Clone, Debug)]
pub struct NewTrigger {
    /// The id of its row.
    pub id: TriggerId,
    /// The id of the deployment that it may come to.
    pub deployment: DeploymentId,
    /// When it came.
    pub at: DateTime<Utc>,
    /// Whether the build gets a cache, where the trigger says so.
    pub build_cache: Option<bool>,
    /// What it looked like.
    pub request: TriggerRequest,
    /// The body, as much as is kept of it.
    pub body: Vec<u8>,
    /// The commit that it asks for.
    pub wanted_commit: Option<String>,
    /// The hash of its idempotency key.
    pub idempotency_key: Option<String>,
    /// Whether it was sent ahead of a person.
    pub prefetch: bool,
    /// What is wrong with what it asks for, in words.
    pub refusal: Option<String>,
}

/// What a trigger came to.
#[derive(Clone, Debug)]
pub struct Triggered {
    /// The decision.
    pub decision: Decision,
    /// Why, in words; empty where the decision says it all.
    pub reason: String,
    /// The deployment that answers it.
    pub deployment: Option<Deployment>,
    /// When to come back, where there were too many.
    pub retry_after: Option<Duration>,
    /// Whether it is the method that was refused.
    pub method_refused: bool,
}

impl Store {
    /// Finds the hook that a trigger names, with its project; `None` where it or the token does not work any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn named_hook(
        &self,
        named: &Named,
        now: DateTime<Utc>,
    ) -> Result<Option<(Hook, Project)>, StoreError> {
        let transaction = self.reader.begin().await?;
        let works = |(hook, token): &(hook::Model, Option<hook_token::Model>)| {
            let expires_at = token.as_ref().and_then(|token| token.expires_at);
            hook.revoked_at.is_none() && !hook.paused && token_is_live(expires_at, now)
        };
        let Some((hook, _)) = find(&transaction, named).await?.filter(works) else {
            return Ok(None);
        };
        let project = project::Entity::find_by_id(&hook.project_id).one(&transaction).await?;
        match project {
            Some(project) => Ok(Some((rows::hook(&hook, Vec::new())?, rows::project(&project)?))),
            None => Ok(None),
        }
    }
}

/// Decides on a trigger and stores what follows from it. `None` where there is no such project, or no such hook of
/// the team's: nothing is stored then.
pub(super) async fn store_trigger(
    transaction: &DatabaseTransaction,
    waiting: &Waiting,
    gathered: &mut Gathered,
) -> Result<Option<Triggered>, StoreError> {
    let Waiting { named, new, .. } = waiting;
    let Some((hook, token)) = find(transaction, named).await? else {
        return unknown(transaction, waiting, gathered).await;
    };
    let record = rows::hook(&hook, Vec::new())?;
    let pending = pending(transaction, record.id).await?;
    let replayed = replayed(transaction, &hook.id, new).await?;
    let method_refused = !record.methods.take(&new.request.method);
    let mut standing = Standing {
        revoked: hook.revoked_at.is_some(),
        paused: hook.paused,
        token_expires_at: token.as_ref().and_then(|token| token.expires_at),
        refused: method_refused || new.refusal.is_some(),
        prefetch: new.prefetch,
        replayed: replayed.is_some(),
        limited: false,
        has_pending: !pending.is_empty(),
    };
    // Only what would deploy counts: whoever looks ahead, or repeats itself, uses nothing up.
    let would_deploy = decide(standing, new.at) == Decision::Accepted;
    let limited = if would_deploy { waiting.too_many(Some(record.id)) } else { None };
    standing.limited = limited.is_some();
    let decision = decide(standing, new.at);
    let mut done = carry_out(transaction, decision, &record, &pending, new).await?;
    match done.decision {
        Decision::Replayed => done.deployment = replayed,
        Decision::Refused if method_refused => {
            done.reason = format!("the hook does not take {}", new.request.method);
        }
        _ => {}
    }
    let token_id = token.as_ref().map(|token| token.id.clone());
    gathered.used(&hook.id, token_id.as_deref(), new.at);
    let id = done.deployment.as_ref().map(|deployment| deployment.id.to_string());
    let row = ledger::row(&hook.team_id, &hook.project_id, new, done.decision, &done.reason);
    gathered.rows.push(trigger::Model { hook_id: Some(hook.id), token_id, deployment_id: id, ..row });
    let Done { decision, reason, deployment, changed } = done;
    gathered.changed.extend(changed);
    let retry_after = limited.filter(|_| decision == Decision::RateLimited);
    Ok(Some(Triggered { decision, reason, deployment, retry_after, method_refused }))
}

/// A token that no hook of the project has. The ledger of an existing project knows of it.
async fn unknown(
    transaction: &DatabaseTransaction,
    waiting: &Waiting,
    gathered: &mut Gathered,
) -> Result<Option<Triggered>, StoreError> {
    let Named::Address { team, project, .. } = &waiting.named else {
        return Ok(None);
    };
    let found = project::Entity::find_by_id(project.to_string())
        .filter(project::Column::DeletedAt.is_null())
        .one(transaction)
        .await?;
    let Some(found) = found.filter(|it| team.is_none_or(|team| it.team_id == team.to_string())) else {
        return Ok(None);
    };
    let retry_after = waiting.too_many(None);
    let decision = if retry_after.is_some() { Decision::RateLimited } else { Decision::UnknownToken };
    gathered.rows.push(ledger::row(&found.team_id, &found.id, &waiting.new, decision, ""));
    Ok(Some(Triggered {
        decision,
        reason: String::new(),
        deployment: None,
        retry_after,
        method_refused: false,
    }))
}

/// Finds the hook, with the token that was used. The hook's row is the lock that puts its triggers in order.
async fn find(
    transaction: &DatabaseTransaction,
    named: &Named,
) -> Result<Option<(hook::Model, Option<hook_token::Model>)>, StoreError> {
    let (query, token) = match named {
        Named::Hook { team, hook } => {
            let query =
                hook::Entity::find_by_id(hook.to_string()).filter(hook::Column::TeamId.eq(team.to_string()));
            (query, None)
        }
        Named::Address { team, project, token } => {
            let token = hook_token::Entity::find()
                .filter(hook_token::Column::Hash.eq(token.as_str()))
                .one(transaction)
                .await?;
            let Some(token) = token else {
                return Ok(None);
            };
            let mut query = hook::Entity::find_by_id(&token.hook_id)
                .filter(hook::Column::ProjectId.eq(project.to_string()));
            if let Some(team) = team {
                query = query.filter(hook::Column::TeamId.eq(team.to_string()));
            }
            (query, Some(token))
        }
    };
    let hook = query.lock_exclusive().one(transaction).await?;
    Ok(hook.map(|hook| (hook, token)))
}

/// The hook's deployments that wait for their version, the newest first. There is one at most, by the rules below.
async fn pending(
    transaction: &DatabaseTransaction,
    hook: HookId,
) -> Result<Vec<deployment::Model>, StoreError> {
    let found = deployment::Entity::find()
        .filter(deployment::Column::HookId.eq(hook.to_string()))
        .filter(deployment::Column::State.eq(State::Pending.as_str()))
        .filter(deployment::Column::FinishedAt.is_null())
        .order_by_desc(deployment::Column::Id)
        .lock_exclusive()
        .all(transaction)
        .await?;
    Ok(found)
}

async fn replayed(
    transaction: &DatabaseTransaction,
    hook: &str,
    new: &NewTrigger,
) -> Result<Option<Deployment>, StoreError> {
    let Some(key) = &new.idempotency_key else {
        return Ok(None);
    };
    let seen = trigger::Entity::find()
        .filter(trigger::Column::HookId.eq(hook))
        .filter(trigger::Column::IdempotencyKey.eq(key))
        .filter(trigger::Column::DeploymentId.is_not_null())
        .filter(trigger::Column::Decision.ne(Decision::Replayed.as_str()))
        .filter(trigger::Column::At.gt(new.at - REPLAY_WINDOW))
        .order_by_desc(trigger::Column::Id)
        .one(transaction)
        .await?;
    let Some(id) = seen.and_then(|seen| seen.deployment_id) else {
        return Ok(None);
    };
    // One that was deleted since answers nothing any more: the request deploys again.
    let row = deployment::Entity::find_by_id(id).filter(visible()).one(transaction).await?;
    row.map(|row| rows::deployment(row, false)).transpose()
}

/// What was done about a trigger.
struct Done {
    /// What it came to in the end.
    decision: Decision,
    reason: String,
    deployment: Option<Deployment>,
    /// The deployments that somebody may wait for.
    changed: Vec<DeploymentId>,
}

/// Does what was decided, as far as it is about deployments.
async fn carry_out(
    transaction: &DatabaseTransaction,
    decision: Decision,
    hook: &Hook,
    pending: &[deployment::Model],
    new: &NewTrigger,
) -> Result<Done, StoreError> {
    let mut changed = Vec::new();
    let (decision, reason, deployment) = match decision {
        Decision::Accepted => match accept(transaction, hook, pending, new, &mut changed).await? {
            Stored::New(deployment) => (decision, superseded(pending.len()), Some(*deployment)),
            Stored::Answered(deployment) => {
                let reason = "the waiting one has been put off for as long as the hook waits";
                (Decision::Merged, reason.to_owned(), Some(*deployment))
            }
        },
        Decision::Merged => {
            let merged = merge(transaction, hook, pending, new, &mut changed).await?;
            (decision, "over the rate limit; the waiting deployment answers it too".to_owned(), Some(merged))
        }
        Decision::Replayed => (decision, "its idempotency key was seen before".to_owned(), None),
        Decision::Refused => (decision, new.refusal.clone().unwrap_or_default(), None),
        Decision::PrefetchIgnored
        | Decision::RateLimited
        | Decision::Paused
        | Decision::Revoked
        | Decision::UnknownToken => (decision, String::new(), None),
    };
    Ok(Done { decision, reason, deployment, changed })
}

/// What an accepted trigger came to.
enum Stored {
    New(Box<Deployment>),
    Answered(Box<Deployment>),
}

/// Stores a deployment, and ends those that it takes the place of.
async fn accept(
    transaction: &DatabaseTransaction,
    hook: &Hook,
    pending: &[deployment::Model],
    new: &NewTrigger,
    changed: &mut Vec<DeploymentId>,
) -> Result<Stored, StoreError> {
    let (mut since, mut count) = (new.at, 1);
    for row in pending {
        let older = rows::deployment(row.clone(), false)?;
        match when_stored(&older.unfinished(), hook.waiting, new.at) {
            Fate::GoesOn => {}
            Fate::AnswersToo => {
                let merged = merge(transaction, hook, pending, new, changed).await?;
                return Ok(Stored::Answered(Box::new(merged)));
            }
            Fate::Superseded => {
                let reason = CancelReason::Superseded { by: new.deployment };
                transitions::cancel(transaction, row.clone(), reason, new.at).await?;
                changed.push(older.id);
                since = std::cmp::min(since, older.waiting_since);
                count += older.trigger_count;
            }
        }
    }
    let deployment = NewDeployment {
        id: new.deployment,
        team_id: hook.team_id.to_string(),
        project_id: hook.project_id.to_string(),
        hook: Some((hook.id.to_string(), hook.name.to_string())),
        branch: hook.branch.to_string(),
        use_cache: new.build_cache.unwrap_or(hook.build_cache),
        trigger_count: count,
        title: new.request.title.clone(),
        body: new.body.clone(),
        wanted_commit: new.wanted_commit.clone(),
        created_at: new.at,
        waiting_since: since,
        not_before: hook.waiting.not_before(since, new.at),
    };
    let deployment = deployment.store(transaction).await?;
    changed.push(deployment.id);
    Ok(Stored::New(Box::new(deployment)))
}

/// Lets the waiting deployment answer one trigger more. Whoever resolves its version just now has to do so again: a commit
/// may have come with this trigger.
async fn merge(
    transaction: &DatabaseTransaction,
    hook: &Hook,
    pending: &[deployment::Model],
    new: &NewTrigger,
    changed: &mut Vec<DeploymentId>,
) -> Result<Deployment, StoreError> {
    let row = pending.first().ok_or(StoreError::NotFound)?;
    let since = row.waiting_since.unwrap_or(row.created_at);
    let title =
        if new.request.title.is_empty() { row.title.clone() } else { Some(new.request.title.clone()) };
    let change = deployment::ActiveModel {
        id: Set(row.id.clone()),
        revision: Set(row.revision + 1),
        trigger_count: Set(row.trigger_count + 1),
        use_cache: Set(new.build_cache.unwrap_or(row.use_cache)),
        title: Set(title),
        body: Set(Some(new.body.clone()).filter(|body| !body.is_empty())),
        wanted_commit: Set(new.wanted_commit.clone()),
        not_before: Set(hook.waiting.not_before(since, new.at)),
        lease_owner: Set(None),
        lease_expires_at: Set(None),
        ..Default::default()
    };
    let row = deployment::Entity::update(change).exec(transaction).await?;
    let merged = rows::deployment(row, false)?;
    changed.push(merged.id);
    Ok(merged)
}

fn superseded(count: usize) -> String {
    if count == 0 { String::new() } else { "it takes the place of the one that waited".to_owned() }
}
