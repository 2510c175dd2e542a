//! An executor that serves, over an engine of the test's choice, and can be killed and started again.

use std::{path::Path, sync::Arc, time::Duration};

use grapnel_artifacts::StoreConfig;
use grapnel_domain::{build::BuildLimits, secret_token::ApiKey};
use grapnel_e2e::Repository;
use grapnel_executor::{
    CacheLimits, EngineConfig, Executor, ExecutorConfig,
    cache::Storage,
    engine::{
        Engine, NetworkAccess,
        fake::{FakeEngine, Program},
    },
};
use grapnel_proto::{
    executor::v1::{
        executor_service_client::ExecutorServiceClient, finished::Outcome, trigger_deploy_response::Event, *,
    },
    hooks::v1::BuildSettings,
};
use grapnel_runtime::{
    Clock,
    grpc::{self, Bearer},
    shutdown::Shutdown,
};
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use tonic::{Status, Streaming, codegen::InterceptedService, transport::Channel};

use crate::support::{GONE, Runner, program};

pub const IMAGE: &str = "builder";

/// How long builds wait to be asked for again: longer than a test takes that asks.
pub const ADOPT_WITHIN: Duration = Duration::from_secs(8);

pub type Client = ExecutorServiceClient<InterceptedService<Channel, Bearer>>;

/// An executor that serves.
pub struct Served {
    pub engine: FakeEngine,
    pub repository: Repository,
    pub directory: TempDir,
    pub channel: Channel,
    pub key: ApiKey,
    pub process: Process,
    prestart: usize,
}

/// What stands for the executor's process: with it ends all that it runs, at any moment and without a word.
pub struct Process {
    runtime: Option<Runtime>,
    pub stopping: Shutdown,
    pub serving: JoinHandle<()>,
}

impl Process {
    /// Starts an executor over a data directory, and returns it with its address.
    async fn start(config: ExecutorConfig, engine: Arc<dyn Engine>) -> (Self, Channel) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let stopping = Shutdown::default();
        let shutdown = stopping.clone();
        let (tell, address) = tokio::sync::oneshot::channel();
        let serving = runtime.spawn(async move {
            let executor = Executor::bind_with(config, Clock::system(), engine).await.unwrap();
            tell.send(executor.address()).unwrap();
            executor.run(shutdown).await.unwrap();
        });
        let address = address.await.unwrap();
        let channel = grpc::channel(&format!("http://{address}"), None).unwrap();
        (Self { runtime: Some(runtime), stopping, serving }, channel)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stopping.ask_by_a_person();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Served {
    pub async fn start(program: Program) -> Self {
        let engine = FakeEngine::new(&[IMAGE], program);
        let directory = tempfile::Builder::new().prefix("grapnel-").tempdir().unwrap();
        Self::start_in(directory, engine).await
    }

    /// Starts one that makes so many sandboxes ready ahead of builds.
    pub async fn start_ahead(program: Program, prestart: usize) -> Self {
        let engine = FakeEngine::new(&[IMAGE], program);
        let directory = tempfile::Builder::new().prefix("grapnel-").tempdir().unwrap();
        Self::start_with(directory, engine, prestart).await
    }

    pub async fn start_in(directory: TempDir, engine: FakeEngine) -> Self {
        Self::start_with(directory, engine, 0).await
    }

    async fn start_with(directory: TempDir, engine: FakeEngine, prestart: usize) -> Self {
        let repository = Repository::with(&directory.path().join("git/site"), &[("index.html", "hi")]);
        let key = ApiKey::generate(&mut rand::rng());
        let config = ExecutorConfig { prestart, ..config(directory.path(), &key) };
        let (process, channel) = Process::start(config, Arc::new(engine.clone())).await;
        Self { engine, repository, directory, channel, key, process, prestart }
    }

    /// Ends the process as nobody can prepare for, lets something happen, and starts the next one.
    pub async fn start_again(&mut self, meanwhile: impl FnOnce(&Path)) {
        if let Some(runtime) = self.process.runtime.take() {
            // What runs is dropped where it waits next, and what blocks is waited for: a dead process writes no more.
            let ended = tokio::task::spawn_blocking(|| runtime.shutdown_timeout(Duration::from_secs(10)));
            ended.await.unwrap();
        }
        meanwhile(&self.directory.path().join("data"));
        let config = ExecutorConfig { prestart: self.prestart, ..config(self.directory.path(), &self.key) };
        let (process, channel) = Process::start(config, Arc::new(self.engine.clone())).await;
        (self.process, self.channel) = (process, channel);
    }

    pub fn client(&self) -> Client {
        ExecutorServiceClient::with_interceptor(self.channel.clone(), Bearer::new(&self.key))
    }

    pub async fn version(&self) -> Version {
        let request = ResolveSourceRequest {
            repository_url: self.repository.path(),
            branch: "main".into(),
            ..Default::default()
        };
        match self.client().resolve_source(request).await.unwrap().into_inner().result {
            Some(resolve_source_response::Result::Version(version)) => version,
            other => panic!("{other:?}"),
        }
    }

    pub async fn request(&self) -> TriggerDeployRequest {
        let clock = Clock::system();
        TriggerDeployRequest {
            deployment_id: clock.new_id::<grapnel_domain::id::DeploymentKind>().to_string(),
            attempt: 1,
            after_sequence: 0,
            spec: Some(BuildSpec {
                project_id: clock.new_id::<grapnel_domain::id::ProjectKind>().to_string(),
                project_name: "site".into(),
                repository_url: self.repository.path(),
                branch: "main".into(),
                version: Some(self.version().await),
                production: true,
                trigger_count: 1,
                build_cache: true,
                settings: Some(BuildSettings {
                    install_command: Some("echo installed".into()),
                    build_command: Some("mkdir dist && cp index.html dist/".into()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }
    }

    /// Returns the same request for another deployment.
    pub fn another(&self, request: &TriggerDeployRequest) -> TriggerDeployRequest {
        let deployment = Clock::system().new_id::<grapnel_domain::id::DeploymentKind>();
        TriggerDeployRequest { deployment_id: deployment.to_string(), ..request.clone() }
    }

    pub async fn trigger(
        &self,
        request: &TriggerDeployRequest,
    ) -> Result<Streaming<TriggerDeployResponse>, Status> {
        Ok(self.client().trigger_deploy(request.clone()).await?.into_inner())
    }

    /// Asks for an attempt after some of its events, and reads it to its end.
    pub async fn told_after(
        &self,
        request: &TriggerDeployRequest,
        after_sequence: u64,
    ) -> Vec<TriggerDeployResponse> {
        let request = TriggerDeployRequest { after_sequence, ..request.clone() };
        told(self.trigger(&request).await.unwrap()).await
    }
}

fn config(directory: &Path, key: &ApiKey) -> ExecutorConfig {
    ExecutorConfig {
        artifacts: StoreConfig::Directory(directory.join("data/artifacts")),
        listen: "127.0.0.1:0".into(),
        data_dir: directory.join("data"),
        name: "one".into(),
        slots: 1,
        prestart: 0,
        stop_within: Duration::from_secs(2),
        adopt_within: ADOPT_WITHIN,
        engine: EngineConfig::Docker { socket: String::new() },
        network: NetworkAccess::None,
        runtime: None,
        seccomp: None,
        egress_allow: Vec::new(),
        resolvers: Vec::new(),
        skip_unchanged_install: true,
        cache: CacheLimits {
            storage: Storage::Auto,
            key_bytes: 1 << 30,
            max_age: Duration::from_secs(3600),
            total_bytes: 1 << 32,
            shared: None,
        },
        builder_image: IMAGE.into(),
        ca_bundle: None,
        git_allowed_dirs: vec![directory.join("git")],
        git_closed_networks: Vec::new(),
        git_timeout: Duration::from_secs(60),
        git_size_limit: 1 << 30,
        ceilings: BuildLimits::default(),
        key: key.clone(),
        tls: None,
    }
}

/// Reads a stream to its end, without heartbeats.
pub async fn told(mut stream: Streaming<TriggerDeployResponse>) -> Vec<TriggerDeployResponse> {
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        if !matches!(message.event, Some(Event::Heartbeat(_))) {
            told.push(message);
        }
    }
    told
}

/// Makes sure that events are numbered from 1 on, without gap and repeat.
pub fn numbered(told: &[TriggerDeployResponse]) {
    let numbers: Vec<_> = told.iter().map(|message| message.sequence).collect();
    assert!(numbers.iter().copied().eq(1..=told.len() as u64), "{numbers:?}");
}

pub fn outcome(told: &[TriggerDeployResponse]) -> Option<Outcome> {
    match told.last()?.event.clone()? {
        Event::Finished(finished) => finished.outcome,
        _ => None,
    }
}

/// Returns the code of the failure with which an attempt ended.
pub fn failure(told: &[TriggerDeployResponse]) -> String {
    match outcome(told) {
        Some(Outcome::Failed(failure)) => failure.code,
        other => panic!("{other:?}"),
    }
}

/// Never ends a step.
pub fn endless() -> Program {
    program(|sandbox| async move {
        let mut runner = Runner::connect(&sandbox).await;
        runner.next_step().await;
        std::future::pending::<()>().await;
        GONE
    })
}
