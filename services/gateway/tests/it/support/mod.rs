//! What these tests share: a gateway that serves, a hooks service to be told what to say, and a browser without scripts.

mod browser;
mod hooks;

use grapnel_artifacts::{CacheConfig, StoreConfig};
use grapnel_domain::secret_token::ApiKey;
use grapnel_gateway::{Gateway, GatewayConfig};
use grapnel_runtime::CancellationToken;

pub use browser::{Browser, Page};
pub use hooks::FakeHooks;

/// A gateway that serves, in front of a fake hooks service.
pub struct Served {
    /// Where it is.
    pub url: String,
    /// What it asks.
    pub hooks: FakeHooks,
    stopping: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Served {
    /// Starts both.
    pub async fn start() -> Self {
        Self::at(None).await
    }

    /// Starts both; people know the gateway by `public_url`.
    pub async fn at(public_url: Option<&str>) -> Self {
        let hooks = FakeHooks::start().await;
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        let config = GatewayConfig {
            listen: "127.0.0.1:0".into(),
            sites_listen: "127.0.0.1:0".into(),
            hooks_url: hooks.url.clone(),
            gateway_key: ApiKey::generate(&mut rand::rng()),
            artifacts: StoreConfig::Directory(directory.path().join("artifacts")),
            cache: CacheConfig { directory: cache, bytes: 0, patience: CacheConfig::PATIENCE },
            tls: None,
            trusted_proxies: Default::default(),
            public_url: public_url.map(str::to_owned),
        };
        let gateway = Gateway::bind(config).await.unwrap();
        let url = format!("http://{}", gateway.address());
        let stopping = CancellationToken::new();
        let shutdown = stopping.clone();
        tokio::spawn(async move { gateway.run(None, shutdown).await.unwrap() });
        Self { url, hooks, stopping, _directory: directory }
    }

    /// Tells the gateway to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Opens a browser that is signed in nowhere.
    pub fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// Opens a browser and signs in with a new key of these scopes.
    pub async fn signed_in(&self, scopes: &[&str]) -> Browser {
        let mut browser = self.browser();
        let key = self.hooks.key(scopes);
        let page = browser.post("/login", &[("key", &key)]).await;
        assert_eq!((page.status, page.location.as_deref()), (303, Some("/projects")), "{}", page.text);
        browser
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}
