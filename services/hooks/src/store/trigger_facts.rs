//! What the decisions on triggers that come together depend on: read with a few statements, however many they are.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::State,
    id::ProjectId,
    trigger::{Decision, REPLAY_WINDOW},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    Select,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    StoreError,
    deleting::visible,
    deployments::NewDeployment,
    entity::{deployment, hook, hook_token, project, trigger},
    set_wise::padded,
    superseding::id_of_few,
    trigger_batches::Waiting,
    triggers::{Named, NewTrigger},
};

/// The hooks that triggers name.
pub(super) struct Hooks {
    /// Tokens, by their hashes.
    tokens: HashMap<String, hook_token::Model>,
    /// Hooks, by their ids.
    hooks: HashMap<String, hook::Model>,
}

impl Hooks {
    /// Finds hooks, and locks them in the order of their ids: two processes that store triggers at once wait for each other and
    /// not in a circle. A hook's row is the lock that puts its triggers in order.
    pub async fn read(transaction: &DatabaseTransaction, named: &[&Named]) -> Result<Self, StoreError> {
        let (mut hashes, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for named in named {
            match named {
                Named::Hook { hook, .. } => drop(ids.insert(hook.to_string())),
                Named::Address { token, .. } => drop(hashes.insert(token.as_str())),
            }
        }
        let mut found = Self { tokens: HashMap::new(), hooks: HashMap::new() };
        if !hashes.is_empty() {
            let tokens = hook_token::Entity::find().filter(hook_token::Column::Hash.is_in(padded(hashes)));
            for token in tokens.all(transaction).await? {
                ids.insert(token.hook_id.clone());
                found.tokens.insert(token.hash.clone(), token);
            }
        }
        if !ids.is_empty() {
            let hooks = hook::Entity::find()
                .filter(hook::Column::Id.is_in(padded(ids)))
                .order_by_asc(hook::Column::Id)
                .lock_exclusive();
            let hooks = hooks.all(transaction).await?;
            found.hooks = hooks.into_iter().map(|hook| (hook.id.clone(), hook)).collect();
        }
        Ok(found)
    }

    /// Finds the hook that a trigger names, with the token that was used.
    pub fn find(&self, named: &Named) -> Option<(&hook::Model, Option<&hook_token::Model>)> {
        match named {
            Named::Hook { team, hook } => {
                let hook = self.hooks.get(&hook.to_string())?;
                (hook.team_id == team.to_string()).then_some((hook, None))
            }
            Named::Address { team, project, token } => {
                let token = self.tokens.get(token.as_str())?;
                let hook = self.hooks.get(&token.hook_id)?;
                let of_team = team.is_none_or(|team| hook.team_id == team.to_string());
                (of_team && hook.project_id == project.to_string()).then_some((hook, Some(token)))
            }
        }
    }
}

/// What was stored before a batch.
pub(super) struct Facts {
    /// The hooks that are named.
    pub hooks: Hooks,
    /// Their deployments that wait for their version, the newest first. There is one of each hook at most, by the rules.
    pub pending: Vec<deployment::Model>,
    /// The projects of tokens that no hook has, by their ids.
    projects: HashMap<String, project::Model>,
    /// What answered each hook's idempotency keys.
    replays: HashMap<(String, String), Replay>,
}

/// A trigger that had an idempotency key, and the deployment that answered it.
struct Replay {
    trigger: trigger::Model,
    deployment: deployment::Model,
}

impl Facts {
    /// Reads what is known of the hooks of a batch, and locks what it may change.
    pub async fn read(transaction: &DatabaseTransaction, batch: &[Waiting]) -> Result<Self, StoreError> {
        let named: Vec<&Named> = batch.iter().map(|waiting| &waiting.named).collect();
        let hooks = Hooks::read(transaction, &named).await?;
        let pending = pending(transaction, &hooks).await?;
        let replays = replays(transaction, &hooks, batch).await?;
        let projects = projects(transaction, &hooks, &named).await?;
        Ok(Self { hooks, pending, projects, replays })
    }

    /// Returns a project that a token was tried at.
    pub fn project(&self, id: ProjectId) -> Option<&project::Model> {
        self.projects.get(&id.to_string())
    }

    /// Returns the deployment that answered an earlier trigger of a hook with the same idempotency key.
    pub fn replayed(&self, hook: &str, key: &str, new: &NewTrigger) -> Option<&deployment::Model> {
        let seen = self.replays.get(&(hook.to_owned(), key.to_owned()))?;
        (seen.trigger.at > new.at - REPLAY_WINDOW).then_some(&seen.deployment)
    }
}

async fn pending(
    transaction: &DatabaseTransaction,
    hooks: &Hooks,
) -> Result<Vec<deployment::Model>, StoreError> {
    if hooks.hooks.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Pending> =
        pending_of(hooks.hooks.keys()).lock_exclusive().into_model().all(transaction).await?;
    Ok(found.into_iter().map(Pending::row).collect())
}

/// What there is to know of a deployment that waits for its version: most columns are empty until it has one. What it brought for
/// its build is not read, as much as 64 KiB; whoever takes its place brings its own.
#[derive(FromQueryResult)]
struct Pending {
    id: String,
    team_id: String,
    project_id: String,
    hook_id: Option<String>,
    hook_name: String,
    branch: String,
    revision: i64,
    resolve_attempts: i32,
    not_before: DateTime<Utc>,
    use_cache: bool,
    trigger_count: i32,
    last_position: i64,
    created_at: DateTime<Utc>,
    waiting_since: Option<DateTime<Utc>>,
    title: Option<String>,
    wanted_commit: Option<String>,
}

impl Pending {
    const COLUMNS: [deployment::Column; 16] = {
        use deployment::Column::*;
        [
            Id,
            TeamId,
            ProjectId,
            HookId,
            HookName,
            Branch,
            Revision,
            ResolveAttempts,
            NotBefore,
            UseCache,
            TriggerCount,
            LastPosition,
            CreatedAt,
            WaitingSince,
            Title,
            WantedCommit,
        ]
    };

    fn row(self) -> deployment::Model {
        let new = NewDeployment {
            id: self.id,
            team_id: self.team_id,
            project_id: self.project_id,
            hook: self.hook_id.map(|id| (id, self.hook_name)),
            branch: self.branch,
            use_cache: self.use_cache,
            trigger_count: 1,
            title: self.title.unwrap_or_default(),
            body: Vec::new(),
            wanted_commit: self.wanted_commit,
            created_at: self.created_at,
            waiting_since: self.waiting_since.unwrap_or(self.created_at),
            not_before: self.not_before,
        };
        deployment::Model {
            revision: self.revision,
            resolve_attempts: self.resolve_attempts,
            trigger_count: self.trigger_count,
            last_position: self.last_position,
            ..new.row()
        }
    }
}

/// What waits of hooks, however much waits of others.
fn pending_of<'a>(hooks: impl IntoIterator<Item = &'a String>) -> Select<deployment::Entity> {
    deployment::Entity::find()
        .select_only()
        .columns(Pending::COLUMNS)
        .filter(deployment::Column::HookId.is_in(padded(hooks)))
        .filter(Expr::col(deployment::Column::State).if_null("").eq(State::Pending.as_str()))
        .filter(deployment::Column::FinishedAt.is_null())
        .order_by_desc(id_of_few())
}

/// The newest trigger with each key, where a deployment answered it that is still there: a request whose deployment was
/// deleted since deploys again.
async fn replays(
    transaction: &DatabaseTransaction,
    hooks: &Hooks,
    batch: &[Waiting],
) -> Result<HashMap<(String, String), Replay>, StoreError> {
    let keyed =
        batch.iter().filter_map(|waiting| Some((waiting.new.idempotency_key.clone()?, waiting.new.at)));
    let (keys, times): (BTreeSet<_>, Vec<_>) = keyed.unzip();
    let Some(earliest) = times.into_iter().min() else {
        return Ok(HashMap::new());
    };
    let seen = trigger::Entity::find()
        .filter(trigger::Column::HookId.is_in(padded(hooks.hooks.keys())))
        .filter(trigger::Column::IdempotencyKey.is_in(padded(keys)))
        .filter(trigger::Column::DeploymentId.is_not_null())
        .filter(trigger::Column::Decision.ne(Decision::Replayed.as_str()))
        .filter(trigger::Column::At.gt(earliest - REPLAY_WINDOW))
        .order_by_asc(trigger::Column::Id)
        .all(transaction)
        .await?;
    let of_key = |row: trigger::Model| Some(((row.hook_id.clone()?, row.idempotency_key.clone()?), row));
    let newest: HashMap<_, _> = seen.into_iter().filter_map(of_key).collect();
    let ids: BTreeSet<_> = newest.values().filter_map(|row| row.deployment_id.clone()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found =
        deployment::Entity::find().filter(deployment::Column::Id.is_in(padded(ids))).filter(visible());
    let found: HashMap<_, _> =
        found.all(transaction).await?.into_iter().map(|row| (row.id.clone(), row)).collect();
    let answered = newest.into_iter().filter_map(|(key, trigger)| {
        let deployment = found.get(trigger.deployment_id.as_deref()?)?.clone();
        Some((key, Replay { trigger, deployment }))
    });
    Ok(answered.collect())
}

async fn projects(
    transaction: &DatabaseTransaction,
    hooks: &Hooks,
    named: &[&Named],
) -> Result<HashMap<String, project::Model>, StoreError> {
    let unknown = named.iter().filter(|named| hooks.find(named).is_none());
    let ids: BTreeSet<_> = unknown
        .filter_map(|named| match named {
            Named::Address { project, .. } => Some(project.to_string()),
            Named::Hook { .. } => None,
        })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = project::Entity::find()
        .filter(project::Column::Id.is_in(padded(ids)))
        .filter(project::Column::DeletedAt.is_null())
        .all(transaction)
        .await?;
    Ok(found.into_iter().map(|row| (row.id.clone(), row)).collect())
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait as _, DbBackend, QueryTrait as _, Statement};

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn what_waits_of_a_hook_is_found_however_much_there_is_of_it_and_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/grapnel.db", directory.path().display());
        let store = Store::open(&url).await.unwrap();
        for hooks in [1, 2, 100] {
            let hooks: Vec<String> = (0..hooks).map(|n| format!("hook_{n}")).collect();
            let Statement { sql, values, .. } = pending_of(&hooks).build(DbBackend::Sqlite);
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let explain = Statement { sql, values, db_backend: DbBackend::Sqlite };
            let rows = store.reader.query_all_raw(explain).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            assert!(plan[0].contains("INDEX deployment_hook_unfinished (hook_id=?)"), "{plan:#?}");
        }
    }
}
