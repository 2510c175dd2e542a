//! The settings of the gateway.

use grapnel_artifacts::{CacheConfig, StoreConfig};
use grapnel_domain::secret_token::ApiKey;
use grapnel_runtime::{Setting, Settings, grpc::Tls, settings::shared};

use crate::client_address::TrustedProxies;

/// The table of these settings. The listeners stand in the shared one.
pub const SETTINGS: &[Setting] = &[
    Setting::new("hooks.url", "http://127.0.0.1:7301", "Where the gateway finds the hooks service."),
    Setting::new(
        "gateway.trusted_proxies",
        "",
        "Networks, separated by commas, whose `Forwarded` and `X-Forwarded-For` are believed: those of your own reverse proxies.",
    ),
    Setting::computed(
        "sites.cache_dir",
        "sites-cache in the data directory",
        "Where the gateway keeps files of sites whose artifacts are in a bucket. Each gateway needs a directory of its own.",
    ),
    Setting::new(
        "sites.cache_bytes",
        "10GiB",
        "How much the gateway keeps of sites whose artifacts are in a bucket. The least recently used goes first.",
    ),
];

/// What a gateway has to know.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The address of the interface.
    pub listen: String,
    /// The address of sites.
    pub sites_listen: String,
    /// The hooks service.
    pub hooks_url: String,
    /// What is shown to it.
    pub gateway_key: ApiKey,
    /// The proxies that are believed.
    pub trusted_proxies: TrustedProxies,
    /// How addresses of our own begin; none is as the caller called us.
    pub public_url: Option<String>,
    /// Where artifacts are.
    pub artifacts: StoreConfig,
    /// What is kept of those that are elsewhere.
    pub cache: CacheConfig,
    /// The certificates for the hooks service.
    pub tls: Option<Tls>,
}

impl GatewayConfig {
    /// Reads the settings; what is wrong is noted in them. `key` is that of a process that starts all services itself.
    pub fn read(settings: &mut Settings, key: Option<ApiKey>) -> Option<Self> {
        let given = shared::service_key(settings, "gateway_key");
        let key = key.or(given);
        if key.is_none() {
            settings.complain("gateway_key", "is missing: it is what is shown to the hooks service");
        }
        let networks = settings.list("gateway.trusted_proxies");
        let trusted_proxies = TrustedProxies::parse(&networks).unwrap_or_else(|error| {
            settings.complain("gateway.trusted_proxies", error);
            TrustedProxies::default()
        });
        let public_url: Option<String> = settings.get("public_url");
        let artifacts = StoreConfig::read(settings);
        let data = shared::data_dir(settings);
        let cache = CacheConfig {
            directory: settings.path("sites.cache_dir").unwrap_or_else(|| data.join("sites-cache")),
            bytes: settings.bytes("sites.cache_bytes"),
            patience: CacheConfig::PATIENCE,
        };
        Some(Self {
            trusted_proxies,
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
            listen: settings.require("gateway.listen", String::new()),
            sites_listen: settings.require("sites.listen", String::new()),
            hooks_url: settings.require("hooks.url", String::new()),
            artifacts: artifacts?,
            cache,
            gateway_key: key?,
            tls: shared::tls(settings),
        })
    }
}
