//! The settings of the gateway.

use std::path::PathBuf;

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
    /// The directory of the artifacts.
    pub artifacts: PathBuf,
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
        Some(Self {
            trusted_proxies,
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
            listen: settings.require("gateway.listen", String::new()),
            sites_listen: settings.require("sites.listen", String::new()),
            hooks_url: settings.require("hooks.url", String::new()),
            artifacts: shared::data_dir(settings).join("artifacts"),
            gateway_key: key?,
            tls: shared::tls(settings),
        })
    }
}
