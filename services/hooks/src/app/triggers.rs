//! Triggers: requests for a deployment, and the ledger of them.

use std::time::Duration;

use grapnel_domain::{
    BranchName, Error, Reason,
    id::{HookId, ProjectId, TeamId, TriggerId},
    secret_token::HookToken,
    trigger::{BODY_KEPT, Decision},
};
use sha2::{Digest as _, Sha256};

use super::App;
use crate::{
    model::{Deployment, DeploymentRequest, Page, Project, Trigger, TriggerRequest},
    store::{
        ledger::TriggerFilter,
        projects::ProjectRef,
        triggers::{Named, NewTrigger, Triggered},
    },
};

/// The most characters of what a sender says of itself that are kept.
const TEXT_KEPT: usize = 256;

/// How a trigger names its hook.
#[derive(Debug)]
pub enum TriggerTarget {
    /// By id, with a team's key.
    Hook {
        /// The team of the key.
        team: TeamId,
        /// The hook.
        hook: HookId,
    },
    /// By what stands in its URL. A gateway asks for all teams, a team's key for its own.
    Address {
        /// The team of the key; none for a gateway.
        team: Option<TeamId>,
        /// The project.
        project: ProjectId,
        /// The token.
        token: HookToken,
    },
}

/// What a trigger brings along.
#[derive(Clone, Debug, Default)]
pub struct Brought {
    /// Whether the build gets a cache, where the trigger says so.
    pub build_cache: Option<bool>,
    /// `GET`, `POST`, or `gRPC`.
    pub method: String,
    /// Where it came from.
    pub client_address: String,
    /// What sent it, as it says.
    pub user_agent: String,
    /// What it calls the build.
    pub title: String,
    /// Its body, as far as it was read.
    pub body: Vec<u8>,
    /// How many bytes its body had, as far as it was read.
    pub body_bytes: u64,
    /// The full hash of the commit to build; none is where the branch is.
    pub commit: Option<String>,
    /// Its idempotency key.
    pub idempotency_key: String,
    /// Whether it was sent ahead of a person.
    pub prefetch: bool,
    /// What is wrong with what it asks for, in words.
    pub refusal: Option<String>,
}

/// The answer to a trigger that was not refused.
#[derive(Clone, Debug)]
pub enum Answered {
    /// A deployment answers it: its own, a waiting one, or that of the same trigger before.
    Job(Box<Deployment>, Decision),
    /// It was sent ahead of a person, and nothing is deployed.
    Ignored,
}

impl App {
    /// Decides on a trigger, stores what follows, and leaves its row in the ledger.
    ///
    /// # Errors
    /// `HOOK_NOT_FOUND`, `HOOK_REVOKED`, `HOOK_PAUSED`, `TRIGGER_REFUSED`, `RATE_LIMITED`, `STORE_UNAVAILABLE`.
    pub async fn trigger_hook(&self, target: TriggerTarget, mut brought: Brought) -> Result<Answered, Error> {
        let named = match target {
            TriggerTarget::Hook { team, hook } => Named::Hook { team, hook },
            TriggerTarget::Address { team, project, token } => {
                Named::Address { team, project, token: token.hash() }
            }
        };
        if let (Some(commit), None) = (&brought.commit, &brought.refusal) {
            brought.refusal = self.commit_refusal(&named, commit).await?;
        }
        let address = brought.client_address.clone();
        let new = self.new_trigger(brought);
        let rates = self.rates.clone();
        let limiter = Box::new(move |hook: Option<HookId>| rates.too_many(hook, &address));
        let triggered = self.store.trigger(named, new, limiter).await;
        let triggered = triggered.map_err(|error| error.into_error(Reason::HookNotFound))?;
        let Some(triggered) = triggered else {
            return Err(unknown_hook());
        };
        // The ledger has a row of it: a line of the log for each would cost a burst as much as storing it.
        tracing::debug!(
            decision = %triggered.decision,
            reason = triggered.reason,
            deployment.id = triggered.deployment.as_ref().map(|it| it.id.to_string()),
            "a trigger was answered"
        );
        self.answer(triggered)
    }

    /// Says why a hook cannot deploy a commit. Git is asked for nobody who has no token that works.
    async fn commit_refusal(&self, named: &Named, commit: &str) -> Result<Option<String>, Error> {
        let found = self
            .store
            .named_hook(named, self.clock.now())
            .await
            .map_err(|error| error.into_error(Reason::HookNotFound))?;
        let Some((hook, project)) = found else {
            return Ok(None);
        };
        Ok(self.refusal(&project, &hook.branch, commit).await)
    }

    /// Says why a branch of a project cannot be deployed at a commit. A secret that does not open is told by the deployment.
    async fn refusal(&self, project: &Project, branch: &BranchName, commit: &str) -> Option<String> {
        let access = self.inputs().access(project.team_id, project.id).await.ok()?;
        self.executors.refusal(&project.repository, branch, commit, &access).await
    }

    fn new_trigger(&self, brought: Brought) -> NewTrigger {
        let mut body = brought.body;
        let body_digest = if body.is_empty() { String::new() } else { hex::encode(Sha256::digest(&body)) };
        body.truncate(BODY_KEPT);
        let key = brought.idempotency_key;
        NewTrigger {
            id: self.clock.new_id(),
            deployment: self.clock.new_id(),
            at: self.clock.now(),
            build_cache: brought.build_cache,
            request: TriggerRequest {
                method: kept(&brought.method, 16),
                client_address: kept(&brought.client_address, 64),
                user_agent: kept(&brought.user_agent, TEXT_KEPT),
                body_bytes: brought.body_bytes,
                body_digest,
                title: kept(&brought.title, TEXT_KEPT),
            },
            body,
            wanted_commit: brought.commit,
            idempotency_key: (!key.is_empty()).then(|| hex::encode(Sha256::digest(key))),
            prefetch: brought.prefetch,
            refusal: brought.refusal,
        }
    }

    fn answer(&self, triggered: Triggered) -> Result<Answered, Error> {
        match (triggered.decision, triggered.deployment) {
            (decision @ (Decision::Accepted | Decision::Merged | Decision::Replayed), Some(deployment)) => {
                Ok(Answered::Job(Box::new(deployment), decision))
            }
            (Decision::Accepted | Decision::Merged | Decision::Replayed, None) => {
                Err(Error::internal("a trigger was accepted without a deployment"))
            }
            (Decision::PrefetchIgnored, _) => Ok(Answered::Ignored),
            (Decision::RateLimited, _) => Err(self.too_many(triggered.retry_after.unwrap_or_default())),
            (Decision::Paused, _) => Err(Error::new(
                Reason::HookPaused,
                "the hook is paused; nothing is deployed until it is resumed",
            )),
            (Decision::Revoked, _) => Err(Error::new(
                Reason::HookRevoked,
                "the hook or its token was revoked; it will not work again",
            )),
            (Decision::UnknownToken, _) => Err(unknown_hook()),
            (Decision::Refused, _) if triggered.method_refused => {
                Err(Error::new(Reason::MethodRefused, triggered.reason))
            }
            (Decision::Refused, _) => Err(Error::new(Reason::TriggerRefused, triggered.reason)),
        }
    }

    fn too_many(&self, retry_after: Duration) -> Error {
        let limit = self.rates.hook_per_minute;
        // Whole seconds, and never sooner than there is room again.
        let seconds = retry_after.as_secs() + 1;
        let message = format!("there were too many triggers; the next one may come in {seconds} s");
        Error::new(Reason::RateLimited, message)
            .with_fact("limit_per_minute", limit)
            .with_fact("retry_after_seconds", seconds)
    }

    /// Lists a project's ledger, newest first.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_triggers(
        &self,
        team: TeamId,
        project: &ProjectRef,
        filter: TriggerFilter,
        after: Option<TriggerId>,
        limit: u64,
    ) -> Result<Page<Trigger>, Error> {
        let project = self.project(team, project).await?;
        let listed = self.store.list_triggers(team, project.id, filter, after, limit).await;
        listed.map_err(|error| error.into_error(Reason::ProjectNotFound))
    }

    /// Stores a deployment of a branch that no hook asked for.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `STORE_UNAVAILABLE`.
    pub async fn trigger_deployment(
        &self,
        team: TeamId,
        project: &ProjectRef,
        branch: Option<BranchName>,
        build_cache: bool,
    ) -> Result<Deployment, Error> {
        let asked = DeploymentRequest { branch, build_cache, commit: None, title: String::new() };
        self.deploy(team, project, asked).await
    }

    /// Stores a deployment that no hook asked for.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `TRIGGER_REFUSED` where the branch has no such commit, `STORE_UNAVAILABLE`.
    pub async fn deploy(
        &self,
        team: TeamId,
        project: &ProjectRef,
        asked: DeploymentRequest,
    ) -> Result<Deployment, Error> {
        let project = self.project(team, project).await?;
        if let Some(commit) = &asked.commit {
            let branch = asked.branch.as_ref().unwrap_or(&project.production_branch);
            if let Some(refusal) = self.refusal(&project, branch, commit).await {
                return Err(Error::new(Reason::TriggerRefused, refusal));
            }
        }
        let (id, now) = (self.clock.new_id(), self.clock.now());
        let asked = DeploymentRequest { title: kept(&asked.title, TEXT_KEPT), ..asked };
        self.store
            .create_deployment(&project, asked, id, now)
            .await
            .map_err(|error| error.into_error(Reason::ProjectNotFound))
    }
}

/// Cuts a text to what is kept, without what would forge lines where it is shown.
fn kept(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// The answer to a project or token that is not known: the same for both, so that nobody learns which projects exist.
pub fn unknown_hook() -> Error {
    Error::new(Reason::HookNotFound, "there is no such hook")
}
