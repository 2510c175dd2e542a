//! Hooks, their tokens, and what a trigger stores.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::{CancelReason, State},
    hook::{MAX_LIVE_TOKENS, token_is_live},
    id::{HookId, ProjectId, TeamId, TokenId},
    secret_token::HookToken,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};

use super::{
    Store, StoreError,
    again::again,
    entity::{deployment, hook, hook_token, project},
    notices::Rings,
    rows, transitions,
};
use crate::model::{Hook, Page, Token};

impl Store {
    /// Stores a new hook with its first token, unless its project has as many hooks as it may have.
    ///
    /// # Errors
    /// The project is gone, has too many hooks, or has one of that name.
    pub async fn create_hook(&self, hook: &Hook, token: &HookToken, limit: u32) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // The project's row is the lock that makes counting and inserting one thing.
        let project = project::Entity::find_by_id(hook.project_id.to_string())
            .filter(project::Column::DeletedAt.is_null())
            .filter(project::Column::TeamId.eq(hook.team_id.to_string()))
            .lock_exclusive()
            .one(&transaction)
            .await?;
        project.ok_or(StoreError::NotFound)?;
        let used = count_hooks(&transaction, hook.project_id).await?;
        if used >= limit {
            return Err(StoreError::HookLimit { limit, used });
        }
        let row = hook::ActiveModel {
            team_id: Set(hook.team_id.to_string()),
            project_id: Set(hook.project_id.to_string()),
            created_at: Set(hook.created_at),
            revoked_at: Set(None),
            last_triggered_at: Set(None),
            trigger_count: Set(0),
            ..changed(hook)
        };
        hook::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await
            .map_err(StoreError::name_taken)?;
        for fresh in &hook.tokens {
            insert_token(&transaction, hook.id, fresh, token).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Reads a hook of a team that was not revoked.
    ///
    /// # Errors
    /// There is none.
    pub async fn hook(&self, team: TeamId, id: HookId) -> Result<Hook, StoreError> {
        let row = hook::Entity::find_by_id(id.to_string())
            .filter(hook::Column::TeamId.eq(team.to_string()))
            .filter(hook::Column::RevokedAt.is_null())
            .one(&self.reader)
            .await?;
        let hooks = with_tokens(&self.reader, row.into_iter().collect()).await?;
        hooks.into_iter().next().ok_or(StoreError::NotFound)
    }

    /// Lists a project's hooks.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_hooks(
        &self,
        team: TeamId,
        project: ProjectId,
        after: Option<HookId>,
        limit: u64,
    ) -> Result<Page<Hook>, StoreError> {
        let mut query = hook::Entity::find()
            .filter(hook::Column::TeamId.eq(team.to_string()))
            .filter(hook::Column::ProjectId.eq(project.to_string()))
            .filter(hook::Column::RevokedAt.is_null())
            .order_by_desc(hook::Column::Id)
            .limit(limit + 1);
        if let Some(after) = after {
            query = query.filter(hook::Column::Id.lt(after.to_string()));
        }
        let mut found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page { items: with_tokens(&self.reader, found).await?, more })
    }

    /// Counts a project's hooks.
    ///
    /// # Errors
    /// The database fails.
    pub async fn hooks_used(&self, project: ProjectId) -> Result<u32, StoreError> {
        count_hooks(&self.reader, project).await
    }

    /// Stores what was changed of a hook.
    ///
    /// # Errors
    /// It is gone, or its project has another of that name.
    pub async fn update_hook(&self, hook: &Hook) -> Result<(), StoreError> {
        let updated = hook::Entity::update_many()
            .set(changed(hook))
            .filter(hook::Column::Id.eq(hook.id.to_string()))
            .filter(hook::Column::TeamId.eq(hook.team_id.to_string()))
            .filter(hook::Column::RevokedAt.is_null())
            .exec(&self.writer)
            .await
            .map_err(StoreError::name_taken)?;
        if updated.rows_affected == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }

    /// Adds a token. The newest of the present ones works until `old_expires_at`, the others stop at once. Where one is
    /// `expected`, it has to be that newest one.
    ///
    /// # Errors
    /// There is no such hook, or another token is the newest.
    pub async fn rotate_token(
        &self,
        team: TeamId,
        id: HookId,
        fresh: &Token,
        secret: &HookToken,
        expected: Option<TokenId>,
        old_expires_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let now = fresh.created_at;
        let transaction = self.begin().await?;
        let row = hook::Entity::find_by_id(id.to_string())
            .filter(hook::Column::TeamId.eq(team.to_string()))
            .filter(hook::Column::RevokedAt.is_null())
            .lock_exclusive()
            .one(&transaction)
            .await?;
        row.ok_or(StoreError::NotFound)?;
        let live = hook_token::Entity::find()
            .filter(hook_token::Column::HookId.eq(id.to_string()))
            .order_by_desc(hook_token::Column::Id)
            .all(&transaction)
            .await?;
        let live: Vec<_> = live.into_iter().filter(|token| token_is_live(token.expires_at, now)).collect();
        let current = live.first().map(|token| token.id.as_str());
        if expected.is_some_and(|expected| current != Some(expected.to_string().as_str())) {
            return Err(StoreError::TokenReplaced);
        }
        for (place, token) in live.into_iter().enumerate() {
            let kept = place + 1 < MAX_LIVE_TOKENS;
            let expires_at = if kept { old_expires_at } else { now };
            let change = hook_token::ActiveModel {
                id: Set(token.id),
                expires_at: Set(Some(expires_at)),
                ..Default::default()
            };
            hook_token::Entity::update(change).exec(&transaction).await?;
        }
        insert_token(&transaction, id, fresh, secret).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Revokes a hook; its waiting deployments end.
    ///
    /// # Errors
    /// There is no such hook.
    pub async fn revoke_hook(&self, team: TeamId, id: HookId, now: DateTime<Utc>) -> Result<(), StoreError> {
        again(|| self.revoke(team, id, now)).await
    }

    async fn revoke(&self, team: TeamId, id: HookId, now: DateTime<Utc>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let revoked = hook::Entity::update_many()
            .col_expr(hook::Column::RevokedAt, Expr::value(now))
            .filter(hook::Column::Id.eq(id.to_string()))
            .filter(hook::Column::TeamId.eq(team.to_string()))
            .filter(hook::Column::RevokedAt.is_null())
            .exec(&transaction)
            .await?;
        if revoked.rows_affected == 0 {
            return Err(StoreError::NotFound);
        }
        let waiting = Condition::all()
            .add(deployment::Column::HookId.eq(id.to_string()))
            .add(deployment::Column::FinishedAt.is_null())
            .add(deployment::Column::State.is_in([State::Pending.as_str(), State::Queued.as_str()]));
        let ended = transitions::cancel_all(&transaction, waiting, CancelReason::HookRevoked, now).await?;
        self.commit(transaction, Rings::changed(ended)).await
    }
}

async fn count_hooks(database: &impl ConnectionTrait, project: ProjectId) -> Result<u32, StoreError> {
    let used = hook::Entity::find()
        .filter(hook::Column::ProjectId.eq(project.to_string()))
        .filter(hook::Column::RevokedAt.is_null())
        .count(database)
        .await?;
    Ok(u32::try_from(used).unwrap_or(u32::MAX))
}

/// Reads the tokens of all these hooks with one query.
async fn with_tokens(
    database: &impl ConnectionTrait,
    hooks: Vec<hook::Model>,
) -> Result<Vec<Hook>, StoreError> {
    let found = hook_token::Entity::find()
        .filter(hook_token::Column::HookId.is_in(hooks.iter().map(|hook| hook.id.clone())))
        .order_by_desc(hook_token::Column::Id)
        .all(database)
        .await?;
    let mut tokens: HashMap<String, Vec<Token>> = HashMap::new();
    for row in found {
        tokens.entry(row.hook_id.clone()).or_default().push(rows::token(row)?);
    }
    hooks.iter().map(|row| rows::hook(row, tokens.remove(&row.id).unwrap_or_default())).collect()
}

async fn insert_token(
    database: &impl ConnectionTrait,
    hook: HookId,
    token: &Token,
    secret: &HookToken,
) -> Result<(), StoreError> {
    let row = hook_token::Model {
        id: token.id.to_string(),
        hook_id: hook.to_string(),
        hash: secret.hash().as_str().to_owned(),
        last_four: token.last_four.clone(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: None,
        use_count: 0,
    };
    hook_token::Entity::insert(hook_token::ActiveModel::from(row)).exec_without_returning(database).await?;
    Ok(())
}

fn changed(hook: &Hook) -> hook::ActiveModel {
    hook::ActiveModel {
        id: Set(hook.id.to_string()),
        name: Set(hook.name.to_string()),
        branch: Set(hook.branch.to_string()),
        paused: Set(hook.paused),
        build_cache: Set(hook.build_cache),
        quiet_period_ms: Set(milliseconds(hook.waiting.quiet_period)),
        max_wait_ms: Set(milliseconds(hook.waiting.max_wait)),
        methods: Set(hook.methods.names().join(",")),
        updated_at: Set(hook.updated_at),
        ..Default::default()
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
