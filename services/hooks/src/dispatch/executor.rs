//! One executor, as the dispatcher knows it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::fleet::Connect;
use crate::model::{BranchAt, BuildCache, ExecutorInfo, ExecutorState, PurgedCaches, RepositoryBranches};
use grapnel_domain::{
    BranchName, Error, Reason, RepositoryUrl,
    build::{AttemptId, BuildSpec},
    failure::Failure,
    id::ProjectId,
    project::RelativePath,
    source::{HostKey, SourceAccess},
};
use grapnel_proto::{
    convert::{
        Violations,
        build::trigger_deploy_to_wire,
        deployment::failure_from_wire,
        source::{access_to_wire, host_key_from_wire},
        time::datetime,
    },
    error::from_status,
    executor::v1::{
        Branches, CancelDeployRequest, DrainExecutorRequest, ListBranchesRequest, ListCachesRequest,
        Occupancy, PurgeCacheRequest, ResolveSourceRequest, RunningAttempt, ScanHostRequest,
        TriggerDeployResponse, Version, WatchExecutorRequest, WatchExecutorResponse,
        executor_service_client::ExecutorServiceClient, list_branches_response, resolve_source_response,
    },
    hooks::v1 as wire,
};
use grapnel_runtime::grpc::{self, Bearer, EndError};
use rand::RngExt as _;
use tokio::{sync::watch, time::timeout};
use tonic::{Status, Streaming, codegen::InterceptedService, transport::Channel};

/// How long an executor may take to answer a short question.
const ANSWER: Duration = Duration::from_secs(5);

/// How long it may take to end a sandbox.
const CANCEL: Duration = Duration::from_secs(30);

/// How long a host may take to show its keys: the executor's own limit, and a little more.
const SCAN: Duration = Duration::from_secs(15);

/// How long a repository may take to name its branches: the executor's own limits, and a little more.
const BRANCHES: Duration = Duration::from_secs(70);

/// How long to wait before an executor is looked for again, at first and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// An executor behind its address. Clones share the connection, what it tells of itself and the count of slots.
#[derive(Clone)]
pub struct Executor {
    address: Arc<str>,
    pub(super) client: ExecutorServiceClient<InterceptedService<Channel, Bearer>>,
    /// What it has told last; nothing while it does not answer.
    occupancy: Arc<watch::Sender<Option<Occupancy>>>,
    watched: Arc<AtomicBool>,
    /// What ran there when it answered again, until somebody looks at it.
    found: Arc<Mutex<Vec<AttemptId>>>,
    /// Slots that this process fills, whether the executor knows it yet or not.
    taken: Arc<AtomicUsize>,
    /// How long resolving may take: the executor's own limit for a fetch, and a little more.
    resolve_within: Duration,
}

/// What came of asking for a version.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// The branch is at this commit.
    Version(Version),
    /// It is, and the repository's configuration switches deployments off.
    Disabled(Version),
    /// The repository, or the way to it, has to answer for it.
    Failed(Failure),
}

/// A slot of an executor, taken until it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Executor {
    /// Takes an executor's address. It is connected to when it is first asked for something.
    ///
    /// # Errors
    /// The address is none, or the certificates are unusable.
    pub fn new(url: &str, certified_as: Option<&str>, connect: &Connect) -> Result<Self, EndError> {
        let channel = grpc::channel_to(url, certified_as, connect.tls.as_ref())?;
        let client = ExecutorServiceClient::with_interceptor(channel, Bearer::new(&connect.key));
        Ok(Self {
            address: url.into(),
            client,
            occupancy: Arc::new(watch::channel(None).0),
            watched: Arc::default(),
            found: Arc::default(),
            taken: Arc::default(),
            resolve_within: connect.resolve_within,
        })
    }

    /// Returns what it has told last; nothing while it does not answer.
    pub fn occupancy(&self) -> Option<Occupancy> {
        self.occupancy.borrow().clone()
    }

    /// Describes it.
    pub fn info(&self) -> ExecutorInfo {
        let occupancy = self.occupancy();
        let state = match &occupancy {
            None => ExecutorState::Away,
            Some(Occupancy { draining: true, .. }) => ExecutorState::Draining,
            Some(_) => ExecutorState::Ready,
        };
        let Occupancy { name, version, slots, running, .. } = occupancy.unwrap_or_default();
        ExecutorInfo { address: self.address.to_string(), name, version, state, slots, running }
    }

    /// Returns how many builds it would take now; none while it does not answer.
    pub fn free_slots(&self) -> usize {
        match self.occupancy() {
            Some(Occupancy { slots, running, draining: false, .. }) => {
                let busy = self.taken.load(Ordering::Relaxed).max(running as usize);
                (slots as usize).saturating_sub(busy)
            }
            Some(_) | None => 0,
        }
    }

    /// Tells whether it can be let go: it does not answer, and nothing that it runs is followed.
    pub fn is_idle_and_away(&self) -> bool {
        self.occupancy().is_none() && self.taken.load(Ordering::Relaxed) == 0
    }

    /// Notes that somebody watches it, and tells whether somebody did before.
    pub fn begin_watching(&self) -> bool {
        self.watched.swap(true, Ordering::Relaxed)
    }

    /// Listens to what it tells of itself, for as long as this is polled; it is looked for whenever it does not answer.
    /// `told` is called after every change.
    pub async fn watch(&self, silence: Duration, told: impl Fn()) {
        let (first, most) = LOOK_AGAIN;
        let mut pause = first;
        loop {
            let heard = self.listen(silence, &told).await;
            if self.occupancy.send_replace(None).is_some() {
                tracing::warn!(address = %self.address, why = %heard, "an executor does not answer");
                told();
                pause = first;
            }
            // Not all at once: an executor that was away may be looked for by many.
            let jitter = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = most.min(pause * 2);
        }
    }

    /// Listens until the stream breaks, and says why it did.
    async fn listen(&self, silence: Duration, told: &impl Fn()) -> Status {
        let mut client = self.client.clone();
        let watching = match timeout(ANSWER, client.watch_executor(WatchExecutorRequest {})).await {
            Ok(Ok(watching)) => watching,
            Ok(Err(status)) => return status,
            Err(_) => return Status::deadline_exceeded("it does not answer in time"),
        };
        let mut watching = watching.into_inner();
        loop {
            let WatchExecutorResponse { occupancy, attempts } =
                match timeout(silence, watching.message()).await {
                    Ok(Ok(Some(message))) => message,
                    Ok(Ok(None)) => return Status::unavailable("it has ended the stream"),
                    Ok(Err(status)) => return status,
                    Err(_) => return Status::deadline_exceeded("it is silent"),
                };
            let occupancy = occupancy.unwrap_or_default();
            let (name, now) = (occupancy.name.clone(), Some(occupancy));
            let before = self.occupancy.send_replace(now.clone());
            if before.is_none() {
                *self.found() = attempts.iter().filter_map(attempt_from_wire).collect();
                tracing::info!(address = %self.address, executor = name, "an executor answers");
            }
            if before != now {
                told();
            }
        }
    }

    /// Takes the attempts that ran there when it answered again: some may have been given up meanwhile.
    pub fn take_found(&self) -> Vec<AttemptId> {
        std::mem::take(&mut *self.found())
    }

    /// Gives back what could not be looked at.
    pub fn put_found(&self, attempts: Vec<AttemptId>) {
        self.found().extend(attempts);
    }

    fn found(&self) -> MutexGuard<'_, Vec<AttemptId>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it take nothing new.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn drain(&self) -> Result<ExecutorInfo, Error> {
        let mut client = self.client.clone();
        let answer =
            timeout(ANSWER, client.drain_executor(DrainExecutorRequest {})).await.map_err(|_| away())?;
        let answer = answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?;
        self.occupancy.send_replace(answer.into_inner().occupancy);
        Ok(self.info())
    }

    /// Counts a slot as taken.
    pub fn take_slot(&self) -> Slot {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Slot(self.taken.clone())
    }

    /// Asks which commit a branch is at, and what the repository's configuration says of deployments.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn resolve(
        &self,
        repository: &RepositoryUrl,
        branch: &BranchName,
        root_directory: Option<&RelativePath>,
        commit: Option<&str>,
        access: &SourceAccess,
    ) -> Result<Resolved, Error> {
        let request = ResolveSourceRequest {
            repository_url: repository.to_string(),
            branch: branch.to_string(),
            root_directory: root_directory.map(|path| path.as_str().to_owned()).unwrap_or_default(),
            commit: commit.unwrap_or_default().to_owned(),
            access: Some(access_to_wire(access)),
        };
        let mut client = self.client.clone();
        let answer =
            timeout(self.resolve_within, client.resolve_source(request)).await.map_err(|_| away())?;
        let answer = answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner();
        match answer.result {
            Some(resolve_source_response::Result::Version(version)) => Ok(Resolved::Version(version)),
            Some(resolve_source_response::Result::Disabled(version)) => Ok(Resolved::Disabled(version)),
            Some(resolve_source_response::Result::Failure(failure)) => {
                Ok(Resolved::Failed(failure_from_wire(&failure)))
            }
            None => Err(Error::internal("the executor answered neither a version nor a failure")),
        }
    }

    /// Asks a repository for its branches. Its failure is an answer.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn branches(
        &self,
        repository: &RepositoryUrl,
        access: &SourceAccess,
    ) -> Result<Result<RepositoryBranches, Failure>, Error> {
        let request = ListBranchesRequest {
            repository_url: repository.to_string(),
            access: Some(access_to_wire(access)),
        };
        let mut client = self.client.clone();
        let answer = timeout(BRANCHES, client.list_branches(request)).await.map_err(|_| away())?;
        let answer = answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner();
        match answer.result {
            Some(list_branches_response::Result::Branches(found)) => Ok(Ok(branches(found))),
            Some(list_branches_response::Result::Failure(failure)) => Ok(Err(failure_from_wire(&failure))),
            None => Err(Error::internal("the executor answered neither branches nor a failure")),
        }
    }

    /// Asks an SSH host for its keys, by way of the executor that would fetch from it.
    ///
    /// # Errors
    /// The executor or the host does not answer, or the host leads where nobody is led.
    pub async fn scan_host(&self, host: &str, port: u16) -> Result<Vec<HostKey>, Error> {
        let mut client = self.client.clone();
        let request = ScanHostRequest { host: host.to_owned(), port: port.into() };
        let answer = timeout(SCAN, client.scan_host(request)).await.map_err(|_| away())?;
        let answer = answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner();
        let mut violations = Violations::default();
        let keys = answer.keys.iter();
        Ok(keys.filter_map(|key| host_key_from_wire("keys", key, &mut violations)).collect())
    }

    /// Runs an attempt, or goes on with it after event `after`.
    ///
    /// # Errors
    /// The executor does not answer, is full, or does not know the attempt.
    pub async fn trigger(
        &self,
        spec: &BuildSpec,
        after: u64,
    ) -> Result<Streaming<TriggerDeployResponse>, Error> {
        let mut client = self.client.clone();
        let call = client.trigger_deploy(trigger_deploy_to_wire(spec, after));
        let answer = timeout(ANSWER, call).await.map_err(|_| away())?;
        Ok(answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner())
    }

    /// Lists the build caches of a project.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn caches(&self, project: ProjectId) -> Result<Vec<BuildCache>, Error> {
        let mut client = self.client.clone();
        let request = ListCachesRequest { project_id: project.to_string() };
        let answer = timeout(ANSWER, client.list_caches(request)).await.map_err(|_| away())?;
        let answer = answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner();
        Ok(answer.caches.into_iter().map(cache).collect())
    }

    /// Drops the build caches of a project, or of one of its branches.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn purge(
        &self,
        project: ProjectId,
        branch: Option<&BranchName>,
    ) -> Result<PurgedCaches, Error> {
        let mut client = self.client.clone();
        let branch = branch.map(ToString::to_string).unwrap_or_default();
        let request = PurgeCacheRequest { project_id: project.to_string(), branch };
        let answer = timeout(ANSWER, client.purge_cache(request)).await.map_err(|_| away())?;
        let answer = answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner();
        let wire::PurgedCaches { executor, count, bytes } = answer.purged.unwrap_or_default();
        Ok(PurgedCaches { executor, count, bytes })
    }

    /// Ends an attempt and returns when its sandbox is gone.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn cancel(&self, id: AttemptId) -> Result<(), Error> {
        let mut client = self.client.clone();
        let request = CancelDeployRequest { deployment_id: id.deployment.to_string(), attempt: id.attempt };
        let answer = timeout(CANCEL, client.cancel_deploy(request)).await.map_err(|_| away())?;
        answer.map(|_| ()).map_err(|status| from_status(&status, Reason::ExecutorUnavailable))
    }
}

fn attempt_from_wire(told: &RunningAttempt) -> Option<AttemptId> {
    Some(AttemptId { deployment: told.deployment_id.parse().ok()?, attempt: told.attempt })
}

fn branches(told: Branches) -> RepositoryBranches {
    let branch =
        |it: wire::Branch| Some(BranchAt { name: BranchName::parse(&it.name).ok()?, commit: it.commit });
    RepositoryBranches {
        default_branch: BranchName::parse(&told.default_branch).ok(),
        branches: told.branches.into_iter().filter_map(branch).collect(),
        truncated: told.truncated,
    }
}

fn cache(told: wire::BuildCache) -> BuildCache {
    BuildCache {
        made_at: datetime(told.made_at.as_ref()),
        used_at: datetime(told.used_at.as_ref()),
        executor: told.executor,
        key: told.key,
        branch: told.branch,
        root_directory: told.root_directory,
        builder_image: told.builder_image,
        generation: told.generation,
        layers: told.layers,
        bytes: told.bytes,
        shared: told.shared,
    }
}

pub(super) fn away() -> Error {
    Error::new(Reason::ExecutorUnavailable, "the executor does not answer in time")
}
