//! The gateway as a process: two listeners, one for the interface and one for sites.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use grapnel_artifacts::{OpenError, SiteFiles};
use grapnel_runtime::{
    CancellationToken, Clock,
    grpc::{self, EndError, Line, Local},
    telemetry::Metrics,
};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    client_address::TrustedProxies,
    config::GatewayConfig,
    dashboard, deployments,
    error::HttpError,
    hook_url,
    hooks_client::HooksClient,
    http_server, rest,
    sites::{self, Sites},
    status,
};

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not to be had, or the hooks service's is none.
    #[error(transparent)]
    End(#[from] EndError),
    /// The artifact store, or what is kept of it here, cannot be used.
    #[error(transparent)]
    Artifacts(#[from] OpenError),
}

/// A gateway that listens and has not begun to serve.
pub struct Gateway {
    interface: (TcpListener, SocketAddr),
    sites: (TcpListener, SocketAddr),
    config: GatewayConfig,
    hooks: Option<Local>,
}

impl Gateway {
    /// Listens on both addresses.
    ///
    /// # Errors
    /// One of them is taken.
    pub async fn bind(config: GatewayConfig) -> Result<Self, StartError> {
        let interface = grpc::listen(&config.listen).await?;
        let sites = grpc::listen(&config.sites_listen).await?;
        Ok(Self { interface, sites, config, hooks: None })
    }

    /// Returns the address of the interface.
    pub fn address(&self) -> SocketAddr {
        self.interface.1
    }

    /// Returns the address of sites.
    pub fn sites_address(&self) -> SocketAddr {
        self.sites.1
    }

    /// Takes the hooks service of this process, in place of the configured one.
    pub fn set_hooks(&mut self, hooks: Local) {
        self.hooks = Some(hooks);
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// The hooks service's address is none, or the artifact store cannot be used.
    pub async fn run(self, metrics: Option<Metrics>, shutdown: CancellationToken) -> Result<(), StartError> {
        let Self { interface, sites, config, hooks } = self;
        let line = match hooks {
            Some(local) => Line::Local(local),
            None => Line::Connected(grpc::channel(&config.hooks_url, config.tls.as_ref())?),
        };
        let hooks = HooksClient::new(line, &config.gateway_key);
        let interface_state = Interface {
            hooks: hooks.clone(),
            trusted_proxies: config.trusted_proxies,
            public_url: config.public_url,
            clock: Clock::system(),
            stopping: shutdown.clone(),
        };
        let files = SiteFiles::open(config.artifacts.open()?, config.cache).await?;
        let served = Sites::new(hooks.clone(), files);
        tracing::info!(address = %interface.1, sites = %sites.1, "the gateway listens");
        tokio::join!(
            http_server::serve(interface.0, interface_router(interface_state, metrics), shutdown.clone()),
            http_server::serve(sites.0, sites_router(served), shutdown),
        );
        Ok(())
    }
}

/// What the handlers of the interface share.
#[derive(Clone)]
pub struct Interface {
    /// The hooks service.
    pub hooks: HooksClient,
    /// The proxies that are believed.
    pub trusted_proxies: TrustedProxies,
    /// How addresses of our own begin; none is as the caller called us.
    pub public_url: Option<String>,
    /// What pages tell times by.
    pub clock: Clock,
    /// When the gateway stops: what is told without end ends then.
    pub stopping: CancellationToken,
}

impl FromRef<Interface> for HooksClient {
    fn from_ref(interface: &Interface) -> Self {
        interface.hooks.clone()
    }
}

fn interface_router(interface: Interface, metrics: Option<Metrics>) -> Router {
    let routes = Router::new()
        .route("/v1/integrations/deploy/{project}/{token}", any(hook_url::trigger))
        .route("/v1/deployments/{id}", get(deployments::get))
        .route("/v1/deployments/{id}/events", get(deployments::events))
        .route("/v1/status/{id}/{token}", get(status::read))
        .route("/v1/status/{id}/{token}/badge.svg", get(status::badge))
        .route("/healthz", get(health))
        .merge(dashboard::routes())
        .merge(rest::routes())
        .with_state(interface)
        .route("/metrics", get(move || show(metrics.clone())))
        .fallback(not_found)
        .method_not_allowed_fallback(|| async { HttpError::method_not_allowed() })
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            HttpError::from(grapnel_domain::Error::internal("a handler panicked")).into_response()
        }));
    rest::any_version(routes)
}

fn sites_router(sites: Sites) -> Router {
    Router::new().fallback(sites::serve).with_state(sites)
}

/// Answers where nothing is: with a page for people, in JSON for everybody else.
async fn not_found(uri: Uri, headers: HeaderMap) -> Response {
    let answer = HttpError::not_found();
    if dashboard::is_for_people(&uri, &headers) { dashboard::not_found() } else { answer.into_response() }
}

/// `GET /healthz`: whether triggers would be accepted.
async fn health(State(hooks): State<HooksClient>) -> Response {
    if hooks.is_there().await {
        Json(json!({ "status": "ok" })).into_response()
    } else {
        let answer = json!({ "status": "unavailable", "message": "the hooks service does not answer" });
        (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
    }
}

async fn show(metrics: Option<Metrics>) -> String {
    metrics.map(|metrics| metrics.render()).unwrap_or_default()
}
