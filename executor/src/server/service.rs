//! The calls of `grapnel.executor.v1.ExecutorService`.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use grapnel_artifacts::ArtifactStore;
use grapnel_domain::{
    BranchName, Error, Reason, RepositoryUrl, build::AttemptId, event::BuildEvent, failure::Failure,
    id::ProjectId, project::RelativePath, source::SourceAccess,
};
use grapnel_proto::{
    convert::{
        Violations,
        build::{attempt_id, commit, trigger_deploy_from_wire},
        checked,
        deployment::failure_to_wire,
        event::{build_event_to_wire, heartbeat},
        source::{access_from_wire, host_from_wire, host_key_to_wire},
        time::timestamp,
    },
    error::to_status,
    executor::v1::{
        Branches, CancelDeployRequest, CancelDeployResponse, DrainExecutorRequest, DrainExecutorResponse,
        GetExecutorRequest, GetExecutorResponse, ListArtifactsRequest, ListArtifactsResponse,
        ListBranchesRequest, ListBranchesResponse, ListCachesRequest, ListCachesResponse, Occupancy,
        PurgeCacheRequest, PurgeCacheResponse, RemoveArtifactsRequest, RemoveArtifactsResponse,
        ResolveSourceRequest, ResolveSourceResponse, RunningAttempt, ScanHostRequest, ScanHostResponse,
        TriggerDeployRequest, TriggerDeployResponse, Version, WatchExecutorRequest, WatchExecutorResponse,
        executor_service_server::ExecutorService, list_branches_response, resolve_source_response,
    },
    hooks::v1::{Branch, BuildCache, PurgedCaches},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    artifacts,
    attempt::Attempt,
    attempts::{Attempts, NoAttempt},
    occupancy::Slots,
};
use crate::{
    cache::{Caches, Listed, NotPurged},
    engine::Engine,
    pipeline::Pipeline,
    repository_config::{FILE_LIMIT, GRAPNEL_TOML, RepositoryConfig, VERCEL_JSON, too_large},
    source::{self, CommittedFile, Mirrors, ScanError, Source, SourceError},
};

/// How long a stream is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(4);

/// How long the last event of an attempt may take to be sent when the process stops.
const LAST: Duration = Duration::from_millis(200);

/// How many events may wait for a slow reader.
const WAITING: usize = 64;

/// How long the engine may take to describe itself.
const DESCRIBE: Duration = Duration::from_secs(3);

/// The service's handlers.
pub struct Service {
    /// The executor's stable name.
    pub name: String,
    /// What runs and ran.
    pub attempts: Attempts,
    /// Where versions are resolved.
    pub mirrors: Arc<Mirrors>,
    /// What builds find again.
    pub caches: Caches,
    /// What was made ahead of builds, to be thrown away with their cache.
    pub pipeline: Pipeline,
    /// What READY builds left.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// The engine, to be described.
    pub engine: Arc<dyn Engine>,
    /// Ends what takes no slot.
    pub stopping: CancellationToken,
    /// Ends all streams: what has not told its end is told by the next process.
    pub gone: CancellationToken,
}

#[tonic::async_trait]
impl ExecutorService for Service {
    type TriggerDeployStream = Pin<Box<dyn Stream<Item = Result<TriggerDeployResponse, Status>> + Send>>;
    type WatchExecutorStream = Pin<Box<dyn Stream<Item = Result<WatchExecutorResponse, Status>> + Send>>;

    async fn list_branches(
        &self,
        request: Request<ListBranchesRequest>,
    ) -> Result<Response<ListBranchesResponse>, Status> {
        let (repository, access) = repository(request.into_inner()).map_err(|e| to_status(&e))?;
        // Dropped with the call, as a version is that nobody waits for.
        let result = match self.mirrors.branches(Source::new(&repository, &access), &self.stopping).await {
            Ok(found) => list_branches_response::Result::Branches(branches(found)),
            Err(SourceError::Canceled) => return Err(to_status(&stopping())),
            // That is not the repository's doing.
            Err(error @ SourceError::Busy) => {
                return Err(to_status(&Error::new(Reason::ExecutorUnavailable, error.to_string())));
            }
            Err(error) => list_branches_response::Result::Failure(failure_to_wire(&error.failure())),
        };
        Ok(Response::new(ListBranchesResponse { result: Some(result) }))
    }

    async fn resolve_source(
        &self,
        request: Request<ResolveSourceRequest>,
    ) -> Result<Response<ResolveSourceResponse>, Status> {
        let Wanted { repository, access, branch, root, commit } =
            wanted(request.into_inner()).map_err(|e| to_status(&e))?;
        let source = Source::new(&repository, &access);
        // Dropped with the call: nobody needs an answer that nobody waits for.
        let resolved = async {
            let version = self.mirrors.resolve_at(source, &branch, commit.as_deref(), &self.stopping).await?;
            let config = self.configuration(source, &version.commit, root.as_ref()).await?;
            Ok((Version { commit: version.commit, message: version.message }, config))
        };
        let result = match resolved.await {
            Ok((_, Err(failure))) => resolve_source_response::Result::Failure(failure_to_wire(&failure)),
            Ok((version, Ok(config))) if config.disabled => {
                resolve_source_response::Result::Disabled(version)
            }
            Ok((version, Ok(_))) => resolve_source_response::Result::Version(version),
            Err(SourceError::Canceled) => return Err(to_status(&stopping())),
            Err(error) => resolve_source_response::Result::Failure(failure_to_wire(&error.failure())),
        };
        Ok(Response::new(ResolveSourceResponse { result: Some(result) }))
    }

    async fn trigger_deploy(
        &self,
        request: Request<TriggerDeployRequest>,
    ) -> Result<Response<Self::TriggerDeployStream>, Status> {
        let (spec, after) = trigger_deploy_from_wire(request.into_inner()).map_err(|e| to_status(&e))?;
        let attempt =
            self.attempts.attach_or_start(spec, after).map_err(|refusal| to_status(&refused(refusal)))?;
        let (send, events) = mpsc::channel(WAITING);
        let gone = self.gone.clone();
        // It ends when the caller leaves, when the attempt has ended, or when the process stops.
        tokio::spawn(async move {
            tokio::select! {
                () = stream_events(&attempt, after, &send) => {}
                () = send.closed() => {}
                () = async { gone.cancelled().await; tokio::time::sleep(LAST).await } => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn cancel_deploy(
        &self,
        request: Request<CancelDeployRequest>,
    ) -> Result<Response<CancelDeployResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let id = attempt_id(&request.deployment_id, request.attempt, &mut violations);
        violations.finish().map_err(|e| to_status(&e))?;
        self.attempts.cancel(checked(id).map_err(|e| to_status(&e))?).await;
        Ok(Response::new(CancelDeployResponse {}))
    }

    async fn get_executor(
        &self,
        _request: Request<GetExecutorRequest>,
    ) -> Result<Response<GetExecutorResponse>, Status> {
        let slots = self.attempts.occupancy().slots();
        let Slots { all, taken, .. } = slots;
        let engine = match timeout(DESCRIBE, self.engine.describe()).await {
            Ok(Ok(engine)) => format!("{} {} (API {})", engine.kind, engine.version, engine.api_version),
            Ok(Err(_)) | Err(_) => String::new(),
        };
        Ok(Response::new(GetExecutorResponse {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: u32::try_from(all).unwrap_or(u32::MAX),
            running: u32::try_from(taken).unwrap_or(u32::MAX),
            engine,
            draining: slots.is_closed(),
        }))
    }

    async fn watch_executor(
        &self,
        _request: Request<WatchExecutorRequest>,
    ) -> Result<Response<Self::WatchExecutorStream>, Status> {
        let (send, told) = mpsc::channel(1);
        let (mut slots, stopping, who) =
            (self.attempts.occupancy().watch(), self.stopping.clone(), self.who());
        let all = self.attempts.clone();
        tokio::spawn(async move {
            let telling = async {
                loop {
                    let occupancy = Some(who.occupancy(*slots.borrow_and_update()));
                    let attempts = all.running().into_iter().map(running).collect();
                    if send.send(Ok(WatchExecutorResponse { occupancy, attempts })).await.is_err() {
                        return;
                    }
                    let _ = timeout(HEARTBEAT, slots.changed()).await;
                }
            };
            tokio::select! {
                () = telling => {}
                () = send.closed() => {}
                () = stopping.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn drain_executor(
        &self,
        _request: Request<DrainExecutorRequest>,
    ) -> Result<Response<DrainExecutorResponse>, Status> {
        let occupancy = self.attempts.occupancy();
        occupancy.drain();
        tracing::info!("the executor takes nothing new from now on");
        Ok(Response::new(DrainExecutorResponse { occupancy: Some(self.who().occupancy(occupancy.slots())) }))
    }

    async fn scan_host(
        &self,
        request: Request<ScanHostRequest>,
    ) -> Result<Response<ScanHostResponse>, Status> {
        let ScanHostRequest { host, port } = request.into_inner();
        let mut violations = Violations::default();
        let named = host_from_wire("host", &host, port, &mut violations);
        violations.finish().map_err(|e| to_status(&e))?;
        let (host, port) = checked(named).map_err(|e| to_status(&e))?;
        let scanned = self.mirrors.scan_host(&host, port, &self.stopping).await;
        let keys = scanned.map_err(|error| to_status(&not_scanned(error)))?;
        Ok(Response::new(ScanHostResponse { keys: keys.iter().map(host_key_to_wire).collect() }))
    }

    async fn list_caches(
        &self,
        request: Request<ListCachesRequest>,
    ) -> Result<Response<ListCachesResponse>, Status> {
        let (project, _) =
            project_and_branch(&request.into_inner().project_id, "").map_err(|e| to_status(&e))?;
        let caches = self.caches.list(Some(&project.to_string()));
        let caches = caches.into_iter().map(|listed| self.listed(listed)).collect();
        Ok(Response::new(ListCachesResponse { caches }))
    }

    async fn purge_cache(
        &self,
        request: Request<PurgeCacheRequest>,
    ) -> Result<Response<PurgeCacheResponse>, Status> {
        let PurgeCacheRequest { project_id, branch } = request.into_inner();
        let (project, branch) = project_and_branch(&project_id, &branch).map_err(|e| to_status(&e))?;
        let (project, branch) = (project.to_string(), branch.map(|branch| branch.to_string()));
        let purged = self.caches.purge_everywhere(&project, branch.as_deref()).await;
        for staged in self.pipeline.shelf.forget(&project, branch.as_deref()) {
            self.pipeline.throw_away(staged);
        }
        let (count, bytes) = purged.map_err(|error| to_status(&still_shared(error)))?;
        tracing::info!(project.id = project, branch, count, bytes, "build caches were purged");
        let purged = PurgedCaches { executor: self.name.clone(), count, bytes };
        Ok(Response::new(PurgeCacheResponse { purged: Some(purged) }))
    }

    async fn list_artifacts(
        &self,
        request: Request<ListArtifactsRequest>,
    ) -> Result<Response<ListArtifactsResponse>, Status> {
        let listed = artifacts::list(&*self.artifacts, request.into_inner()).await;
        listed.map(Response::new).map_err(|error| to_status(&error))
    }

    async fn remove_artifacts(
        &self,
        request: Request<RemoveArtifactsRequest>,
    ) -> Result<Response<RemoveArtifactsResponse>, Status> {
        let running = self.attempts.running().into_iter().map(|id| id.deployment).collect();
        let removed = artifacts::remove(&*self.artifacts, request.into_inner(), &running).await;
        removed.map(Response::new).map_err(|error| to_status(&error))
    }
}

/// A bucket that still has what was to be dropped.
fn still_shared(error: NotPurged) -> Error {
    let told = format!(
        "the caches on the executors were dropped, and those in the bucket were not: {error}; try again"
    );
    Error::new(Reason::ExecutorUnavailable, told).because(error)
}

/// A host that shows no key.
fn not_scanned(error: ScanError) -> Error {
    match error {
        ScanError::Refused(_) => Error::invalid_field("host", error),
        ScanError::Unreachable(cause) => Error::new(Reason::HostUnreachable, cause),
    }
}

/// Who the executor is, for those whom its slots are told.
struct Who(String);

impl Who {
    fn occupancy(&self, slots: Slots) -> Occupancy {
        Occupancy {
            name: self.0.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: u32::try_from(slots.all).unwrap_or(u32::MAX),
            running: u32::try_from(slots.taken).unwrap_or(u32::MAX),
            draining: slots.is_closed(),
        }
    }
}

impl Service {
    fn who(&self) -> Who {
        Who(self.name.clone())
    }

    fn listed(&self, listed: Listed) -> BuildCache {
        let Listed { key, snapshot, used_at } = listed;
        BuildCache {
            executor: self.name.clone(),
            key,
            layers: u32::try_from(snapshot.layers().count()).unwrap_or(u32::MAX),
            bytes: snapshot.bytes(),
            branch: snapshot.key.branch,
            root_directory: snapshot.key.root,
            builder_image: snapshot.image_name,
            generation: snapshot.generation,
            made_at: Some(timestamp(snapshot.made_at)),
            used_at: Some(timestamp(used_at)),
            shared: snapshot.sent,
        }
    }

    /// Reads what the repository says of its deployments at a commit.
    async fn configuration(
        &self,
        source: Source<'_>,
        commit: &str,
        root: Option<&RelativePath>,
    ) -> Result<Result<RepositoryConfig, Failure>, SourceError> {
        let names = [VERCEL_JSON, GRAPNEL_TOML];
        let root = root.filter(|root| root.as_str() != ".");
        let below =
            |name: &str| root.map_or_else(|| name.to_owned(), |root| format!("{}/{name}", root.as_str()));
        let paths = names.map(below);
        let paths = paths.each_ref().map(String::as_str);
        let files = self.mirrors.files(source, commit, paths, FILE_LIMIT, &self.stopping).await?;
        let mut texts = [None, None];
        for ((text, name), file) in texts.iter_mut().zip(names).zip(files) {
            *text = match file {
                Some(CommittedFile::TooLarge) => return Ok(Err(too_large(name))),
                Some(CommittedFile::Text(text)) => Some(text),
                None => None,
            };
        }
        let [vercel, own] = texts;
        Ok(RepositoryConfig::read(vercel.as_deref(), own.as_deref()))
    }
}

/// Sends the events of an attempt after `sent`, and a heartbeat whenever there is nothing else for a while.
async fn stream_events(
    attempt: &Attempt,
    mut sent: u64,
    send: &mpsc::Sender<Result<TriggerDeployResponse, Status>>,
) {
    let mut count = attempt.count();
    if send.send(Ok(heartbeat())).await.is_err() {
        return;
    }
    loop {
        count.mark_unchanged();
        let events = match attempt.events_after(sent).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(attempt = %attempt.id, %error, "a journal cannot be read: the stream breaks off");
                let _ = send.send(Err(to_status(&Error::internal("the journal cannot be read")))).await;
                return;
            }
        };
        let more = !events.is_empty();
        for (sequence, event) in events {
            let last = matches!(event, BuildEvent::Finished { .. });
            if send.send(Ok(build_event_to_wire(sequence, &event))).await.is_err() {
                return;
            }
            if last {
                attempt.is_heard();
                return;
            }
            sent = sequence;
        }
        if more {
            continue;
        }
        let beat = timeout(HEARTBEAT, count.changed()).await.is_err();
        if beat && send.send(Ok(heartbeat())).await.is_err() {
            return;
        }
    }
}

/// A version that is to be resolved.
struct Wanted {
    repository: RepositoryUrl,
    access: SourceAccess,
    branch: BranchName,
    root: Option<RelativePath>,
    commit: Option<String>,
}

fn wanted(request: ResolveSourceRequest) -> Result<Wanted, Error> {
    let mut violations = Violations::default();
    let repository = violations.check("repository_url", RepositoryUrl::parse(&request.repository_url));
    let branch = violations.check("branch", BranchName::parse(&request.branch));
    let root = match request.root_directory.as_str() {
        "" => None,
        text => violations.check("root_directory", RelativePath::parse(text)),
    };
    let commit = match request.commit.as_str() {
        "" => None,
        text => violations.check("commit", commit(text.to_owned())),
    };
    let access = access_from_wire("access", request.access, &mut violations);
    violations.finish()?;
    Ok(Wanted { repository: checked(repository)?, access, branch: checked(branch)?, root, commit })
}

fn repository(request: ListBranchesRequest) -> Result<(RepositoryUrl, SourceAccess), Error> {
    let mut violations = Violations::default();
    let repository = violations.check("repository_url", RepositoryUrl::parse(&request.repository_url));
    let access = access_from_wire("access", request.access, &mut violations);
    violations.finish()?;
    Ok((checked(repository)?, access))
}

fn branches(found: source::Branches) -> Branches {
    let branch = |(name, commit): (BranchName, String)| Branch { name: name.to_string(), commit };
    Branches {
        default_branch: found.default_branch.map(|name| name.to_string()).unwrap_or_default(),
        branches: found.branches.into_iter().map(branch).collect(),
        truncated: found.truncated,
    }
}

fn project_and_branch(project: &str, branch: &str) -> Result<(ProjectId, Option<BranchName>), Error> {
    let mut violations = Violations::default();
    let project = violations.check("project_id", project.parse());
    let branch = match branch {
        "" => None,
        text => violations.check("branch", BranchName::parse(text)),
    };
    violations.finish()?;
    Ok((checked(project)?, branch))
}

fn running(id: AttemptId) -> RunningAttempt {
    RunningAttempt { deployment_id: id.deployment.to_string(), attempt: id.attempt }
}

fn refused(refusal: NoAttempt) -> Error {
    match refusal {
        NoAttempt::Full => Error::new(Reason::ExecutorFull, "all slots of the executor are taken"),
        NoAttempt::Draining => Error::new(Reason::ExecutorDraining, "the executor takes nothing new"),
        NoAttempt::Unknown => {
            Error::new(Reason::AttemptNotFound, "the executor knows nothing of this attempt")
        }
        NoAttempt::Stopping => stopping(),
    }
}

fn stopping() -> Error {
    Error::new(Reason::ShuttingDown, "the executor is stopping")
}
