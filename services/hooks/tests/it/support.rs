//! What the tests stand on: databases, a team with a project, calls over gRPC.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use grapnel_domain::{
    BranchName, Error, RepositoryUrl,
    failure::Failure,
    id::{ProjectId, TeamId},
    plan::{HookLimits, Plan},
    project::BuildSettings,
    scope::Scope,
    secret_token::ApiKey,
    source::{HostKey, SourceAccess},
};
use grapnel_hooks::{
    app::{Addresses, AllExecutors, App, Executors, NewProject, TriggerRates},
    model::{BuildCache, ExecutorInfo, ExecutorState, PurgedCaches, RepositoryBranches, Team},
    sealing::Sealer,
    store::{Store, projects::ProjectRef},
};
use grapnel_proto::{DESCRIPTORS, hooks::v1::CreateSessionResponse};
use grapnel_runtime::{CancellationToken, Clock, grpc};
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use sea_orm::{ConnectionTrait as _, Database};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
    transport::Channel,
};

/// No executor: every commit may be there, and no cache is.
struct NoExecutors;

#[async_trait::async_trait]
impl Executors for NoExecutors {
    async fn refusal(&self, _: &RepositoryUrl, _: &BranchName, _: &str, _: &SourceAccess) -> Option<String> {
        None
    }

    async fn branches(
        &self,
        _: &RepositoryUrl,
        _: &SourceAccess,
    ) -> Result<Result<RepositoryBranches, Failure>, Error> {
        Ok(Ok(RepositoryBranches::default()))
    }

    async fn scan_host(&self, _: &str, _: u16) -> Result<Vec<HostKey>, Error> {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        Ok(vec![key.parse().unwrap()])
    }

    async fn caches(&self, _: ProjectId) -> Result<Vec<BuildCache>, Error> {
        Ok(Vec::new())
    }

    async fn purge(&self, _: ProjectId, _: Option<&BranchName>) -> Result<Vec<PurgedCaches>, Error> {
        Ok(Vec::new())
    }

    fn list(&self) -> Vec<ExecutorInfo> {
        Vec::new()
    }

    async fn drain(&self, name: &str) -> Result<ExecutorInfo, Error> {
        Ok(ExecutorInfo {
            address: "http://localhost".into(),
            name: name.to_owned(),
            version: String::new(),
            state: ExecutorState::Draining,
            slots: 1,
            running: 0,
        })
    }
}

/// Runs a test's body on both databases, each new and the test's own.
pub async fn on_both(body: impl AsyncFn(String)) {
    let directory = tempfile::tempdir().unwrap();
    body(format!("sqlite://{}/grapnel.db", directory.path().display())).await;
    let postgres = new_postgres_database().await;
    body(postgres.clone()).await;
    let _ = std::fs::remove_file(secret_key_file(&postgres));
}

/// Returns where the keys of a database's secrets are: beside it, or under its name.
pub fn secret_key_file(url: &str) -> PathBuf {
    match url.strip_prefix("sqlite://") {
        Some(path) => Path::new(path).with_file_name("secret.key"),
        None => std::env::temp_dir().join(format!("{}.key", url.rsplit('/').next().unwrap())),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by their environment where the database is")]
pub async fn new_postgres_database() -> String {
    let variable = "GRAPNEL_TEST_POSTGRES_URL";
    let admin =
        std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; `make test` sets it"));
    let id = Clock::system().new_id::<grapnel_domain::id::TeamKind>();
    let name = format!("test_{:x}", id.uuid().as_u128());
    let database = Database::connect(&admin).await.unwrap();
    database.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    format!("{}/{name}", admin.rsplit_once('/').unwrap().0)
}

pub async fn app(url: &str) -> (App, Team, ProjectRef) {
    app_at(url, Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap()).0).await
}

pub async fn app_at(url: &str, clock: Clock) -> (App, Team, ProjectRef) {
    let store = Store::open(url).await.unwrap();
    let team = store.first_team(clock.new_id(), Plan::Hobby, clock.now()).await.unwrap();
    let addresses = Addresses {
        public_url: "http://localhost".into(),
        sites_scheme: "http".into(),
        sites_domain: "localhost".into(),
    };
    let plenty = NonZeroU32::new(1_000_000).unwrap();
    let rates = TriggerRates::new(plenty, plenty);
    let executors = AllExecutors::new(NoExecutors);
    let sealer = Sealer::open(secret_key_file(url), true).unwrap();
    store.seal_under(&sealer.current()).await.unwrap();
    let app = App {
        store,
        sealer,
        clock,
        limits: HookLimits::default(),
        rates,
        executors,
        addresses,
        session_lifetime: Duration::from_secs(12 * 60 * 60),
    };
    let project = new_project(&app, team.id, "site").await;
    (app, team, project)
}

/// Creates a project of a team.
pub async fn new_project(app: &App, team: TeamId, name: &str) -> ProjectRef {
    let new = NewProject {
        name: name.parse().unwrap(),
        repository: RepositoryUrl::parse("https://example.org/site.git").unwrap(),
        production_branch: BranchName::parse("main").unwrap(),
        settings: BuildSettings::default(),
    };
    ProjectRef::Id(app.create_project(team, new).await.unwrap().id)
}

/// The service over gRPC, on SQLite, with a team that has a project.
pub struct Service {
    pub app: App,
    pub team: Team,
    pub project: ProjectRef,
    pub gateway_key: ApiKey,
    channel: Channel,
    stopping: CancellationToken,
    directory: Option<TempDir>,
}

impl Service {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/grapnel.db", directory.path().display());
        let clock = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap()).0;
        let mut service = Self::over(&url, clock).await;
        service.directory = Some(directory);
        service
    }

    /// The same over any database, by any clock.
    pub async fn over(url: &str, clock: Clock) -> Self {
        let (app, team, project) = app_at(url, clock).await;
        let gateway_key = ApiKey::generate(&mut rand::rng());
        let stopping = CancellationToken::new();
        let routes = grapnel_hooks::grpc::routes(&app, gateway_key.clone(), stopping.clone());
        let routes =
            grpc::with_health_and_reflection(routes, DESCRIPTORS, &grapnel_hooks::grpc::PUBLIC).await;
        let (listener, address): (_, SocketAddr) = grpc::listen("127.0.0.1:0").await.unwrap();
        tokio::spawn(grpc::serve(listener, None, routes.unwrap(), stopping.clone()));
        let channel = grpc::channel(&format!("http://{address}"), None).unwrap();
        Self { app, team, project, gateway_key, channel, stopping, directory: None }
    }

    /// Signs in with a key, and returns what is shown from then on.
    pub async fn session(&self, key: &str) -> String {
        let path = "/grapnel.hooks.v1.SessionService/CreateSession";
        let opened = self.call(path, Some(&format!("Bearer {key}")), &[]).await.unwrap();
        CreateSessionResponse::decode(opened).unwrap().secret
    }

    /// Makes a key of a team.
    pub async fn key(&self, team: &Team, scopes: &[Scope]) -> String {
        let (_, secret) =
            self.app.create_key(team.id, "test".into(), scopes.iter().copied().collect()).await.unwrap();
        secret.expose().to_owned()
    }

    /// Makes a second team.
    pub async fn other_team(&self) -> Team {
        let team = Team { id: self.app.clock.new_id(), plan: Plan::Hobby };
        self.app.store.create_team(&team, "other", self.app.clock.now()).await.unwrap();
        team
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Returns a connection.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Makes any call with any bytes, and returns the first message of its answer.
    pub async fn call(
        &self,
        path: &str,
        authorization: Option<&str>,
        message: &[u8],
    ) -> Result<Bytes, Status> {
        call(&self.channel, path, authorization, message).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// Makes any call with any bytes, and returns the first message of its answer; nothing of what is told as it happens.
pub async fn call(
    channel: &Channel,
    path: &str,
    authorization: Option<&str>,
    message: &[u8],
) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::copy_from_slice(message));
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", MetadataValue::try_from(value).unwrap());
    }
    let answer = client.server_streaming(request, path.parse().unwrap(), RawCodec).await?;
    if path.ends_with("/WatchDeployments") {
        return Ok(Bytes::new());
    }
    Ok(answer.into_inner().message().await?.unwrap_or_default())
}

/// Passes bytes on as they are.
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
