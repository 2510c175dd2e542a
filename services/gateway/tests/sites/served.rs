//! A gateway that serves a site.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use grapnel_artifacts::{
    ArtifactError, ArtifactStore as _, CacheConfig, DirectoryStore, Limits, StoreConfig,
};
use grapnel_domain::{Error, Reason, id::DeploymentId, secret_token::ApiKey};
use grapnel_gateway::{Gateway, GatewayConfig};
use grapnel_proto::{
    error::to_status,
    hooks::v1::{
        ReadStatusRequest, ReadStatusResponse, ResolveSiteRequest, ResolveSiteResponse,
        site_service_server::{SiteService, SiteServiceServer},
    },
};
use grapnel_runtime::{CancellationToken, Clock};
use reqwest::{Method, RequestBuilder, Response};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Request, Status, transport::server::TcpIncoming};

/// The label of the site that a test is about.
pub const SITE: &str = "site";

/// What a hooks service says of addresses.
#[derive(Clone, Default)]
struct Said {
    of: Arc<Mutex<BTreeMap<String, Result<DeploymentId, Reason>>>>,
    asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl SiteService for Said {
    async fn resolve_site(
        &self,
        request: Request<ResolveSiteRequest>,
    ) -> Result<tonic::Response<ResolveSiteResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let label = request.into_inner().label;
        let said = self.of.lock().unwrap().get(&label).copied().unwrap_or(Err(Reason::SiteNotFound));
        match said {
            Ok(id) => Ok(ResolveSiteResponse {
                deployment_id: id.to_string(),
                immutable: label.starts_with("dpl_"),
            }
            .into()),
            Err(reason) => Err(to_status(&Error::new(reason, "no"))),
        }
    }

    async fn read_status(
        &self,
        _: Request<ReadStatusRequest>,
    ) -> Result<tonic::Response<ReadStatusResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

/// A gateway over a directory of artifacts, and a hooks service. Everything ends when it is dropped.
pub struct Served {
    address: SocketAddr,
    said: Said,
    directory: TempDir,
    clock: Clock,
    client: reqwest::Client,
    stopping: CancellationToken,
}

impl Served {
    /// Starts one that serves nothing.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (said, stopping) = (Said::default(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hooks_url = format!("http://{}", listener.local_addr().unwrap());
        let hooks = tonic::transport::Server::builder()
            .add_service(SiteServiceServer::new(said.clone()))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), stopping.clone().cancelled_owned());
        tokio::spawn(async move { hooks.await.unwrap() });
        let config = GatewayConfig {
            listen: "127.0.0.1:0".into(),
            sites_listen: "127.0.0.1:0".into(),
            hooks_url,
            gateway_key: ApiKey::generate(&mut rand::rng()),
            artifacts: StoreConfig::Directory(directory.path().join("artifacts")),
            cache: CacheConfig {
                directory: directory.path().join("cache"),
                bytes: 0,
                patience: CacheConfig::PATIENCE,
            },
            tls: None,
            trusted_proxies: Default::default(),
            public_url: None,
        };
        let gateway = Gateway::bind(config).await.unwrap();
        let address = gateway.sites_address();
        let shutdown = stopping.clone();
        tokio::spawn(async move { gateway.run(None, shutdown).await.unwrap() });
        Self { address, said, directory, clock: Clock::system(), client: client(), stopping }
    }

    /// Starts one that serves these files at [`SITE`] and at the deployment's own address.
    pub async fn with(files: &[(&str, &[u8])]) -> Self {
        let this = Self::start().await;
        let id = this.publish(files).await;
        this.say(SITE, Ok(id));
        this.say(&id.to_string(), Ok(id));
        this
    }

    /// Publishes files.
    pub async fn publish(&self, files: &[(&str, &[u8])]) -> DeploymentId {
        let output = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = output.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self.publish_tree(&output).await.unwrap()
    }

    /// Publishes what is in a directory.
    pub async fn publish_tree(&self, output: &TempDir) -> Result<DeploymentId, ArtifactError> {
        let id = self.clock.new_id();
        let store = DirectoryStore::new(self.directory.path().join("artifacts"));
        let limits = Limits { bytes: 64 << 20, files: 1000 };
        store.publish(id, output.path(), limits, &CancellationToken::new()).await?;
        Ok(id)
    }

    /// Returns where a deployment's files are.
    pub fn files(&self, id: DeploymentId) -> PathBuf {
        self.directory.path().join("artifacts").join(id.to_string()).join("files")
    }

    /// Lets the hooks service say something of a label from now on.
    pub fn say(&self, label: &str, answer: Result<DeploymentId, Reason>) {
        self.said.of.lock().unwrap().insert(label.to_owned(), answer);
    }

    /// Returns how often the hooks service was asked.
    pub fn asked(&self) -> usize {
        self.said.asked.load(Ordering::SeqCst)
    }

    /// Makes a request for a site by its label.
    pub fn request_of(&self, label: &str, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url).header("host", format!("{label}.localhost:7380"))
    }

    /// Makes a request for [`SITE`].
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request_of(SITE, Method::GET, path)
    }

    /// Reads a file of [`SITE`].
    pub async fn read(&self, path: &str) -> Response {
        self.get(path).send().await.unwrap()
    }

    /// Sends bytes as they are and returns what comes back until the connection ends.
    pub async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A connection that is refused in mid-request may end in a reset.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks with a target and header lines as they are.
    pub async fn ask(&self, target: &str, headers: &str) -> String {
        let request = format!("GET {target} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        self.raw(request.as_bytes()).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn client() -> reqwest::Client {
    let tls = grapnel_runtime::https::client_config(None).unwrap();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
    client.redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// Returns a header of an answer; nothing where it has none.
pub fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}
