//! What a trigger comes to, decided on what is known of its hook: its row of the ledger, and the deployment that answers it.
//! What it needs was read, and what follows is stored, together with those that come with it (`trigger_batches`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    hook::token_is_live,
    id::{DeploymentId, HookId, ProjectId, TeamId, TriggerId},
    secret_token::SecretHash,
    trigger::{Decision, Fate, Standing, decide, when_stored},
};
use sea_orm::{EntityTrait, TransactionTrait as _};

use super::{
    Store, StoreError,
    deployments::NewDeployment,
    entity::{project, trigger},
    ledger, rows,
    trigger_batches::Waiting,
    trigger_facts::{Facts, Hooks},
    trigger_outcome::Outcome,
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
        let hooks = Hooks::read(&transaction, &[named]).await?;
        let Some((hook, token)) = hooks.find(named) else {
            return Ok(None);
        };
        let is_live = token_is_live(token.and_then(|token| token.expires_at), now);
        if hook.revoked_at.is_some() || hook.paused || !is_live {
            return Ok(None);
        }
        let project = project::Entity::find_by_id(&hook.project_id).one(&transaction).await?;
        match project {
            Some(project) => Ok(Some((rows::hook(hook, Vec::new())?, rows::project(&project)?))),
            None => Ok(None),
        }
    }
}

/// Decides on a trigger and notes what follows from it. `None` where there is no such project, or no such hook of the
/// team's: nothing is stored then.
pub(super) fn take(
    waiting: &Waiting,
    facts: &Facts,
    outcome: &mut Outcome,
) -> Result<Option<Triggered>, StoreError> {
    let Waiting { named, new, .. } = waiting;
    let Some((row, token)) = facts.hooks.find(named) else {
        return Ok(unknown(waiting, facts, outcome));
    };
    let hook = rows::hook(row, Vec::new())?;
    let replayed = outcome.replayed(facts, &row.id, new)?;
    let method_refused = !hook.methods.take(&new.request.method);
    let mut standing = Standing {
        revoked: hook.revoked_at.is_some(),
        paused: hook.paused,
        token_expires_at: token.and_then(|token| token.expires_at),
        refused: method_refused || new.refusal.is_some(),
        prefetch: new.prefetch,
        replayed: replayed.is_some(),
        limited: false,
        has_pending: !outcome.pending(&row.id).is_empty(),
    };
    // Only what would deploy counts: whoever looks ahead, or repeats itself, uses nothing up.
    let would_deploy = decide(standing, new.at) == Decision::Accepted;
    let limited = if would_deploy { waiting.too_many(Some(hook.id)) } else { None };
    standing.limited = limited.is_some();
    let mut done = carry_out(decide(standing, new.at), &hook, new, outcome)?;
    match done.decision {
        Decision::Replayed => done.deployment = replayed,
        Decision::Refused if method_refused => {
            done.reason = format!("the hook does not take {}", new.request.method);
        }
        _ => {}
    }
    let Done { decision, reason, deployment } = done;
    let token_id = token.map(|token| token.id.clone());
    outcome.used(&row.id, token_id.as_deref(), new.at);
    outcome.record(trigger::Model {
        hook_id: Some(row.id.clone()),
        token_id,
        deployment_id: deployment.as_ref().map(|deployment| deployment.id.to_string()),
        ..ledger::row(&row.team_id, &row.project_id, new, decision, &reason)
    });
    let retry_after = limited.filter(|_| decision == Decision::RateLimited);
    Ok(Some(Triggered { decision, reason, deployment, retry_after, method_refused }))
}

/// A token that no hook of the project has. The ledger of an existing project knows of it.
fn unknown(waiting: &Waiting, facts: &Facts, outcome: &mut Outcome) -> Option<Triggered> {
    let Named::Address { team, project, .. } = &waiting.named else {
        return None;
    };
    let found = facts.project(*project)?;
    if team.is_some_and(|team| found.team_id != team.to_string()) {
        return None;
    }
    let retry_after = waiting.too_many(None);
    let decision = if retry_after.is_some() { Decision::RateLimited } else { Decision::UnknownToken };
    outcome.record(ledger::row(&found.team_id, &found.id, &waiting.new, decision, ""));
    Some(Triggered { decision, reason: String::new(), deployment: None, retry_after, method_refused: false })
}

/// What was done about a trigger.
struct Done {
    /// What it came to in the end.
    decision: Decision,
    reason: String,
    deployment: Option<Deployment>,
}

/// Does what was decided, as far as it is about deployments.
fn carry_out(
    decision: Decision,
    hook: &Hook,
    new: &NewTrigger,
    outcome: &mut Outcome,
) -> Result<Done, StoreError> {
    let done = |decision, reason: &str, deployment| Done { decision, reason: reason.to_owned(), deployment };
    Ok(match decision {
        Decision::Accepted => accept(hook, new, outcome)?,
        Decision::Merged => {
            let merged = outcome.merge(hook, new)?;
            done(decision, "over the rate limit; the waiting deployment answers it too", Some(merged))
        }
        Decision::Replayed => done(decision, "its idempotency key was seen before", None),
        Decision::Refused => done(decision, new.refusal.as_deref().unwrap_or_default(), None),
        Decision::PrefetchIgnored
        | Decision::RateLimited
        | Decision::Paused
        | Decision::Revoked
        | Decision::UnknownToken => done(decision, "", None),
    })
}

/// Notes a deployment, and ends those that it takes the place of; or lets the one that waits answer, where it has waited for
/// long enough.
fn accept(hook: &Hook, new: &NewTrigger, outcome: &mut Outcome) -> Result<Done, StoreError> {
    let pending = outcome.pending(&hook.id.to_string()).to_vec();
    let (mut superseded, mut since, mut count) = (Vec::new(), new.at, 1);
    for place in pending {
        let row = outcome.row(place);
        let older = rows::unfinished(row)?;
        match when_stored(&older, hook.waiting, new.at) {
            Fate::GoesOn => {}
            Fate::AnswersToo => {
                let reason = "the waiting one has been put off for as long as the hook waits".to_owned();
                let merged = outcome.merge(hook, new)?;
                return Ok(Done { decision: Decision::Merged, reason, deployment: Some(merged) });
            }
            Fate::Superseded => {
                since = std::cmp::min(since, older.waiting_since);
                count += rows::number::<u32>("deployment", row.trigger_count.into())?;
                superseded.push(place);
            }
        }
    }
    let reason = if superseded.is_empty() { "" } else { "it takes the place of the one that waited" };
    for place in superseded {
        outcome.supersede(place, new.deployment, new.at)?;
    }
    let deployment = NewDeployment {
        id: new.deployment.to_string(),
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
    let deployment = outcome.insert(deployment.row())?;
    Ok(Done { decision: Decision::Accepted, reason: reason.to_owned(), deployment: Some(deployment) })
}
