//! The dispatcher with executors that do not do what they should.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _, stream};
use grapnel_domain::{
    Error, Reason,
    deployment::{CancelReason, State},
    event::{BuildEvent, DeploymentEvent, LogLine, Outcome, Step, Stream as Printed},
    failure::{Failure, FailureCode},
    id::DeploymentId,
    secret_token::ApiKey,
    source::well_known_hosts,
};
use grapnel_hooks::{
    app::{Answered, App, Brought, NewHook, TriggerTarget},
    dispatch::{Dispatcher, Executor, Patience},
    model::{Deployment, Team},
    store::projects::ProjectRef,
};
use grapnel_proto::{
    convert::{
        deployment::failure_to_wire,
        event::{build_event_to_wire, heartbeat},
        source::host_key_to_wire,
    },
    error::to_status,
    executor::v1::{
        executor_service_server::{ExecutorService, ExecutorServiceServer},
        *,
    },
};
use grapnel_runtime::{CancellationToken, Clock, grpc};
use tempfile::TempDir;
use tonic::{Request, Response, Status, service::Routes};

use crate::support::app_at;

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// What the scripted executor does with one call of TriggerDeploy.
pub enum Play {
    /// Refuses it.
    Refuse(Reason),
    /// Sends these messages, a little apart, and closes the stream.
    Send(Vec<TriggerDeployResponse>),
    /// Sends these messages and then nothing, until the attempt is canceled.
    Hold(Vec<TriggerDeployResponse>),
}

/// An executor that plays what it is told, and remembers what it was asked.
#[derive(Clone)]
pub struct Scripted(pub Arc<Mutex<Script>>);

#[derive(Default)]
pub struct Script {
    pub artifacts: crate::retention::Artifacts,
    slots: u32,
    resolves: VecDeque<Result<resolve_source_response::Result, Status>>,
    resolve_held: bool,
    plays: VecDeque<Play>,
    /// The attempt and `after_sequence` of every call.
    triggered: Vec<(u32, u64)>,
    resolved: u32,
    canceled: u32,
    ending: CancellationToken,
}

impl Scripted {
    pub fn lock(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

/// What a call comes to.
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ExecutorService for Scripted {
    type TriggerDeployStream = Pin<Box<dyn Stream<Item = Result<TriggerDeployResponse, Status>> + Send>>;

    async fn resolve_source(&self, _: Request<ResolveSourceRequest>) -> Answer<ResolveSourceResponse> {
        let held = {
            let mut script = self.lock();
            script.resolved += 1;
            script.resolve_held
        };
        if held {
            std::future::pending::<()>().await;
        }
        let version = Version { commit: COMMIT.to_owned(), message: "Begin".to_owned() };
        let result = self.lock().resolves.pop_front();
        let result = result.unwrap_or(Ok(resolve_source_response::Result::Version(version)))?;
        Ok(Response::new(ResolveSourceResponse { result: Some(result) }))
    }

    async fn trigger_deploy(
        &self,
        request: Request<TriggerDeployRequest>,
    ) -> Answer<Self::TriggerDeployStream> {
        let request = request.into_inner();
        let mut script = self.lock();
        script.triggered.push((request.attempt, request.after_sequence));
        let ending = script.ending.clone();
        let slowly = |messages: Vec<TriggerDeployResponse>| {
            stream::iter(messages).then(async |message| {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(message)
            })
        };
        let played: Self::TriggerDeployStream = match script.plays.pop_front() {
            Some(Play::Refuse(reason)) => return Err(to_status(&Error::new(reason, "so it is told"))),
            Some(Play::Send(messages)) => Box::pin(slowly(messages)),
            Some(Play::Hold(messages)) => {
                let last = messages.len() as u64 + 1;
                let end = async move {
                    ending.cancelled().await;
                    Ok(finished(last, Outcome::Canceled))
                };
                Box::pin(slowly(messages).chain(stream::once(end)))
            }
            None => return Err(Status::internal("nothing more was to be asked")),
        };
        Ok(Response::new(played))
    }

    async fn cancel_deploy(&self, _: Request<CancelDeployRequest>) -> Answer<CancelDeployResponse> {
        let mut script = self.lock();
        script.canceled += 1;
        script.ending.cancel();
        Ok(Response::new(CancelDeployResponse {}))
    }

    async fn list_caches(&self, _: Request<ListCachesRequest>) -> Answer<ListCachesResponse> {
        Ok(Response::new(ListCachesResponse::default()))
    }

    async fn scan_host(&self, request: Request<ScanHostRequest>) -> Answer<ScanHostResponse> {
        let ScanHostRequest { host, port } = request.into_inner();
        if (host.as_str(), port) != ("github.com", 22) {
            return Err(to_status(&Error::new(Reason::HostUnreachable, "nobody answers there")));
        }
        let keys = well_known_hosts().swap_remove(0).keys;
        Ok(Response::new(ScanHostResponse { keys: keys.iter().map(host_key_to_wire).collect() }))
    }

    async fn purge_cache(&self, _: Request<PurgeCacheRequest>) -> Answer<PurgeCacheResponse> {
        Ok(Response::new(PurgeCacheResponse::default()))
    }

    async fn get_executor(&self, _: Request<GetExecutorRequest>) -> Answer<GetExecutorResponse> {
        let slots = self.lock().slots;
        Ok(Response::new(GetExecutorResponse { slots, ..Default::default() }))
    }

    async fn list_artifacts(&self, _: Request<ListArtifactsRequest>) -> Answer<ListArtifactsResponse> {
        Ok(Response::new(self.lock().artifacts.list()?))
    }

    async fn remove_artifacts(
        &self,
        request: Request<RemoveArtifactsRequest>,
    ) -> Answer<RemoveArtifactsResponse> {
        Ok(Response::new(self.lock().artifacts.remove(&request.into_inner())))
    }
}

fn at() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn line(sequence: u64) -> TriggerDeployResponse {
    let line = LogLine { stream: Printed::Stdout, at: at(), text: format!("line {sequence}") };
    build_event_to_wire(sequence, &BuildEvent::Log { step: Step::Build, lines: vec![line] })
}

fn finished(sequence: u64, outcome: Outcome) -> TriggerDeployResponse {
    build_event_to_wire(sequence, &BuildEvent::Finished { at: at(), outcome })
}

fn ready(sequence: u64) -> TriggerDeployResponse {
    finished(sequence, Outcome::Ready { files: 1, bytes: 2 })
}

/// A hooks service's inside, dispatching to a scripted executor.
struct House {
    app: App,
    team: Team,
    project: ProjectRef,
    executor: Scripted,
    url: String,
    stopping: CancellationToken,
    _directory: TempDir,
}

impl House {
    async fn with(plays: Vec<Play>) -> Self {
        Self::scripted(|script| script.plays = plays.into()).await
    }

    async fn scripted(script: impl FnOnce(&mut Script)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/grapnel.db", directory.path().display());
        let (app, team, project) = app_at(&url, Clock::system()).await;
        let executor = Scripted(Arc::new(Mutex::new(Script { slots: 1, ..Script::default() })));
        script(&mut executor.lock());
        let stopping = CancellationToken::new();
        let (listener, address) = grpc::listen("127.0.0.1:0").await.unwrap();
        let routes = Routes::new(ExecutorServiceServer::new(executor.clone()));
        tokio::spawn(grpc::serve(listener, None, routes, stopping.clone()));
        let url = format!("http://{address}");
        let house = Self { app, team, project, executor, url, stopping, _directory: directory };
        house.dispatch(&house.url);
        house
    }

    fn dispatch(&self, url: &str) {
        let key = ApiKey::generate(&mut rand::rng());
        let executor = Executor::new(url, &key, None, Duration::from_secs(60)).unwrap();
        let patience = Patience {
            lease: Duration::from_secs(5),
            renew: Duration::from_secs(1),
            look: Duration::from_millis(100),
            silence: Duration::from_millis(400),
            lost: Duration::from_secs(1),
            again: Duration::from_millis(50),
            resolve_again: [Duration::from_millis(50); 2],
        };
        let inputs = self.app.inputs();
        let App { store, clock, .. } = self.app.clone();
        let dispatcher = Dispatcher::new(
            store,
            inputs,
            clock,
            "one".into(),
            vec![executor],
            patience,
            self.stopping.child_token(),
        );
        tokio::spawn(dispatcher.run());
    }

    async fn deploy(&self) -> DeploymentId {
        self.app.trigger_deployment(self.team.id, &self.project, None, true).await.unwrap().id
    }

    async fn until(&self, id: DeploymentId, wanted: impl Fn(&Deployment) -> bool) -> Deployment {
        let begun = Instant::now();
        loop {
            let deployment = self.app.deployment(self.team.id, id).await.unwrap();
            if wanted(&deployment) {
                return deployment;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{deployment:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ended(&self, id: DeploymentId) -> Deployment {
        self.until(id, |deployment| deployment.state.is_final()).await
    }

    async fn cancel(&self, id: DeploymentId) -> Deployment {
        self.app.cancel_deployment(self.team.id, id).await.unwrap()
    }

    /// Returns a deployment's history as a watcher is told it.
    async fn history(&self, id: DeploymentId) -> Vec<String> {
        let events = self.app.watch_deployment(self.team.id, id, 0).await.unwrap();
        let told = events.map(|stored| match stored.unwrap().event {
            DeploymentEvent::State(change) => change.state.to_string(),
            DeploymentEvent::Build { attempt, event: BuildEvent::Log { lines, .. } } => {
                format!("{attempt} {}", lines[0].text)
            }
            DeploymentEvent::Build { event, .. } => format!("{event:?}"),
            DeploymentEvent::LogRemoved => "log removed".to_owned(),
        });
        told.collect().await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

#[tokio::test]
async fn a_deployment_passes_through_its_states_and_its_log_is_kept() {
    let house = House::with(vec![Play::Send(vec![heartbeat(), line(1), line(2), ready(3)])]).await;
    let id = house.deploy().await;
    let deployment = house.ended(id).await;
    assert_eq!(
        (deployment.state, deployment.artifact, deployment.promoted),
        (State::Ready, Some((1, 2)), true)
    );
    assert_eq!(deployment.commit.as_deref(), Some(COMMIT));
    assert_eq!(house.history(id).await, ["PENDING", "QUEUED", "BUILDING", "1 line 1", "1 line 2", "READY"]);
}

#[tokio::test]
async fn an_executor_that_is_full_costs_no_attempt() {
    let house = House::with(vec![
        Play::Refuse(Reason::ExecutorFull),
        Play::Refuse(Reason::ExecutorFull),
        Play::Refuse(Reason::ShuttingDown),
        Play::Send(vec![ready(1)]),
    ])
    .await;
    let id = house.deploy().await;
    let deployment = house.ended(id).await;
    assert_eq!((deployment.state, deployment.attempt), (State::Ready, 1));
    assert_eq!(house.executor.lock().triggered, [(1, 0); 4]);
    assert_eq!(house.history(id).await, ["PENDING", "QUEUED", "BUILDING", "READY"]);
}

#[tokio::test]
async fn a_stream_that_is_cut_doubles_or_skips_is_resumed_with_no_gap_and_no_repeat() {
    let house = House::with(vec![
        Play::Send(vec![line(1), line(2)]),
        Play::Send(vec![line(1), line(2), line(2), line(3), line(5), line(6)]),
        Play::Refuse(Reason::ExecutorUnavailable),
        Play::Send(vec![]),
        Play::Send(vec![line(4), line(3), line(5), ready(6)]),
    ])
    .await;
    let id = house.deploy().await;
    assert_eq!(house.ended(id).await.state, State::Ready);
    assert_eq!(house.executor.lock().triggered, [(1, 0), (1, 2), (1, 3), (1, 3), (1, 3)]);
    let log: Vec<_> = (1..=5).map(|n| format!("1 line {n}")).collect();
    assert_eq!(house.history(id).await[3..8], log);
}

#[tokio::test]
async fn a_stream_that_only_beats_is_alive_and_one_that_is_silent_is_made_again() {
    let house = House::with(vec![
        Play::Send([vec![heartbeat(); 60], vec![line(1)]].concat()),
        Play::Hold(vec![line(2)]),
        Play::Send(vec![ready(3)]),
    ])
    .await;
    let id = house.deploy().await;
    assert_eq!(house.ended(id).await.state, State::Ready);
    assert_eq!(house.executor.lock().triggered, [(1, 0), (1, 1), (1, 2)]);
}

#[tokio::test]
async fn an_attempt_that_its_executor_lost_is_followed_by_another_and_the_third_is_the_last() {
    let lost = |attempt: &str| {
        let failure = Failure::new(FailureCode::SandboxLost, format!("attempt {attempt} was lost"));
        Play::Send(vec![line(1), finished(2, Outcome::Failed { failure })])
    };
    let cut = || Play::Send(vec![line(1)]);
    let house = House::with(vec![cut(), Play::Refuse(Reason::AttemptNotFound), lost("2"), lost("3")]).await;
    let id = house.deploy().await;
    let deployment = house.ended(id).await;
    assert_eq!((deployment.state, deployment.attempt), (State::Error, 3));
    let failure = deployment.failure.unwrap();
    assert_eq!((failure.code, failure.message.as_str()), (FailureCode::SandboxLost, "attempt 3 was lost"));
    assert_eq!(house.executor.lock().triggered, [(1, 0), (1, 1), (2, 0), (3, 0)]);
    assert_eq!(
        house.history(id).await,
        [
            "PENDING", "QUEUED", "BUILDING", "1 line 1", "QUEUED", "BUILDING", "2 line 1", "QUEUED",
            "BUILDING", "3 line 1", "ERROR"
        ]
    );
}

#[tokio::test]
async fn an_executor_that_stays_away_loses_its_attempt() {
    let away = || Play::Refuse(Reason::ExecutorUnavailable);
    let mut plays = vec![Play::Send(vec![line(1)])];
    plays.extend((0..15).map(|_| away()));
    let house = House::with(plays).await;
    let id = house.deploy().await;
    let deployment = house.until(id, |it| it.state == State::Queued && it.attempt == 1).await;
    assert_eq!(deployment.attempt, 1);
    house.executor.lock().plays = [Play::Send(vec![ready(1)])].into();
    let deployment = house.ended(id).await;
    assert_eq!((deployment.state, deployment.attempt), (State::Ready, 2));
}

#[tokio::test]
async fn a_failure_of_the_user_ends_a_deployment_at_once_and_one_of_ours_after_three_tries() {
    let failed = |code| {
        let failure = failure_to_wire(&Failure::new(code, "it is not there"));
        Ok(resolve_source_response::Result::Failure(failure))
    };
    let house = House::scripted(|script| {
        script.resolves = [
            failed(FailureCode::BranchNotFound),
            failed(FailureCode::RepositoryUnreachable),
            failed(FailureCode::RepositoryUnreachable),
            failed(FailureCode::RepositoryUnreachable),
            // No executor answers: that costs no try.
            Err(to_status(&Error::new(Reason::ExecutorUnavailable, "away"))),
            Err(Status::unavailable("away")),
            failed(FailureCode::RepositoryUnreachable),
        ]
        .into();
        script.plays = [Play::Send(vec![ready(1)])].into();
    })
    .await;
    let failure = house.ended(house.deploy().await).await.failure.unwrap();
    assert_eq!((failure.code, house.executor.lock().resolved), (FailureCode::BranchNotFound, 1));
    let failure = house.ended(house.deploy().await).await.failure.unwrap();
    assert_eq!((failure.code, house.executor.lock().resolved), (FailureCode::RepositoryUnreachable, 4));
    let deployment = house.ended(house.deploy().await).await;
    assert_eq!((deployment.state, house.executor.lock().resolved), (State::Ready, 8));
}

#[tokio::test]
async fn a_deployment_can_be_ended_in_every_state() {
    let house = House::scripted(|script| {
        script.resolve_held = true;
        script.slots = 0;
    })
    .await;
    let canceled = Some(CancelReason::User);

    let id = house.deploy().await;
    house.until(id, |it| it.state == State::Pending).await;
    let ended = house.cancel(id).await;
    assert_eq!((ended.state, ended.canceled), (State::Canceled, canceled), "while its version is resolved");

    house.executor.lock().resolve_held = false;
    let id = house.deploy().await;
    house.until(id, |it| it.state == State::Queued).await;
    let ended = house.cancel(id).await;
    assert_eq!((ended.state, ended.canceled), (State::Canceled, canceled), "while it waits for a slot");

    house.executor.lock().slots = 1;
    house.executor.lock().plays = [Play::Hold(vec![line(1)])].into();
    let id = house.deploy().await;
    house.until(id, |it| it.state == State::Building).await;
    let asked = house.cancel(id).await;
    assert_eq!((asked.state, asked.cancel_requested), (State::Building, canceled));
    let begun = Instant::now();
    let ended = house.ended(id).await;
    assert_eq!((ended.state, ended.canceled), (State::Canceled, canceled), "while it is built");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(house.executor.lock().canceled, 1);

    let again = house.cancel(id).await;
    assert_eq!(again, ended, "asking for what has ended changes nothing");
    assert_eq!(house.executor.lock().triggered.len(), 1, "only one of them was ever built");
}

#[tokio::test]
async fn revoking_a_hook_ends_what_waits_and_deleting_a_project_ends_what_runs_too() {
    let house = House::with(vec![Play::Hold(vec![line(1)])]).await;
    let new = NewHook::named("cms".parse().unwrap());
    let hook = house.app.create_hook(house.team.id, &house.project, new).await.unwrap().hook;
    let trigger = async || {
        let target = TriggerTarget::Hook { team: house.team.id, hook: hook.id };
        match house.app.trigger_hook(target, Brought::default()).await.unwrap() {
            Answered::Job(deployment, _) => deployment.id,
            Answered::Ignored => panic!("it was ignored"),
        }
    };
    let runs = trigger().await;
    house.until(runs, |it| it.state == State::Building).await;
    // At another commit: the same one would take the running build's place.
    let version = Version { commit: COMMIT.replace('0', "f"), message: String::new() };
    house.executor.lock().resolves = [Ok(resolve_source_response::Result::Version(version))].into();
    let waits = trigger().await;
    house.until(waits, |it| it.state == State::Queued).await;
    house.app.revoke_hook(house.team.id, hook.id).await.unwrap();
    assert_eq!(house.ended(waits).await.canceled, Some(CancelReason::HookRevoked));
    assert_eq!(house.app.deployment(house.team.id, runs).await.unwrap().state, State::Building, "it goes on");

    house.app.delete_project(house.team.id, &house.project).await.unwrap();
    let begun = Instant::now();
    while house.executor.lock().canceled == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the build goes on though its project is gone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_host_is_scanned_by_an_executor_and_its_silence_is_told_as_that() {
    let house = House::with(Vec::new()).await;
    let key = ApiKey::generate(&mut rand::rng());
    let executor = Executor::new(&house.url, &key, None, Duration::from_secs(60)).unwrap();
    let keys = executor.scan_host("github.com", 22).await.unwrap();
    assert_eq!(keys, well_known_hosts()[0].keys);
    let silent = executor.scan_host("nobody.example", 22).await.unwrap_err();
    assert_eq!(silent.reason, Reason::HostUnreachable);
}
