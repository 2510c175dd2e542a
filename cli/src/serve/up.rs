//! `grapnel up`: hooks, gateway and executor in one process.

use grapnel_domain::secret_token::ApiKey;
use grapnel_executor::{Executor, ExecutorConfig};
use grapnel_gateway::{Gateway, GatewayConfig};
use grapnel_hooks::{Hooks, HooksConfig, ServiceKeys, app::Addresses};
use grapnel_runtime::{CancellationToken, Clock, Settings, shutdown::Shutdown};

use crate::exit::Failure;

/// The settings of all three.
pub struct Configs {
    hooks: HooksConfig,
    gateway: GatewayConfig,
    executor: ExecutorConfig,
    /// Whether somebody has said how addresses look, so that ports found later do not change it.
    public_url_set: bool,
    sites_url_set: bool,
}

impl Configs {
    /// Reads the settings; what is wrong is noted in them. The keys between the three are made for this start alone.
    pub fn read(settings: &mut Settings) -> Option<Self> {
        let keys = ServiceKeys {
            gateway: Some(ApiKey::generate(&mut rand::rng())),
            executor: Some(ApiKey::generate(&mut rand::rng())),
        };
        let hooks = HooksConfig::read(settings, keys.clone());
        let gateway = GatewayConfig::read(settings, keys.gateway);
        let executor = ExecutorConfig::read(settings, keys.executor);
        let public_url_set = settings.get::<String>("public_url").is_some();
        let sites_url_set = settings.get::<String>("sites.url").is_some();
        Some(Self { hooks: hooks?, gateway: gateway?, executor: executor?, public_url_set, sites_url_set })
    }
}

/// Runs the three until they are told to stop: first those that take work, then those that do it.
pub async fn run(configs: Configs, shutdown: Shutdown) -> Result<(), Failure> {
    let Configs { hooks, gateway, executor, public_url_set, sites_url_set } = configs;
    let admin_key = match &hooks.admin_key {
        Some(_) => "the one that was set (admin_key)".to_owned(),
        None => hooks.admin_key_file.display().to_string(),
    };
    let mut addresses = hooks.addresses.clone();
    let external = hooks.executors.clone();
    let clock = Clock::system();
    let executor = Executor::bind(executor, clock.clone()).await?;
    let mut gateway = Gateway::bind(gateway).await?;
    let mut hooks = Hooks::bind(hooks, clock).await?;
    if !public_url_set {
        addresses.public_url = format!("http://{}", gateway.address());
    }
    if !sites_url_set {
        addresses.sites_domain = format!("localhost:{}", gateway.sites_address().port());
    }
    gateway.set_hooks(hooks.local());
    if external.is_empty() {
        hooks.set_executors(vec![format!("http://{}", executor.address())]);
    }
    hooks.set_addresses(addresses.clone());
    greet(&addresses, &hooks, &admin_key);
    let metrics = super::metrics();
    let (stop_hooks, stop_executor) = (CancellationToken::new(), shutdown.later());
    let executing = tokio::spawn(executor.run(stop_executor.clone()));
    let dispatching = tokio::spawn(hooks.run(stop_hooks.clone()));
    let gateway = gateway.run(metrics, shutdown.token().clone()).await;
    stop_hooks.cancel();
    let dispatched = dispatching.await?;
    stop_executor.ask();
    let executed = executing.await?;
    gateway?;
    dispatched?;
    Ok(executed?)
}

fn greet(addresses: &Addresses, hooks: &Hooks, admin_key: &str) {
    eprintln!("Grapnel {}", env!("CARGO_PKG_VERSION"));
    eprintln!("  hook URLs   {}", addresses.public_url);
    eprintln!("  gRPC        http://{}", hooks.address());
    eprintln!("  sites       {}://<name>.{}/", addresses.sites_scheme, addresses.sites_domain);
    eprintln!("  admin key   {admin_key}");
}
