//! What git hosts are told about commits: how it is written down, who tells it, and what comes of it.

mod calls;
mod descriptions;
mod host;
mod outbox;
mod storm;
mod telling;

use std::{future::Future, time::Duration};

use grapnel_domain::{
    BranchName, RepositoryUrl, SecretText,
    build::AttemptId,
    commit_status::GitHost as Kind,
    event::Outcome,
    failure::{Failure, FailureCode},
    id::{DeploymentId, ProjectId},
    project::BuildSettings,
};
use grapnel_hooks::{
    app::{App, NewProject, StatusChange},
    model::{CommitStatus, Team},
    outbound::{
        http::{HttpClient, Reach},
        statuses::{Patience, StatusTeller},
    },
    store::{Claim, projects::ProjectRef},
};
use grapnel_runtime::{CancellationToken, Clock};
use host::GitHost;

use crate::support::app_at;

const OWNER: &str = "dispatcher";
const LEASE: Duration = Duration::from_secs(3_600);
const TOKEN: &str = "hunter2-hunter2-hunter2";

/// A teller's patience where a test waits for it.
const QUICK: Patience = Patience {
    look: Duration::from_millis(20),
    answer: Duration::from_millis(300),
    lease: Duration::from_secs(2),
    first: Duration::from_millis(10),
    longest: Duration::from_millis(100),
    give_up: Duration::from_secs(120),
    longest_wait: Duration::from_secs(1),
    once_more: Duration::from_millis(50),
};

/// A project whose commits are told of.
struct World {
    app: App,
    team: Team,
    project: ProjectRef,
}

impl World {
    async fn new(url: &str, clock: Clock) -> Self {
        let (app, team, _) = app_at(url, clock).await;
        let project = ProjectRef::Id(
            new_project(&app, &team, "harbour", "https://git.example.org/team/site.git").await,
        );
        Self { app, team, project }
    }

    /// Says where the project's host is.
    async fn tell_at(&self, api_base: &str) {
        tell_at(&self.app, &self.team, &self.project, api_base).await;
    }

    /// Stores a deployment and resolves it to a commit.
    async fn queued(&self, commit: &str) -> DeploymentId {
        queued(&self.app, &self.team, &self.project, commit).await
    }

    async fn status(&self, id: DeploymentId) -> CommitStatus {
        self.app.commit_status(id).await.unwrap().expect("nothing is told of it")
    }

    /// Starts a teller, as one process has it; it stops when the token is dropped or cancelled.
    fn teller(&self, owner: &str, patience: Patience) -> Telling {
        let reach = Reach { allowed: vec!["127.0.0.0/8".parse().unwrap()] };
        let http = HttpClient::new(reach, None).unwrap();
        let stopping = CancellationToken::new();
        let teller = StatusTeller::new(self.app.clone(), http, owner, patience, stopping.clone());
        tokio::spawn(teller.run());
        Telling(stopping)
    }
}

/// A teller that runs.
struct Telling(CancellationToken);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn new_project(app: &App, team: &Team, name: &str, repository: &str) -> ProjectId {
    let new = NewProject {
        name: name.parse().unwrap(),
        repository: RepositoryUrl::parse(repository).unwrap(),
        production_branch: BranchName::parse("main").unwrap(),
        settings: BuildSettings::default(),
    };
    app.create_project(team.id, new).await.unwrap().id
}

async fn tell_at(app: &App, team: &Team, project: &ProjectRef, api_base: &str) {
    let change = StatusChange::ByHand {
        host: Kind::Gitea,
        api_base: api_base.parse().unwrap(),
        token: Some(SecretText::new(TOKEN)),
    };
    let plan = app.set_commit_statuses(team.id, project, change).await.unwrap();
    assert_eq!(plan.silence(), None);
}

async fn queued(app: &App, team: &Team, project: &ProjectRef, commit: &str) -> DeploymentId {
    let id = app.trigger_deployment(team.id, project, None, true).await.unwrap().id;
    let now = app.clock.now();
    let claimed = app.store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
    assert_eq!(claimed[0].deployment.id, id);
    app.store.resolved(id, OWNER, commit, "", now).await.unwrap();
    id
}

/// Starts the attempt at a deployment that is next, the only one that waits and may start.
async fn started(app: &App, id: DeploymentId) -> AttemptId {
    let now = app.clock.now();
    let claimed = app.store.claim(Claim::Queued, OWNER, LEASE, 1_000, now).await.unwrap();
    let attempt = claimed.iter().find(|it| it.deployment.id == id).expect("it does not wait").spec.id;
    app.store.started(attempt, OWNER, now).await.unwrap();
    attempt
}

async fn finished(app: &App, attempt: AttemptId, outcome: Outcome) {
    app.store.finished(attempt, OWNER, outcome, app.clock.now()).await.unwrap();
}

fn ready() -> Outcome {
    Outcome::Ready { files: 1, bytes: 1 }
}

fn failed(code: FailureCode) -> Outcome {
    Outcome::Failed { failure: Failure::new(code, "`npm run build` exited with 1") }
}

fn commit(number: usize) -> String {
    format!("{number:040x}")
}

/// Waits until something holds.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let waited = async {
        while !holds().await {
            look.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap_or_else(|_| panic!("{what}"));
}
