//! What is kept and what is removed, on both databases.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt as _;
use grapnel_domain::{
    BranchName, Reason,
    event::{BuildEvent, DeploymentEvent, LogLine, Outcome, Step, Stream},
    failure::{Failure, FailureCode},
    id::DeploymentId,
    secret_token::ApiKey,
};
use grapnel_hooks::{
    app::{App, Part},
    dispatch::{Connect, ExecutorAddress, Fleet},
    model::Team,
    retention::{Pruned, Pruner, Reconciled, Reconciler, Retention},
    store::{Claim, projects::ProjectRef},
};
use grapnel_proto::{convert::time::timestamp, executor::v1::*};
use grapnel_runtime::{CancellationToken, Clock, clock::ClockHand};
use tonic::Status;

use crate::{
    scripted::Scripted,
    support::{app_at, on_both},
};

const OWNER: &str = "retention";
const LEASE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The artifacts of a scripted executor.
#[derive(Default)]
pub struct Artifacts {
    pub there: BTreeMap<String, DateTime<Utc>>,
    pub away: bool,
}

impl Artifacts {
    pub fn list(&self) -> Result<ListArtifactsResponse, Status> {
        if self.away {
            return Err(Status::unavailable("away"));
        }
        let artifacts = self.there.iter().map(|(id, at)| PublishedArtifact {
            deployment_id: id.clone(),
            published_at: Some(timestamp(*at)),
        });
        Ok(ListArtifactsResponse { artifacts: artifacts.collect(), next_page_token: String::new() })
    }

    pub fn remove(&mut self, request: &RemoveArtifactsRequest) -> RemoveArtifactsResponse {
        let there = request.deployment_ids.iter().filter(|id| self.there.remove(*id).is_some());
        RemoveArtifactsResponse { removed: u32::try_from(there.count()).unwrap() }
    }
}

struct House {
    app: App,
    team: Team,
    project: ProjectRef,
    hand: ClockHand,
}

impl House {
    async fn open(url: &str) -> Self {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let (app, team, project) = app_at(url, clock).await;
        Self { app, team, project, hand }
    }

    /// Lets a deployment of a branch end so, with a log of so many lines.
    async fn ended(&self, branch: &str, lines: u64, outcome: Outcome) -> DeploymentId {
        self.hand.advance(TimeDelta::seconds(1));
        let (app, now) = (&self.app, self.app.clock.now());
        let branch = BranchName::parse(branch).unwrap();
        let asked = app.trigger_deployment(self.team.id, &self.project, Some(branch), true).await.unwrap();
        let pending = app.store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
        app.store.resolved(pending[0].deployment.id, OWNER, &"0".repeat(40), "", now).await.unwrap();
        let claimed = app.store.claim(Claim::Queued, OWNER, LEASE, 1, now).await.unwrap().remove(0);
        app.store.started(claimed.spec.id, OWNER, now).await.unwrap();
        let line = |sequence: u64| {
            let line = LogLine { stream: Stream::Stdout, at: now, text: sequence.to_string() };
            (sequence, BuildEvent::Log { step: Step::Build, lines: vec![line] })
        };
        let events = (1..=lines).map(line).collect();
        app.store.append_build_events(claimed.spec.id, OWNER, events, now).await.unwrap();
        app.store.finished(claimed.spec.id, OWNER, outcome, now).await.unwrap();
        assert_eq!(claimed.deployment.id, asked.id);
        asked.id
    }

    async fn ready(&self, branch: &str) -> DeploymentId {
        self.ended(branch, 3, Outcome::Ready { files: 1, bytes: 1 }).await
    }

    fn pruner(&self, days: [u32; 3], keep_ready: u32) -> Pruner {
        let [deployments, logs, artifacts] = days.map(|days| DAY * days);
        let (triggers, events) = (DAY * 365, DAY * 365);
        let retention = Retention { triggers, events, deployments, logs, artifacts, keep_ready };
        let stopping = CancellationToken::new();
        Pruner::new(self.app.store.clone(), self.app.clock.clone(), retention, Duration::ZERO, stopping)
    }

    /// Tells a deployment's history in words, to its end.
    async fn history(&self, id: DeploymentId, after: u64) -> Vec<String> {
        let watched = self.app.watch_deployment(self.team.id, id, Part::all_after(after)).await.unwrap();
        let told = watched.map_ok(|event| match &event.event {
            DeploymentEvent::State(change) => change.state.to_string(),
            DeploymentEvent::Build { .. } => "log".to_owned(),
            DeploymentEvent::LogRemoved => "removed".to_owned(),
        });
        told.try_collect().await.unwrap()
    }

    async fn is_there(&self, id: DeploymentId) -> bool {
        self.app.deployment(self.team.id, id).await.is_ok()
    }

    /// Says why a deployment's site is not served.
    async fn refusal(&self, id: DeploymentId) -> Option<Reason> {
        self.app.resolve_site(&id.to_string()).await.err().map(|error| error.reason)
    }

    /// Starts an executor that has these artifacts, all as old as can be, and what compares them.
    async fn executor(&self, ids: &[DeploymentId], grace: Duration) -> (Scripted, Reconciler) {
        let executor = Scripted::new("scripted", 1);
        let old = "2020-01-01T00:00:00Z".parse().unwrap();
        executor.lock().artifacts.there = ids.iter().map(|id| (id.to_string(), old)).collect();
        let url = executor.serve("127.0.0.1:0", CancellationToken::new()).await;
        let connect =
            Connect { key: ApiKey::generate(&mut rand::rng()), tls: None, resolve_within: DAY, silence: DAY };
        let (store, clock) = (self.app.store.clone(), self.app.clock.clone());
        let fleet = Fleet::new(vec![ExecutorAddress::Url(url)], connect, store.wakeups.clone()).unwrap();
        (executor, Reconciler::new(store, clock, fleet, grace))
    }
}

fn failed() -> Outcome {
    Outcome::Failed { failure: Failure::new(FailureCode::BuildFailed, "exit code 1") }
}

fn has(executor: &Scripted) -> BTreeSet<DeploymentId> {
    executor.lock().artifacts.there.keys().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_removed_says_so_wherever_its_reader_was() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let long = house.ended("main", 1_500, failed()).await;
        let waits = house.app.trigger_deployment(house.team.id, &house.project, None, true).await.unwrap().id;
        let before = house.history(long, 0).await;
        assert_eq!(before.iter().filter(|told| *told == "log").count(), 1_500);
        let pruner = house.pruner([365, 90, 90], 0);
        assert_eq!(pruner.pass().await.unwrap(), Pruned::default(), "nothing is old yet");
        house.hand.advance(TimeDelta::days(91));

        // A process that dies after its first transaction leaves a log of which nobody can think that it is whole.
        let now = house.app.clock.now();
        house.app.store.prune_logs(now - DAY * 90, now).await.unwrap();
        let half = house.history(long, 0).await;
        assert_eq!(half.iter().filter(|told| *told == "removed").count(), 1);
        assert!(half.iter().any(|told| told == "log"), "the first transaction is a small one");

        assert_eq!(pruner.pass().await.unwrap(), Pruned { logs: 1, ..Pruned::default() });
        let left = ["PENDING", "QUEUED", "BUILDING", "removed", "ERROR"];
        assert_eq!(house.history(long, 0).await, left);
        assert_eq!(house.history(long, 700).await, left[3..], "who had read half of it is told too");
        assert_eq!(house.history(long, 1_503).await, left[4..]);
        let shown = house.app.deployment(house.team.id, long).await.unwrap();
        assert_eq!(shown.log_removed_at, Some(now));
        assert_eq!(pruner.pass().await.unwrap(), Pruned::default());
        assert!(house.is_there(waits).await, "what has not ended is never old");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_and_the_newest_of_a_branch_are_kept_however_old() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let mut main = Vec::new();
        for _ in 0..5 {
            main.push(house.ready("main").await);
        }
        let other = house.ready("other").await;
        let broken = house.ended("main", 0, failed()).await;
        house.hand.advance(TimeDelta::days(200));
        let pruned = house.pruner([365, 90, 90], 2).pass().await.unwrap();
        assert_eq!(pruned, Pruned { logs: 6, artifacts: 3, ..Pruned::default() });
        for id in &main[..3] {
            assert_eq!(house.refusal(*id).await, Some(Reason::ArtifactRemoved));
            assert!(house.app.deployment(house.team.id, *id).await.unwrap().artifact_removed_at.is_some());
        }
        for id in main[3..].iter().chain([&other]) {
            assert_eq!(house.refusal(*id).await, None);
        }
        house.hand.advance(TimeDelta::days(200));
        let pruned = house.pruner([365, 90, 90], 2).pass().await.unwrap();
        assert_eq!(pruned, Pruned { deployments: 4, ..Pruned::default() });
        assert!(!house.is_there(broken).await && !house.is_there(main[0]).await);
        assert_eq!(house.refusal(main[0]).await, Some(Reason::SiteNotFound));
        // Nothing is kept for its number: what addresses serve is left.
        let pruned = house.pruner([365, 90, 90], 0).pass().await.unwrap();
        assert_eq!((pruned.artifacts, pruned.deployments), (1, 1));
        for id in [main[4], other] {
            assert_eq!((house.is_there(id).await, house.refusal(id).await), (true, None));
        }
        assert_eq!(house.app.resolve_site("site").await.unwrap().0, main[4]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_remove_each_thing_once() {
    on_both(async |url| {
        let house = House::open(&url).await;
        for _ in 0..30 {
            house.ready("main").await;
        }
        house.hand.advance(TimeDelta::days(400));
        let pruners = [(); 4].map(|()| house.pruner([365, 90, 90], 5));
        let passes =
            pruners.into_iter().map(|pruner| tokio::spawn(async move { pruner.pass().await.unwrap() }));
        let mut sum = Pruned::default();
        for pass in passes.collect::<Vec<_>>() {
            let pruned = pass.await.unwrap();
            sum.logs += pruned.logs;
            sum.artifacts += pruned.artifacts;
            sum.deployments += pruned.deployments;
        }
        // One that came while another had the rows locked leaves them to it; the next pass finds what is left.
        let rest = house.pruner([365, 90, 90], 5).pass().await.unwrap();
        assert_eq!((sum.logs + rest.logs, sum.deployments + rest.deployments), (30, 25));
        assert!(sum.artifacts + rest.artifacts <= 25);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_that_no_deployment_has_are_removed_and_the_others_are_not() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (kept, lacking) = (house.ready("main").await, house.ready("main").await);
        let broken = house.ended("main", 1, failed()).await;
        let unknown: DeploymentId = house.app.clock.new_id();
        let runs = house.app.trigger_deployment(house.team.id, &house.project, None, true).await.unwrap().id;
        let fresh: DeploymentId = house.app.clock.new_id();
        let all = [kept, broken, unknown, runs, fresh];
        let (executor, mut reconciler) = house.executor(&all, Duration::ZERO).await;
        executor
            .lock()
            .artifacts
            .there
            .insert(fresh.to_string(), house.app.clock.now() + TimeDelta::hours(1));
        house.hand.advance(TimeDelta::seconds(1));
        let done = reconciler.pass().await.unwrap();
        assert_eq!(done, Reconciled { removed: 2, missing: [lacking].into(), away: 0 });
        assert_eq!(has(&executor), [kept, runs, fresh].into());
        assert_eq!(reconciler.pass().await.unwrap().removed, 0, "and again there is nothing to do");

        house.app.delete_project(house.team.id, &house.project).await.unwrap();
        assert_eq!(house.pruner([365, 90, 90], 10).pass().await.unwrap().artifacts, 2);
        assert_eq!(house.refusal(kept).await, Some(Reason::ArtifactRemoved));
        let done = reconciler.pass().await.unwrap();
        assert_eq!((done.removed, done.missing.len()), (2, 0), "what the ended one may have left goes too");
        assert_eq!(has(&executor), [fresh].into());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_away_and_a_database_that_knows_nothing_cost_no_artifact() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let ready = house.ready("main").await;
        let unknown: DeploymentId = house.app.clock.new_id();
        let hour = Duration::from_secs(3_600);
        let (executor, mut reconciler) = house.executor(&[ready, unknown], hour).await;
        for _ in 0..3 {
            let done = reconciler.pass().await.unwrap();
            assert_eq!(
                done,
                Reconciled::default(),
                "nobody knew it for an hour: it may be the database's fault"
            );
        }
        executor.lock().artifacts.away = true;
        house.hand.advance(TimeDelta::days(1));
        let done = reconciler.pass().await.unwrap();
        assert_eq!(
            done,
            Reconciled { away: 1, ..Reconciled::default() },
            "and nothing is said to be missing"
        );
        assert_eq!(has(&executor), [ready, unknown].into());
    })
    .await;
}
