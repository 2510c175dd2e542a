//! The executor as a process: gRPC, slots, attempts, the sweep at start and the look for orphans after it.

mod ahead;
mod artifacts;
mod attempt;
mod attempts;
mod cordon;
mod journal;
mod occupancy;
pub mod reconcile;
mod recover;
mod service;
mod sweep;

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use attempts::{Attempts, Capacity, Stopping};
use grapnel_artifacts::OpenError;
use grapnel_domain::{Error, Reason, build::AttemptId, secret_token::ApiKey};
use grapnel_proto::{
    DESCRIPTORS, error::to_status, executor::v1::executor_service_server::ExecutorServiceServer,
};
use grapnel_runtime::{
    Clock,
    grpc::{self, EndError, Peers},
    shutdown::Shutdown,
};
use journal::{Found, Journals};
use reconcile::Reconciler;
use service::Service;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status, service::RoutesBuilder};

use crate::{
    cache::{CacheConfig, Caches, Prepared, SharedConfig},
    config::ExecutorConfig,
    engine::{Engine, NetworkAccess},
    network::BuildNetwork,
    pipeline::{Pipeline, ahead::Shelf, sandbox::SandboxConfig},
    source::{self, SourceConfig},
};

/// The service that reflection shows.
const PUBLIC: &str = "grapnel.executor.v1.ExecutorService";

/// The runner, as it was built with this program.
const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grapnel-run"));

/// The longest path that a Unix socket can have, and what an attempt adds to the data directory's.
const SOCKET_PATH: usize = 107;
const SOCKET_BELOW: usize = "/workspaces/dpl_00000000000000000000000000-99/link/socket".len();

/// How often an engine that was away at the start is asked for what an earlier process has left in it.
const SWEEP_AGAIN: Duration = Duration::from_secs(5);

/// How long builds may take to end when the process stops.
const STOP: Duration = Duration::from_secs(15);

/// Why an executor does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is unusable.
    #[error("the data directory {path} cannot be used: {cause}")]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The data directory's path is too long.
    #[error("the data directory {0} has too long a path: sockets below it would exceed {SOCKET_PATH} bytes")]
    PathTooLong(PathBuf),
    /// The artifact store's settings do not fit together.
    #[error(transparent)]
    Artifacts(#[from] OpenError),
    /// The address is not to be had.
    #[error(transparent)]
    End(#[from] EndError),
}

/// An executor that listens and has not begun to serve.
pub struct Executor {
    listener: TcpListener,
    address: SocketAddr,
    config: ExecutorConfig,
    pipeline: Pipeline,
    journals: (Journals, Vec<Found>),
    clock: Clock,
}

impl Executor {
    /// Prepares the data directory and listens.
    ///
    /// # Errors
    /// The data directory or the address cannot be used. An engine that does not answer is no error: builds say so.
    pub async fn bind(config: ExecutorConfig, clock: Clock) -> Result<Self, StartError> {
        let engine = config.engine();
        Self::bind_with(config, clock, engine).await
    }

    /// Does the same with an engine of the caller's choice.
    ///
    /// # Errors
    /// As [`Executor::bind`].
    pub async fn bind_with(
        config: ExecutorConfig,
        clock: Clock,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, StartError> {
        let unusable = |cause| StartError::DataDirectory { path: config.data_dir.clone(), cause };
        let journals = Journals::open(config.data_dir.join("journals")).map_err(unusable)?;
        let found = journals.found().map_err(unusable)?;
        let begun: Vec<_> = found.iter().filter_map(|found| Some(&found.stage.as_ref()?.cache)).collect();
        let pipeline = pipeline(&config, engine, &clock, &begun)?;
        let (listener, address) = grpc::listen(&config.listen).await?;
        Ok(Self { listener, address, config, pipeline, journals: (journals, found), clock })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes up what an earlier process has left, sweeps the rest away, and serves until `shutdown`. Then nothing more
    /// begins. Builds may come to their end for a while; those that still run in their sandboxes then are left to the next
    /// process. Where a person ends the process, builds are ended and nothing is left.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), EndError> {
        let Self { listener, address, config, pipeline, journals, clock } = self;
        let engine = pipeline.engine.clone();
        let listed = sweep::left_over(&*engine, &config.name).await;
        let inventory = listed
            .inspect_err(|error| {
                tracing::warn!(%error, "what an earlier run left in the engine cannot be looked for now");
            })
            .ok();
        let engine_is_away = inventory.is_none();
        let (stopping, gone) = (Stopping::default(), CancellationToken::new());
        let capacity = Capacity { slots: config.slots, adopt_within: config.adopt_within };
        let attempts = Attempts::new(
            pipeline.clone(),
            clock.clone(),
            capacity,
            journals,
            inventory.as_ref(),
            stopping.clone(),
        )
        .await;
        let left = inventory.unwrap_or_default();
        if let Err(error) = sweep::sweep(&*engine, left, &pipeline.workspaces, &attempts.going_on()).await {
            tracing::warn!(%error, "what an earlier run left in the engine cannot be removed now");
        }
        pipeline.caches.let_go();
        let caches = pipeline.caches.clone();
        let upkeep = TaskTracker::new();
        let until = || shutdown.token().child_token();
        upkeep.spawn(attempts.clone().watch_over(until()));
        if engine_is_away {
            upkeep.spawn(sweep_later(engine.clone(), config.name.clone(), attempts.clone(), until()));
        }
        let trial = caches.clone();
        // Found out now, so that the first build need not wait for it; where the engine is away it is asked again then.
        let ahead = AttemptId { deployment: clock.new_id(), attempt: AttemptId::AHEAD };
        upkeep.spawn(async move {
            drop(trial.overlays().await);
            if let Ok(Some(points)) = trial.mount_points(ahead).await {
                trial.give_back(points).await;
            }
        });
        upkeep.spawn(caches.clone().watch_over(until()));
        upkeep.spawn(caches.clone().send_shared(until()));
        upkeep.spawn(caches.watch_over_shared(until()));
        upkeep.spawn(sweep::artifacts(pipeline.artifacts.clone(), until()));
        if config.network >= NetworkAccess::Egress {
            upkeep.spawn(pipeline.network.clone().watch_over(until()));
        }
        upkeep.spawn(cordon::watch_over(engine.clone(), attempts.occupancy().clone(), until()));
        let staging = ahead::keep_ready(
            pipeline.clone(),
            attempts.occupancy().clone(),
            clock,
            shutdown.token().clone(),
        );
        upkeep.spawn(staging);
        let known = attempts.clone();
        let reconciler = Reconciler::new(
            pipeline.engine.clone(),
            config.name.clone(),
            pipeline.workspaces.clone(),
            Box::new(move || known.in_use()),
        );
        upkeep.spawn(reconciler.watch_over(until()));
        upkeep.close();
        let service = Service {
            name: config.name.clone(),
            attempts: attempts.clone(),
            mirrors: pipeline.mirrors.clone(),
            caches: pipeline.caches.clone(),
            artifacts: pipeline.artifacts.clone(),
            pipeline: pipeline.clone(),
            engine,
            stopping: shutdown.token().clone(),
            gone: gone.clone(),
        };
        let finished = attempts.clone();
        let (ending, told) = (shutdown.token().clone(), config.name.clone());
        let finishing = tokio::spawn(async move {
            if ending.run_until_cancelled(finished.finished()).await.is_some() {
                tracing::info!(executor = told, "all is finished, as was asked for; the executor ends");
                ending.cancel();
            }
        });
        let key = config.key.clone();
        let mut routes = RoutesBuilder::default();
        routes.add_service(ExecutorServiceServer::with_interceptor(service, move |request| {
            authorise(request, &key)
        }));
        let routes = grpc::with_health_until(routes, DESCRIPTORS, &[PUBLIC], shutdown.token().clone())
            .await
            .map_err(|error| EndError::Address(error.to_string()))?;
        tracing::info!(%address, executor = config.name, slots = config.slots, "the executor listens");
        let tls = config.tls.as_ref().map(|tls| (tls, Peers::Processes));
        let mut serving = pin!(grpc::serve(listener, tls, routes, gone.clone()));
        let served = tokio::select! {
            served = &mut serving => served,
            () = stop(&shutdown, &attempts, &stopping, config.stop_within) => {
                gone.cancel();
                serving.await
            }
        };
        finishing.abort();
        let drained = async {
            upkeep.wait().await;
            pipeline.cleanups.close();
            pipeline.cleanups.wait().await;
            pipeline.caches.settled().await;
        };
        if timeout(STOP, drained).await.is_err() {
            tracing::warn!("builds are still ending; the sweep of the next start removes what they leave");
        }
        served
    }
}

/// Sweeps the engine when it answers at last.
async fn sweep_later(
    engine: Arc<dyn Engine>,
    executor: String,
    attempts: Attempts,
    stopping: CancellationToken,
) {
    while timeout(SWEEP_AGAIN, stopping.cancelled()).await.is_err() {
        let Ok(left) = sweep::left_over(&*engine, &executor).await else { continue };
        let left = sweep::only_of_attempts(left);
        // Only now: what is listed belongs to attempts that had begun by then.
        if sweep::remove(&*engine, left, &attempts.going_on()).await.is_ok() {
            return;
        }
    }
}

/// Waits until the process is to stop, and ends or hands over what runs in it.
async fn stop(shutdown: &Shutdown, attempts: &Attempts, stopping: &Stopping, within: Duration) {
    shutdown.token().cancelled().await;
    stopping.taking.cancel();
    attempts.occupancy().drain();
    let within = if shutdown.is_by_a_person() {
        stopping.running.cancel();
        STOP
    } else {
        within
    };
    if timeout(within, attempts.settled()).await.is_err() {
        tracing::info!("the builds that still run are handed over to the next process");
    }
    stopping.here.cancel();
    if timeout(STOP, attempts.drained()).await.is_err() {
        tracing::warn!("builds are still ending; the sweep of the next start removes what they leave");
    }
}

/// What `grapnel doctor` tries of an executor, without serving.
pub struct Trial {
    pipeline: Pipeline,
    _directory: tempfile::TempDir,
}

impl Trial {
    /// Prepares an executor with these settings in a directory of its own below the configured one.
    ///
    /// # Errors
    /// The data directory cannot be used.
    pub fn prepare(config: &ExecutorConfig) -> Result<Self, StartError> {
        let unusable = |cause| StartError::DataDirectory { path: config.data_dir.clone(), cause };
        let directory =
            tempfile::Builder::new().prefix("doctor-").tempdir_in(&config.data_dir).map_err(unusable)?;
        let engine = config.engine();
        let config = ExecutorConfig { data_dir: directory.path().to_owned(), ..config.clone() };
        Ok(Self { pipeline: pipeline(&config, engine, &Clock::system(), &[])?, _directory: directory })
    }

    /// Returns the network of its builds.
    pub fn network(&self) -> &BuildNetwork {
        &self.pipeline.network
    }

    /// Returns the caches of its builds.
    pub fn caches(&self) -> &Caches {
        &self.pipeline.caches
    }
}

/// Only hooks services may ask an executor for anything.
fn authorise(request: Request<()>, key: &ApiKey) -> Result<Request<()>, Status> {
    let headers = request.metadata().clone().into_headers();
    if grpc::shows_key(&headers, key) {
        return Ok(request);
    }
    let reason = if grpc::bearer_of(&headers).is_some() { Reason::KeyInvalid } else { Reason::KeyMissing };
    Err(to_status(&Error::new(reason, "the executor's service key is needed")))
}

fn pipeline(
    config: &ExecutorConfig,
    engine: Arc<dyn Engine>,
    clock: &Clock,
    begun: &[&Prepared],
) -> Result<Pipeline, StartError> {
    let data = &config.data_dir;
    if data.as_os_str().len() + SOCKET_BELOW > SOCKET_PATH {
        return Err(StartError::PathTooLong(data.clone()));
    }
    let unusable = |cause| StartError::DataDirectory { path: data.clone(), cause };
    let workspaces = data.join("workspaces");
    fs::create_dir_all(&workspaces).map_err(unusable)?;
    let bucket = if config.cache.shared.is_some() { config.artifacts.bucket()? } else { None };
    let shared = config.cache.shared.zip(bucket).map(|(limits, bucket)| SharedConfig {
        bucket,
        fetch_within: limits.fetch_within,
        total_bytes: limits.total_bytes,
        settles: SharedConfig::SETTLES,
    });
    let caches = CacheConfig {
        directory: data.join("caches"),
        executor: config.name.clone(),
        probe_image: config.builder_image.clone(),
        storage: config.cache.storage,
        key_bytes: config.cache.key_bytes,
        max_age: config.cache.max_age,
        total_bytes: config.cache.total_bytes,
        shared,
    };
    let caches = Caches::open_beside(caches, engine.clone(), clock.clone(), begun).map_err(unusable)?;
    let runner = install_runner(&data.join("bin")).map_err(unusable)?;
    let mirrors = source::open(SourceConfig {
        mirrors: data.join("mirrors"),
        allowed_dirs: config.git_allowed_dirs.clone(),
        ca_bundle: config.ca_bundle.clone(),
        closed_networks: config.git_closed_networks.clone(),
        timeout: config.git_timeout,
        size_limit: config.git_size_limit,
    })
    .map_err(unusable)?;
    let network =
        BuildNetwork::new(engine.clone(), config.name.clone(), runner.clone(), config.builder_image.clone());
    Ok(Pipeline {
        caches,
        network,
        engine,
        mirrors,
        artifacts: config.artifacts.open()?,
        sandbox: SandboxConfig {
            executor: config.name.clone(),
            runner,
            ca_bundle: config.ca_bundle.clone(),
            user: build_user(),
            network: config.network,
            runtime: config.runtime.clone(),
            seccomp: config.seccomp.clone(),
        },
        shelf: Shelf::new(config.prestart),
        skip_unchanged_install: config.skip_unchanged_install,
        workspaces,
        builder_image: config.builder_image.clone(),
        ceilings: config.ceilings,
        cleanups: TaskTracker::new(),
    })
}

/// Builds run as the builder image's user. Who is not root cannot hand files to another user, and builds run as
/// the executor's own then.
fn build_user() -> (u32, u32) {
    let own = rustix::process::geteuid();
    if own.is_root() { (10_001, 10_001) } else { (own.as_raw(), rustix::process::getegid().as_raw()) }
}

/// Writes the runner, `grapnel-run`, where the engine can mount it from, and returns its path. By rename: a sandbox may
/// be using the old one.
///
/// # Errors
/// The directory cannot be written.
pub fn install_runner(directory: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let path = directory.join("grapnel-run");
    if fs::read(&path).is_ok_and(|installed| installed == RUNNER) {
        return Ok(path);
    }
    let new = directory.join(format!(".grapnel-run.{}", std::process::id()));
    fs::write(&new, RUNNER)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &path)?;
    Ok(path)
}
