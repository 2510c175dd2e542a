//! Hooks and their tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    BranchName, Error, Reason,
    hook::{Methods, caches_by_default, token_is_live},
    id::{HookId, TeamId, TokenId},
    name::HookName,
    plan::Plan,
    secret_token::HookToken,
    trigger::Waiting,
};

use super::App;
use crate::{
    model::{Hook, Page, Token},
    store::{StoreError, projects::ProjectRef},
};

/// How long a token that is replaced works on, where nothing else is said.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A hook to be made.
#[derive(Clone, Debug)]
pub struct NewHook {
    /// Its name.
    pub name: HookName,
    /// The branch that it deploys; none is the project's production branch.
    pub branch: Option<BranchName>,
    /// Whether its builds get a cache; none is what hooks of its age do.
    pub build_cache: Option<bool>,
    /// How its triggers wait.
    pub waiting: Waiting,
    /// The methods that trigger it.
    pub methods: Methods,
    /// When it was made, where it is imported from elsewhere.
    pub created_at: Option<DateTime<Utc>>,
}

impl NewHook {
    /// A hook with everything as it is by default.
    pub fn named(name: HookName) -> Self {
        Self {
            name,
            branch: None,
            build_cache: None,
            waiting: Waiting::default(),
            methods: Methods::default(),
            created_at: None,
        }
    }
}

/// What is to be changed of a hook.
#[derive(Clone, Debug, Default)]
pub struct HookChanges {
    /// Its name.
    pub name: Option<HookName>,
    /// The branch that it deploys.
    pub branch: Option<BranchName>,
    /// Whether it refuses triggers.
    pub paused: Option<bool>,
    /// Whether its builds get a cache.
    pub build_cache: Option<bool>,
    /// How long a trigger waits for a further one.
    pub quiet_period: Option<Duration>,
    /// How long it waits at most.
    pub max_wait: Option<Duration>,
    /// The methods that trigger it.
    pub methods: Option<Methods>,
}

/// A hook with its URL, which nobody is shown again.
#[derive(Debug)]
pub struct WithUrl {
    /// The hook.
    pub hook: Hook,
    /// The URL with its token.
    pub url: String,
}

impl App {
    /// Makes a hook and its first token.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `HOOK_NAME_TAKEN`, `HOOK_LIMIT_REACHED`.
    pub async fn create_hook(
        &self,
        team: TeamId,
        project: &ProjectRef,
        new: NewHook,
    ) -> Result<WithUrl, Error> {
        let project = self.project(team, project).await?;
        let plan = self.plan(team).await?;
        let (token, secret) = self.new_token();
        let now = token.created_at;
        let created_at = new.created_at.unwrap_or(now).min(now);
        let hook = Hook {
            id: self.clock.new_id(),
            team_id: team,
            project_id: project.id,
            name: new.name,
            branch: new.branch.unwrap_or(project.production_branch),
            paused: false,
            build_cache: new.build_cache.unwrap_or_else(|| caches_by_default(created_at)),
            waiting: new.waiting,
            methods: new.methods,
            last_triggered_at: None,
            trigger_count: 0,
            tokens: vec![token],
            created_at,
            updated_at: now,
            revoked_at: None,
        };
        let limit = self.limits.hooks_per_project(plan);
        self.store.create_hook(&hook, &secret, limit).await.map_err(|error| match error {
            StoreError::HookLimit { limit, used } => limit_reached(plan, limit, used),
            StoreError::NotFound => error.into_error(Reason::ProjectNotFound),
            other => refused(other, &hook.name),
        })?;
        tracing::info!(hook.id = %hook.id, project.id = %project.id, "a hook was created");
        Ok(WithUrl { url: self.addresses.hook_url(hook.project_id, &secret), hook })
    }

    /// Reads a hook.
    ///
    /// # Errors
    /// `HOOK_NOT_FOUND`.
    pub async fn hook(&self, team: TeamId, id: HookId) -> Result<Hook, Error> {
        let hook = self.store.hook(team, id).await.map_err(|error| error.into_error(Reason::HookNotFound))?;
        Ok(self.with_live_tokens(hook))
    }

    /// Lists a project's hooks.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_hooks(
        &self,
        team: TeamId,
        project: &ProjectRef,
        after: Option<HookId>,
        limit: u64,
    ) -> Result<Page<Hook>, Error> {
        let project = self.project(team, project).await?;
        let page = self.store.list_hooks(team, project.id, after, limit).await;
        let page = page.map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        let items = page.items.into_iter().map(|hook| self.with_live_tokens(hook)).collect();
        Ok(Page { items, more: page.more })
    }

    /// Changes a hook.
    ///
    /// # Errors
    /// `HOOK_NOT_FOUND`, `HOOK_NAME_TAKEN`.
    pub async fn update_hook(&self, team: TeamId, id: HookId, changes: HookChanges) -> Result<Hook, Error> {
        let mut hook = self.hook(team, id).await?;
        hook.name = changes.name.unwrap_or(hook.name);
        hook.branch = changes.branch.unwrap_or(hook.branch);
        hook.paused = changes.paused.unwrap_or(hook.paused);
        hook.build_cache = changes.build_cache.unwrap_or(hook.build_cache);
        hook.waiting.quiet_period = changes.quiet_period.unwrap_or(hook.waiting.quiet_period);
        hook.waiting.max_wait = changes.max_wait.unwrap_or(hook.waiting.max_wait);
        hook.methods = changes.methods.unwrap_or(hook.methods);
        hook.updated_at = self.clock.now();
        self.store.update_hook(&hook).await.map_err(|error| refused(error, &hook.name))?;
        Ok(hook)
    }

    /// Makes a new token; the current one works on for `grace`. Where one is `expected`, it has to be the current one.
    ///
    /// # Errors
    /// `HOOK_NOT_FOUND`, `TOKEN_REPLACED`.
    pub async fn rotate_token(
        &self,
        team: TeamId,
        id: HookId,
        grace: Option<Duration>,
        expected: Option<TokenId>,
    ) -> Result<WithUrl, Error> {
        let (token, secret) = self.new_token();
        let old_expires_at = token.created_at + grace.unwrap_or(GRACE);
        self.store
            .rotate_token(team, id, &token, &secret, expected, old_expires_at)
            .await
            .map_err(|error| error.into_error(Reason::HookNotFound))?;
        let hook = self.hook(team, id).await?;
        tracing::info!(hook.id = %id, "a hook's token was rotated");
        Ok(WithUrl { url: self.addresses.hook_url(hook.project_id, &secret), hook })
    }

    /// Revokes a hook for good.
    ///
    /// # Errors
    /// `HOOK_NOT_FOUND`.
    pub async fn revoke_hook(&self, team: TeamId, id: HookId) -> Result<(), Error> {
        self.store
            .revoke_hook(team, id, self.clock.now())
            .await
            .map_err(|error| error.into_error(Reason::HookNotFound))?;
        tracing::info!(hook.id = %id, "a hook was revoked");
        Ok(())
    }

    /// Says how many hooks a project may have and has.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn limits(&self, team: TeamId, project: &ProjectRef) -> Result<(Plan, u32, u32), Error> {
        let project = self.project(team, project).await?;
        let plan = self.plan(team).await?;
        let used = self.store.hooks_used(project.id).await;
        let used = used.map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        Ok((plan, self.limits.hooks_per_project(plan), used))
    }

    async fn plan(&self, team: TeamId) -> Result<Plan, Error> {
        let team = self.store.team(team).await.map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        Ok(team.plan)
    }

    fn new_token(&self) -> (Token, HookToken) {
        let secret = HookToken::generate(&mut rand::rng());
        let token = Token {
            id: self.clock.new_id(),
            last_four: secret.last_four().to_owned(),
            created_at: self.clock.now(),
            expires_at: None,
            last_used_at: None,
            use_count: 0,
        };
        (token, secret)
    }

    fn with_live_tokens(&self, mut hook: Hook) -> Hook {
        let now = self.clock.now();
        hook.tokens.retain(|token| token_is_live(token.expires_at, now));
        hook
    }
}

fn limit_reached(plan: Plan, limit: u32, used: u32) -> Error {
    let message = format!(
        "a project on the {plan} plan has at most {limit} hooks, and this one has {used}; revoke one first"
    );
    Error::new(Reason::HookLimitReached, message)
        .with_fact("plan", plan)
        .with_fact("limit", limit)
        .with_fact("used", used)
}

fn refused(error: StoreError, name: &HookName) -> Error {
    match error {
        StoreError::NameTaken => {
            Error::new(Reason::HookNameTaken, format!("the project has another hook called `{name}`"))
        }
        other => other.into_error(Reason::HookNotFound),
    }
}
