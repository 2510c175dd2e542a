//! An executor that plays what it is told, and a hooks service that dispatches to it.

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
    event::{BuildEvent, DeploymentEvent, LogLine, Outcome, Step, Stream as Printed},
    id::DeploymentId,
    secret_token::ApiKey,
    source::well_known_hosts,
};
use grapnel_hooks::{
    app::{App, Part},
    dispatch::{Connect, Dispatcher, ExecutorAddress, Fleet, Patience},
    model::{Deployment, Team},
    store::projects::ProjectRef,
};
use grapnel_proto::{
    convert::{event::build_event_to_wire, source::host_key_to_wire},
    error::to_status,
    executor::v1::{
        executor_service_server::{ExecutorService, ExecutorServiceServer},
        *,
    },
};
use grapnel_runtime::{CancellationToken, Clock, grpc};
use tempfile::TempDir;
use tokio::time::interval;
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status, service::Routes};

use crate::support::app_at;

pub const COMMIT: &str = "0123456789012345678901234567890123456789";

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
pub struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
pub struct Script {
    pub artifacts: crate::retention::Artifacts,
    pub name: &'static str,
    pub slots: u32,
    pub running: u32,
    pub draining: bool,
    /// Ends what it tells of itself.
    pub stopping: CancellationToken,
    /// What it plays when it has nothing else to.
    pub otherwise: Option<fn() -> Play>,
    /// What was asked for, in order.
    pub built: Vec<DeploymentId>,
    pub resolves: VecDeque<Result<resolve_source_response::Result, Status>>,
    pub resolve_held: bool,
    /// What it answers to who asks for branches; none of them else. And who asked.
    pub branches: VecDeque<Result<list_branches_response::Result, Status>>,
    pub inspected: Vec<ListBranchesRequest>,
    pub plays: VecDeque<Play>,
    /// The attempt and `after_sequence` of every call.
    pub triggered: Vec<(u32, u64)>,
    pub resolved: u32,
    pub canceled: u32,
    /// What it says that it runs, and what it was asked to end of it.
    pub attempts: Vec<RunningAttempt>,
    pub ending: CancellationToken,
}

impl Scripted {
    pub fn new(name: &'static str, slots: u32) -> Self {
        Self(Arc::new(Mutex::new(Script { name, slots, ..Script::default() })))
    }

    /// Listens until it is stopped, and returns where.
    pub async fn serve(&self, address: &str, stopping: CancellationToken) -> String {
        self.lock().stopping = stopping.clone();
        let (listener, address) = grpc::listen(address).await.unwrap();
        let routes = Routes::new(ExecutorServiceServer::new(self.clone()));
        tokio::spawn(grpc::serve(listener, None, routes, stopping));
        format!("http://{address}")
    }

    fn occupancy(&self) -> Occupancy {
        let script = self.lock();
        let Script { name, slots, running, draining, .. } = &*script;
        let (slots, running, draining) = (*slots, *running, *draining);
        Occupancy { name: (*name).to_owned(), version: String::new(), slots, running, draining }
    }

    pub fn lock(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

#[tonic::async_trait]
impl ExecutorService for Scripted {
    type TriggerDeployStream = Pin<Box<dyn Stream<Item = Result<TriggerDeployResponse, Status>> + Send>>;
    type WatchExecutorStream = Pin<Box<dyn Stream<Item = Result<WatchExecutorResponse, Status>> + Send>>;

    async fn list_branches(
        &self,
        request: Request<ListBranchesRequest>,
    ) -> Result<Response<ListBranchesResponse>, Status> {
        let mut script = self.lock();
        script.inspected.push(request.into_inner());
        let result = script
            .branches
            .pop_front()
            .unwrap_or_else(|| Ok(list_branches_response::Result::Branches(Branches::default())));
        Ok(Response::new(ListBranchesResponse { result: Some(result?) }))
    }

    async fn resolve_source(
        &self,
        _: Request<ResolveSourceRequest>,
    ) -> Result<Response<ResolveSourceResponse>, Status> {
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
    ) -> Result<Response<Self::TriggerDeployStream>, Status> {
        let request = request.into_inner();
        let mut script = self.lock();
        script.triggered.push((request.attempt, request.after_sequence));
        script.built.push(request.deployment_id.parse().unwrap());
        let ending = script.ending.clone();
        let slowly = |messages: Vec<TriggerDeployResponse>| {
            stream::iter(messages).then(async |message| {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(message)
            })
        };
        let otherwise = script.otherwise;
        let play = script.plays.pop_front().or_else(|| otherwise.map(|play| play()));
        let played: Self::TriggerDeployStream = match play {
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

    async fn cancel_deploy(
        &self,
        request: Request<CancelDeployRequest>,
    ) -> Result<Response<CancelDeployResponse>, Status> {
        let CancelDeployRequest { deployment_id, attempt } = request.into_inner();
        let mut script = self.lock();
        script.canceled += 1;
        script.attempts.retain(|it| (&it.deployment_id, it.attempt) != (&deployment_id, attempt));
        script.ending.cancel();
        Ok(Response::new(CancelDeployResponse {}))
    }

    async fn list_caches(
        &self,
        _: Request<ListCachesRequest>,
    ) -> Result<Response<ListCachesResponse>, Status> {
        Ok(Response::new(ListCachesResponse::default()))
    }

    async fn scan_host(
        &self,
        request: Request<ScanHostRequest>,
    ) -> Result<Response<ScanHostResponse>, Status> {
        let ScanHostRequest { host, port } = request.into_inner();
        if (host.as_str(), port) != ("github.com", 22) {
            return Err(to_status(&Error::new(Reason::HostUnreachable, "nobody answers there")));
        }
        let keys = well_known_hosts().swap_remove(0).keys;
        Ok(Response::new(ScanHostResponse { keys: keys.iter().map(host_key_to_wire).collect() }))
    }

    async fn purge_cache(
        &self,
        _: Request<PurgeCacheRequest>,
    ) -> Result<Response<PurgeCacheResponse>, Status> {
        Ok(Response::new(PurgeCacheResponse::default()))
    }

    async fn get_executor(
        &self,
        _: Request<GetExecutorRequest>,
    ) -> Result<Response<GetExecutorResponse>, Status> {
        Ok(Response::new(GetExecutorResponse::default()))
    }

    async fn list_artifacts(
        &self,
        _: Request<ListArtifactsRequest>,
    ) -> Result<Response<ListArtifactsResponse>, Status> {
        Ok(Response::new(self.lock().artifacts.list()?))
    }

    async fn remove_artifacts(
        &self,
        request: Request<RemoveArtifactsRequest>,
    ) -> Result<Response<RemoveArtifactsResponse>, Status> {
        Ok(Response::new(self.lock().artifacts.remove(&request.into_inner())))
    }

    async fn watch_executor(
        &self,
        _: Request<WatchExecutorRequest>,
    ) -> Result<Response<Self::WatchExecutorStream>, Status> {
        let this = self.clone();
        let beats = IntervalStream::new(interval(Duration::from_millis(20)));
        let told = beats.map(move |_| {
            let attempts = this.lock().attempts.clone();
            Ok(WatchExecutorResponse { occupancy: Some(this.occupancy()), attempts })
        });
        let stopping = self.lock().stopping.clone();
        Ok(Response::new(Box::pin(told.take_until(stopping.cancelled_owned()))))
    }

    async fn drain_executor(
        &self,
        _: Request<DrainExecutorRequest>,
    ) -> Result<Response<DrainExecutorResponse>, Status> {
        self.lock().draining = true;
        Ok(Response::new(DrainExecutorResponse { occupancy: Some(self.occupancy()) }))
    }
}

pub fn at() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn line(sequence: u64) -> TriggerDeployResponse {
    let line = LogLine { stream: Printed::Stdout, at: at(), text: format!("line {sequence}") };
    build_event_to_wire(sequence, &BuildEvent::Log { step: Step::Build, lines: vec![line] })
}

pub fn finished(sequence: u64, outcome: Outcome) -> TriggerDeployResponse {
    build_event_to_wire(sequence, &BuildEvent::Finished { at: at(), outcome })
}

pub fn ready(sequence: u64) -> TriggerDeployResponse {
    finished(sequence, Outcome::Ready { files: 1, bytes: 2 })
}

/// A hooks service's inside, dispatching to a scripted executor.
pub struct House {
    pub app: App,
    pub team: Team,
    pub project: ProjectRef,
    pub executor: Scripted,
    pub url: String,
    pub stopping: CancellationToken,
    _directory: TempDir,
}

impl House {
    pub async fn with(plays: Vec<Play>) -> Self {
        Self::scripted(|script| script.plays = plays.into()).await
    }

    pub async fn scripted(script: impl FnOnce(&mut Script)) -> Self {
        let house = Self::alone().await;
        script(&mut house.executor.lock());
        house.dispatch(&house.url);
        house
    }

    /// A service that dispatches nothing yet.
    pub async fn alone() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/grapnel.db", directory.path().display());
        let (app, team, project) = app_at(&url, Clock::system()).await;
        let executor = Scripted::new("scripted", 1);
        let stopping = CancellationToken::new();
        let url = executor.serve("127.0.0.1:0", stopping.clone()).await;
        Self { app, team, project, executor, url, stopping, _directory: directory }
    }

    pub fn dispatch(&self, url: &str) {
        self.dispatch_to(vec![ExecutorAddress::Url(url.to_owned())], "one", self.stopping.child_token());
    }

    /// Dispatches as a process of this name would, to executors at these addresses, until it is stopped.
    pub fn dispatch_to(
        &self,
        addresses: Vec<ExecutorAddress>,
        owner: &str,
        stopping: CancellationToken,
    ) -> Fleet {
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
        let connect = Connect {
            key: ApiKey::generate(&mut rand::rng()),
            tls: None,
            resolve_within: Duration::from_secs(60),
            silence: patience.silence,
        };
        let fleet = Fleet::new(addresses, connect, store.wakeups.clone()).unwrap();
        tokio::spawn(fleet.clone().run(stopping.clone()));
        let dispatcher =
            Dispatcher::new(store, inputs, clock, owner.into(), fleet.clone(), patience, stopping);
        tokio::spawn(dispatcher.run());
        fleet
    }

    pub async fn deploy(&self) -> DeploymentId {
        self.app.trigger_deployment(self.team.id, &self.project, None, true).await.unwrap().id
    }

    pub async fn until(&self, id: DeploymentId, wanted: impl Fn(&Deployment) -> bool) -> Deployment {
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

    pub async fn ended(&self, id: DeploymentId) -> Deployment {
        self.until(id, |deployment| deployment.state.is_final()).await
    }

    pub async fn cancel(&self, id: DeploymentId) -> Deployment {
        self.app.cancel_deployment(self.team.id, id).await.unwrap()
    }

    /// Counts the lines of a deployment's log that are stored.
    pub async fn log_lines(&self, id: DeploymentId) -> usize {
        let events = self.app.store.events_after(id, 0, true, 1_000).await.unwrap();
        let is_log = |event: &DeploymentEvent| {
            matches!(event, DeploymentEvent::Build { event: BuildEvent::Log { .. }, .. })
        };
        events.iter().filter(|stored| is_log(&stored.event)).count()
    }

    /// Returns a deployment's history as a watcher is told it.
    pub async fn history(&self, id: DeploymentId) -> Vec<String> {
        let events = self.app.watch_deployment(self.team.id, id, Part::all_after(0)).await.unwrap();
        let told = events.map(|stored| match &stored.unwrap().event {
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
