//! The settings of the gateway.

use std::path::PathBuf;

use grapnel_domain::secret_token::ApiKey;
use grapnel_runtime::{Setting, Settings, grpc::Tls, settings::shared};

/// The table of these settings. The listeners stand in the shared one.
pub const SETTINGS: &[Setting] =
    &[Setting::new("hooks.url", "http://127.0.0.1:7301", "Where the gateway finds the hooks service.")];

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
        Some(Self {
            listen: settings.require("gateway.listen", String::new()),
            sites_listen: settings.require("sites.listen", String::new()),
            hooks_url: settings.require("hooks.url", String::new()),
            artifacts: shared::data_dir(settings).join("artifacts"),
            gateway_key: key?,
            tls: shared::tls(settings),
        })
    }
}
