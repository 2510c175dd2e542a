//! What the service keeps, as plain records of the domain's types.

mod addresses;
mod endpoints;
mod repositories;
mod sessions;
mod status;

use std::fmt;

pub use addresses::{Address, AddressPlace, Promoted};
use chrono::{DateTime, Utc};
pub use endpoints::*;
use grapnel_domain::{
    BranchName, RepositoryUrl,
    deployment::{CancelReason, State},
    event::DeploymentEvent,
    failure::Failure,
    hook::Methods,
    id::{CredentialId, DeploymentId, HookId, KeyId, ProjectId, TeamId, TokenId, TriggerId, VariableId},
    name::{HookName, ProjectName},
    plan::Plan,
    project::BuildSettings,
    scope::Scopes,
    source::{KnownHost, Origin},
    trigger::{Decision, Unfinished, Waiting},
    variable::{BranchPattern, VariableName},
};
pub use repositories::{BranchAt, RepositoryBranches};
pub use sessions::{Asker, Session, TeamProfile};
pub use status::{
    ClaimedStatus, CommitStatus, Silence, StatusDestination, StatusMode, StatusPlan, TokenFrom,
};

use crate::sealing::Sealed;

/// A team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Its plan.
    pub plan: Plan,
}

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// The team it belongs to.
    pub team_id: TeamId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Its last four characters.
    pub last_four: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The team it belongs to.
    pub team_id: TeamId,
    /// Its name.
    pub name: ProjectName,
    /// Its repository.
    pub repository: RepositoryUrl,
    /// The branch that its address serves.
    pub production_branch: BranchName,
    /// How it is built.
    pub settings: BuildSettings,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// A hook, with the tokens it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its id.
    pub id: HookId,
    /// The team it belongs to.
    pub team_id: TeamId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// Its name.
    pub name: HookName,
    /// The branch that it deploys.
    pub branch: BranchName,
    /// Whether it refuses triggers.
    pub paused: bool,
    /// Whether its builds get a cache by default.
    pub build_cache: bool,
    /// How its triggers wait.
    pub waiting: Waiting,
    /// The methods that trigger it.
    pub methods: Methods,
    /// When it was requested last, whatever came of it.
    pub last_triggered_at: Option<DateTime<Utc>>,
    /// How often it was requested.
    pub trigger_count: u64,
    /// Its tokens, the newest first; those that have expired among them.
    pub tokens: Vec<Token>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A hook's token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Its last four characters.
    pub last_four: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was used last, working or not.
    pub last_used_at: Option<DateTime<Utc>>,
    /// How often it was used.
    pub use_count: u64,
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The team it belongs to.
    pub team_id: TeamId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The hook that asked for it, with the name that it had then.
    pub hook: Option<(HookId, HookName)>,
    /// The branch.
    pub branch: BranchName,
    /// The version, once it is resolved.
    pub commit: Option<String>,
    /// The commit's message.
    pub commit_message: String,
    /// Where it stands.
    pub state: State,
    /// The attempt that runs or ran last; 0 before the first.
    pub attempt: u32,
    /// The name of the executor of that attempt.
    pub executor: Option<String>,
    /// How many times its version could not be resolved for a fault that was not the repository's.
    pub resolve_attempts: u32,
    /// Whether its build gets a cache.
    pub use_cache: bool,
    /// How many triggers it answers.
    pub trigger_count: u32,
    /// What its trigger calls it; empty where it does not say.
    pub title: String,
    /// When the first trigger came that it answers, its own or one of those that it superseded.
    pub waiting_since: DateTime<Utc>,
    /// The commit that its trigger asked for; none is where the branch is.
    pub wanted_commit: Option<String>,
    /// Why a build that runs was asked to end.
    pub cancel_requested: Option<CancelReason>,
    /// Why it was canceled.
    pub canceled: Option<CancelReason>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Files and bytes of its artifact.
    pub artifact: Option<(u64, u64)>,
    /// Whether its branch's address serves it.
    pub promoted: bool,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it was first QUEUED.
    pub queued_at: Option<DateTime<Utc>>,
    /// When it was first BUILDING.
    pub building_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When its log was removed.
    pub log_removed_at: Option<DateTime<Utc>>,
    /// When its artifact was removed.
    pub artifact_removed_at: Option<DateTime<Utc>>,
    /// The position of the last event of its history.
    pub last_position: u64,
}

impl Deployment {
    /// Returns what the rules of superseding look at.
    pub fn unfinished(&self) -> Unfinished {
        Unfinished {
            id: self.id,
            state: self.state,
            commit: self.commit.clone(),
            waiting_since: self.waiting_since,
        }
    }
}

/// A deployment that a key asks for, without a hook.
#[derive(Clone, Debug)]
pub struct DeploymentRequest {
    /// The branch; none is the project's production branch.
    pub branch: Option<BranchName>,
    /// Whether its build gets a cache.
    pub build_cache: bool,
    /// The full hash of the commit to build; none is where the branch is.
    pub commit: Option<String>,
    /// What the build is called; empty is nothing.
    pub title: String,
}

/// An executor, as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorInfo {
    /// Where it is called.
    pub address: String,
    /// Its stable name; empty while it does not answer.
    pub name: String,
    /// The version of its program; empty while it does not answer.
    pub version: String,
    /// What can be expected of it.
    pub state: ExecutorState,
    /// How many builds it runs at once.
    pub slots: u32,
    /// How many run.
    pub running: u32,
}

/// What can be expected of an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorState {
    /// It takes builds.
    Ready,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It does not answer.
    Away,
}

/// One request to a hook, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// When it came.
    pub at: DateTime<Utc>,
    /// The project that it named.
    pub project_id: ProjectId,
    /// The hook, where its token was known.
    pub hook: Option<HookId>,
    /// The token, where it was known and used.
    pub token: Option<TokenId>,
    /// What it looked like.
    pub request: TriggerRequest,
    /// What it came to.
    pub decision: Decision,
    /// Why, in words; empty where the decision says it all.
    pub reason: String,
    /// The deployment that answers it.
    pub deployment: Option<DeploymentId>,
}

/// What a request to a hook looked like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriggerRequest {
    /// `GET`, `POST`, or `gRPC`.
    pub method: String,
    /// Where it came from.
    pub client_address: String,
    /// What sent it, as it says.
    pub user_agent: String,
    /// How many bytes its body had, as far as it was read.
    pub body_bytes: u64,
    /// The SHA-256, in hexadecimal, of what is kept of them; empty for none.
    pub body_digest: String,
    /// What it calls the build.
    pub title: String,
}

/// One thing that happened to a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the deployment's history, from 1.
    pub position: u64,
    /// When it was stored.
    pub at: DateTime<Utc>,
    /// What happened.
    pub event: DeploymentEvent,
}

/// A variable of a project's builds, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its id.
    pub id: VariableId,
    /// Its name.
    pub name: VariableName,
    /// Which branches it is for.
    pub branches: BranchPattern,
    /// Its value.
    pub value: Kept,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was given its value.
    pub updated_at: DateTime<Utc>,
}

/// How a variable's value is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Kept {
    /// For whoever may read the variable.
    Plain(String),
    /// For builds alone.
    Sealed(Sealed),
}

impl Kept {
    /// Returns about how many bytes the value has.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Plain(value) => value.len(),
            Self::Sealed(sealed) => sealed.bytes(),
        }
    }
}

/// What is plain to those who may read it is nothing for a log.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(…)",
            Self::Sealed(_) => "Sealed(…)",
        })
    }
}

/// What is shown to a git host, without what is secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The team it belongs to.
    pub team_id: TeamId,
    /// The one project that it is for; none is for all of the team's.
    pub project_id: Option<ProjectId>,
    /// Where it is shown and nowhere else.
    pub origin: Origin,
    /// What it is.
    pub kind: CredentialKind,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What a credential is, without what is secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A user and a token.
    Token {
        /// The user.
        user: String,
        /// The last four characters of the token.
        last_four: String,
    },
    /// An SSH key.
    SshKey {
        /// Its public half, in one line.
        public_key: String,
    },
}

/// An SSH host that a team trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedHost {
    /// The host with the keys by which it is trusted.
    pub host: KnownHost,
    /// Since when.
    pub trusted_at: DateTime<Utc>,
}

/// A part of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The things.
    pub items: Vec<T>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// A build cache, as an executor keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildCache {
    /// The executor's name.
    pub executor: String,
    /// What it is kept under.
    pub key: String,
    /// The branch, as the executor names it.
    pub branch: String,
    /// The project's root directory.
    pub root_directory: String,
    /// The builder image's name.
    pub builder_image: String,
    /// Counts the builds that made it.
    pub generation: u64,
    /// Of how many layers it consists.
    pub layers: u32,
    /// The bytes that those take on disk.
    pub bytes: u64,
    /// When it was made.
    pub made_at: Option<DateTime<Utc>>,
    /// When it was last used.
    pub used_at: Option<DateTime<Utc>>,
    /// Whether other executors find it too.
    pub shared: bool,
}

/// What an executor has dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgedCaches {
    /// The executor's name.
    pub executor: String,
    /// How many caches.
    pub count: u32,
    /// Their bytes.
    pub bytes: u64,
}

impl PurgedCaches {
    /// Returns this with what the same executor has dropped later.
    #[must_use]
    pub fn plus(self, later: &Self) -> Self {
        Self { count: self.count + later.count, bytes: self.bytes + later.bytes, ..self }
    }
}
