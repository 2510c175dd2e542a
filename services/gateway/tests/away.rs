//! The gateway without its hooks service: away, silent, and back again.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

use std::time::{Duration, Instant};

use grapnel_artifacts::{CacheConfig, StoreConfig};
use grapnel_domain::secret_token::{ApiKey, HookToken};
use grapnel_gateway::{Gateway, GatewayConfig};
use grapnel_runtime::CancellationToken;
use reqwest::Response;
use tokio::net::TcpListener;

/// The strictest of the CMSs that call hook URLs gives up after so long.
const PATIENCE_OF_A_CMS: Duration = Duration::from_secs(2);

/// A gateway that serves.
struct Served {
    interface: String,
    sites: String,
    stopping: CancellationToken,
}

impl Served {
    async fn start(hooks_url: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
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
        let (interface, sites) = (gateway.address(), gateway.sites_address());
        let stopping = CancellationToken::new();
        let shutdown = stopping.clone();
        tokio::spawn(async move { gateway.run(None, shutdown).await.unwrap() });
        Self { interface: format!("http://{interface}"), sites: format!("http://{sites}"), stopping }
    }

    /// Asks for everything that needs the hooks service.
    async fn ask(&self) -> Vec<Response> {
        let token = HookToken::generate(&mut rand::rng());
        let hook = format!("/v1/integrations/deploy/prj_01h455vb4pex5vsknk084sn02q/{}", token.expose());
        let client = client();
        let deployment = format!("{}/v1/deployments/dpl_01h455vb4pex5vsknk084sn02q", self.interface);
        let requests = [
            client.post(format!("{}{hook}", self.interface)),
            client.get(format!("{}{hook}?buildCache=false", self.interface)),
            client.get(&deployment).bearer_auth("gra_x"),
            client.get(format!("{deployment}/events")).bearer_auth("gra_x"),
            client.get(format!("{}/", self.sites)).header("host", "site.localhost"),
        ];
        let mut answers = Vec::new();
        for request in requests {
            answers.push(request.send().await.unwrap());
        }
        answers
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn client() -> reqwest::Client {
    let tls = grapnel_runtime::https::client_config(None).unwrap();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

async fn is_unavailable(answer: Response) {
    let what = answer.url().path().to_owned();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"5".parse().unwrap()),
        "{what}"
    );
    let body = answer.text().await.unwrap();
    assert!(!body.contains("grh_"), "{body}");
    assert!(body.contains("does not answer") || body.contains("Try again"), "{what}: {body}");
}

#[tokio::test]
async fn an_interface_without_its_service_says_so_and_when_to_come_back() {
    let served = Served::start("http://127.0.0.1:1".into()).await;
    for answer in served.ask().await {
        is_unavailable(answer).await;
    }
    for (path, expected) in [("healthz", 503), ("metrics", 200), ("nowhere", 404)] {
        let answer = client().get(format!("{}/{path}", served.interface)).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_service_that_is_silent_is_not_waited_for_longer_than_callers_wait_for_us() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served::start(format!("http://{}", silent.local_addr().unwrap())).await;
    let token = HookToken::generate(&mut rand::rng());
    let hook = format!(
        "{}/v1/integrations/deploy/prj_01h455vb4pex5vsknk084sn02q/{}",
        served.interface,
        token.expose()
    );
    let begun = Instant::now();
    let answer = client().post(hook).send().await.unwrap();
    assert!(begun.elapsed() < PATIENCE_OF_A_CMS, "{:?}", begun.elapsed());
    is_unavailable(answer).await;
}
