//! The settings of the hooks service.

use std::{num::NonZeroU32, ops::RangeInclusive, path::PathBuf, time::Duration};

use grapnel_domain::{
    plan::{HookLimits, Plan},
    secret_token::ApiKey,
};
use grapnel_runtime::{Setting, Settings, grpc::Tls, settings::shared};

use crate::{
    app::{Addresses, TriggerRates},
    dispatch::ExecutorAddress,
    outbound::http::Reach,
    retention::Retention,
    store::Connecting,
};

/// The shortest time for which a ledger can be kept.
const SHORTEST_RETENTION: Duration = Duration::from_secs(60 * 60);

/// How long a session may be open.
const SESSION_LIFETIMES: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(90 * 24 * 60 * 60);

/// The table of these settings.
pub const SETTINGS: &[Setting] = &[
    Setting::secret(
        "admin_key",
        "made by the first start, and left in admin.key of the data directory",
        "The first API key, with scope admin, such as `grapnel key generate` makes. It is taken where there is no key yet, and never again.",
    ),
    Setting::new("hooks.listen", "127.0.0.1:7301", "Where the hooks service listens for gRPC."),
    Setting::computed(
        "database_url",
        "sqlite:// and grapnel.db in the data directory",
        "The database: `sqlite:///path/to/file` or `postgres://user@host/name`.",
    ),
    Setting::new(
        "database.connections",
        "8",
        "Connections of one hooks service to PostgreSQL, beside one that listens; readers of SQLite. All processes together have to stay below the server's max_connections.",
    ),
    Setting::new(
        "database.patience",
        "5s",
        "How long a call waits for a connection before it is told that the database does not answer.",
    ),
    Setting::new("database.statement_timeout", "30s", "How long one statement may take on PostgreSQL."),
    Setting::computed(
        "secret_key_file",
        "secret.key in the data directory, made at the first start",
        "The file of the keys under which secrets are sealed at rest, 32 bytes in base64 a line. Hooks services over one database share it. Keep it apart from backups of the database.",
    ),
    Setting::computed(
        "executors",
        "the executor of `grapnel up`",
        "The addresses of the executors, separated by commas, such as `http://executor:7302`. `dns:///name:port` is all addresses behind a name, looked up every 5 s.",
    ),
    Setting::new(
        "outbound.allow",
        "",
        "Private and loopback networks that commit statuses and events may be sent into, such as `10.20.0.0/16`, separated by commas. Link-local addresses are always closed.",
    ),
    Setting::new(
        "plan",
        "hobby",
        "The plan of the installation's first team: `hobby`, `pro` or `enterprise`.",
    ),
    Setting::new("limits.hobby", "5", "Hooks of a project on the hobby plan."),
    Setting::new("limits.pro", "5", "Hooks of a project on the pro plan."),
    Setting::new(
        "rate_limit.hook",
        "60",
        "Triggers of one hook a minute. Over it a trigger is answered by the deployment that waits, if one does, and refused else.",
    ),
    Setting::new("rate_limit.address", "600", "Triggers from one address a minute."),
    Setting::new(
        "session.lifetime",
        "12h",
        "How long somebody stays signed in who does not sign out; from a minute to 90 days.",
    ),
    Setting::new("triggers.retention", "90d", "How long the ledger of triggers is kept; at least an hour."),
    Setting::new(
        "events.retention",
        "30d",
        "How long the ledger of events and of the tries to send them is kept; at least an hour. What waits to be sent is kept.",
    ),
    Setting::new(
        "retention.deployments",
        "365d",
        "How long deployments are kept after they ended; at least an hour. What an address serves is kept, and what `retention.keep_ready` says.",
    ),
    Setting::new(
        "retention.logs",
        "90d",
        "How long the logs of deployments are kept; at least an hour, at most `retention.deployments`.",
    ),
    Setting::new(
        "retention.artifacts",
        "90d",
        "How long the artifacts of deployments are kept, and so served; at least an hour, at most `retention.deployments`. Here too what an address serves is kept.",
    ),
    Setting::new(
        "retention.keep_ready",
        "10",
        "How many READY deployments of each branch are kept with their artifacts however old they are, the newest first.",
    ),
    Setting::new("limits.enterprise", "10", "Hooks of a project on the enterprise plan."),
];

/// What the service has to know.
#[derive(Clone, Debug)]
pub struct HooksConfig {
    /// The address to listen on.
    pub listen: String,
    /// The database.
    pub database_url: String,
    /// How much of it is used.
    pub connecting: Connecting,
    /// The first key, where the operator has one.
    pub admin_key: Option<ApiKey>,
    /// Where it is left, where one has to be made.
    pub admin_key_file: PathBuf,
    /// The file of the keys of secrets.
    pub secret_key_file: PathBuf,
    /// Whether somebody named that file: then it has to be there.
    pub secret_key_file_is_given: bool,
    /// The executors' addresses.
    pub executors: Vec<ExecutorAddress>,
    /// The plan of the first team.
    pub plan: Plan,
    /// Hooks per project by plan.
    pub limits: HookLimits,
    /// Triggers by hook and by address.
    pub rates: TriggerRates,
    /// How long what is kept.
    pub retention: Retention,
    /// How addresses look.
    pub addresses: Addresses,
    /// How long a session is open that nobody ends.
    pub session_lifetime: Duration,
    /// What gateways have to show.
    pub gateway_key: ApiKey,
    /// What this service shows to executors.
    pub executor_key: ApiKey,
    /// How long resolving a version may take.
    pub resolve_within: Duration,
    /// Who statuses and events may be sent to.
    pub reach: Reach,
    /// The operator's bundle of authorities.
    pub ca_bundle: Option<PathBuf>,
    /// The certificates.
    pub tls: Option<Tls>,
}

/// The keys of a process that starts all services itself.
#[derive(Clone, Debug, Default)]
pub struct ServiceKeys {
    /// What gateways show to hooks services.
    pub gateway: Option<ApiKey>,
    /// What hooks services show to executors.
    pub executor: Option<ApiKey>,
}

/// Where the database is, and the keys of its secrets.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// The database.
    pub url: String,
    /// The file of the keys.
    pub secret_key_file: PathBuf,
}

impl DatabaseConfig {
    /// Reads the settings; what is wrong is noted in them.
    pub fn read(settings: &mut Settings) -> Self {
        let data_dir = shared::data_dir(settings);
        let default_url = format!("sqlite://{}", data_dir.join("grapnel.db").display());
        Self {
            url: settings.get("database_url").unwrap_or(default_url),
            secret_key_file: settings.path("secret_key_file").unwrap_or_else(|| data_dir.join("secret.key")),
        }
    }
}

impl HooksConfig {
    /// Reads the settings; what is wrong is noted in them.
    pub fn read(settings: &mut Settings, keys: ServiceKeys) -> Option<Self> {
        let data_dir = shared::data_dir(settings);
        let given =
            [shared::service_key(settings, "gateway_key"), shared::service_key(settings, "executor_key")];
        let [given_gateway, given_executor] = given;
        let (gateway_key, executor_key) = (keys.gateway.or(given_gateway), keys.executor.or(given_executor));
        if gateway_key.is_none() {
            settings.complain("gateway_key", "is missing: it is what gateways have to show");
        }
        if executor_key.is_none() {
            settings.complain("executor_key", "is missing: it is what is shown to executors");
        }
        let tls = shared::tls(settings);
        let executors = executors(settings, tls.is_some());
        let secret_key_file_is_given = settings.path("secret_key_file").is_some();
        let database = DatabaseConfig::read(settings);
        Some(Self {
            listen: settings.require("hooks.listen", String::new()),
            database_url: database.url,
            connecting: connecting(settings),
            admin_key: shared::service_key(settings, "admin_key"),
            admin_key_file: data_dir.join("admin.key"),
            secret_key_file_is_given,
            secret_key_file: database.secret_key_file,
            executors,
            plan: settings.require("plan", Plan::Hobby),
            limits: HookLimits {
                hobby: settings.require("limits.hobby", 0),
                pro: settings.require("limits.pro", 0),
                enterprise: settings.require("limits.enterprise", 0),
            },
            rates: TriggerRates::new(
                settings.require("rate_limit.hook", NonZeroU32::MIN),
                settings.require("rate_limit.address", NonZeroU32::MIN),
            ),
            retention: retention(settings),
            addresses: addresses(settings),
            session_lifetime: session_lifetime(settings),
            gateway_key: gateway_key?,
            executor_key: executor_key?,
            resolve_within: Duration::from_secs(11 * 60),
            reach: Reach { allowed: settings.list_of("outbound.allow", "a network such as 10.20.0.0/16") },
            ca_bundle: shared::ca_bundle(settings),
            tls,
        })
    }
}

/// Reads how much of the database is used, and how long it may take.
fn connecting(settings: &mut Settings) -> Connecting {
    Connecting {
        connections: settings.require("database.connections", NonZeroU32::MIN).get(),
        patience: settings.duration("database.patience"),
        statement_timeout: settings.duration("database.statement_timeout"),
    }
}

fn executors(settings: &mut Settings, tls: bool) -> Vec<ExecutorAddress> {
    let listed: Vec<String> = settings.list("executors");
    let mut addresses = Vec::with_capacity(listed.len());
    for address in listed {
        let Some(name) = address.strip_prefix("dns:///") else {
            addresses.push(ExecutorAddress::Url(address));
            continue;
        };
        match name.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) if !host.is_empty() => {
                let scheme = if tls { "https" } else { "http" };
                addresses.push(ExecutorAddress::Dns { scheme, host: host.to_owned(), port });
            }
            _ => settings.complain("executors", "a name must look like `dns:///executors.example:7302`"),
        }
    }
    addresses
}

/// Reads how long what is kept. Nothing of a deployment is kept longer than the deployment.
fn retention(settings: &mut Settings) -> Retention {
    let retention = Retention {
        triggers: kept(settings, "triggers.retention"),
        events: kept(settings, "events.retention"),
        deployments: kept(settings, "retention.deployments"),
        logs: kept(settings, "retention.logs"),
        artifacts: kept(settings, "retention.artifacts"),
        keep_ready: settings.require("retention.keep_ready", 0),
    };
    for (key, kept) in [("retention.logs", retention.logs), ("retention.artifacts", retention.artifacts)] {
        if kept > retention.deployments {
            settings.complain(key, "must not be longer than retention.deployments");
        }
    }
    retention
}

/// Reads how long something is kept: at least for as long as repeated triggers are looked for in their ledger.
fn kept(settings: &mut Settings, key: &str) -> Duration {
    let retention = settings.duration(key);
    if retention < SHORTEST_RETENTION {
        settings.complain(key, "must be at least 1h");
    }
    retention
}

/// Reads how long a session is open.
fn session_lifetime(settings: &mut Settings) -> Duration {
    let lifetime = settings.duration("session.lifetime");
    if !SESSION_LIFETIMES.contains(&lifetime) {
        settings.complain("session.lifetime", "must be from 1m to 90d");
    }
    lifetime
}

/// Reads how addresses look; by default as somebody on this machine sees them.
fn addresses(settings: &mut Settings) -> Addresses {
    let gateway: String = settings.require("gateway.listen", String::new());
    let public_url: String = settings.get("public_url").unwrap_or_else(|| format!("http://{gateway}"));
    let sites: String = settings.require("sites.listen", String::new());
    let port = sites.rsplit_once(':').map_or("7380", |(_, port)| port).to_owned();
    let sites_url: String = settings.get("sites.url").unwrap_or_else(|| format!("http://localhost:{port}"));
    let (sites_scheme, sites_domain) = match sites_url.trim_end_matches('/').split_once("://") {
        Some((scheme, domain)) if !domain.is_empty() => (scheme.to_owned(), domain.to_owned()),
        _ => {
            settings.complain("sites.url", "must look like `https://sites.example.org`");
            Default::default()
        }
    };
    Addresses { public_url: public_url.trim_end_matches('/').to_owned(), sites_scheme, sites_domain }
}
