//! Settings that more than one process reads.

use std::path::PathBuf;

use grapnel_domain::secret_token::ApiKey;
use secrecy::ExposeSecret as _;

use super::{Setting, Settings};
use crate::{
    grpc::Tls,
    telemetry::{LogFormat, LogLevel},
};

/// The table of these settings.
pub const SETTINGS: &[Setting] = &[
    Setting::computed(
        "data_dir",
        "/var/lib/grapnel for root, else grapnel in the XDG data directory",
        "The directory of the database, mirrors, workspaces, caches and artifacts. The container engine has to see it at the same path.",
    ),
    Setting::new(
        "log.level",
        "info",
        "What is logged: a level, or a list such as `grapnel_hooks=debug,info`.",
    ),
    Setting::new("log.format", "text", "How it is logged: `text` or `json`."),
    Setting::secret(
        "gateway_key",
        "made at each start of `grapnel up`",
        "The key that gateways show to hooks services; both need it. `grapnel key generate` makes one.",
    ),
    Setting::secret(
        "executor_key",
        "made at each start of `grapnel up`",
        "The key that hooks services show to executors; both need it. `grapnel key generate` makes one.",
    ),
    Setting::computed(
        "tls.cert",
        "no TLS",
        "The certificate chain (PEM) that this process shows to others. Goes with tls.key.",
    ),
    Setting::computed("tls.key", "no TLS", "The private key (PEM) of tls.cert."),
    Setting::computed(
        "tls.ca",
        "no TLS",
        "The authority (PEM) that the other processes' certificates have to come from. With tls.cert, both ends of every connection between processes prove who they are.",
    ),
    Setting::computed(
        "ca_bundle",
        "none",
        "A bundle of authorities (PEM) that git and builds trust instead of their own, and requests to git hosts and endpoints beside the system's, where the network between here and the world needs it.",
    ),
    Setting::new(
        "gateway.listen",
        "127.0.0.1:7300",
        "Where the gateway listens for hook URLs and the HTTP interface.",
    ),
    Setting::new(
        "sites.listen",
        "127.0.0.1:7380",
        "Where the gateway listens for the sites of READY deployments.",
    ),
    Setting::computed(
        "sites.url",
        "http://localhost: and the port of sites.listen",
        "How the addresses of sites look without their first label: scheme, domain, port.",
    ),
    Setting::computed(
        "public_url",
        "http:// and gateway.listen",
        "How hook URLs begin, as callers reach the gateway from outside.",
    ),
];

/// Where a process keeps its files.
pub fn data_dir(settings: &mut Settings) -> PathBuf {
    settings.path("data_dir").unwrap_or_else(default_data_dir)
}

/// Returns the data directory of an installation that sets none.
#[expect(clippy::disallowed_methods, reason = "the XDG directories are known by environment variables")]
pub fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/grapnel");
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let base =
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    base.unwrap_or_else(|| PathBuf::from("/var/lib")).join("grapnel")
}

/// Reads the operator's bundle of authorities. One that cannot be read is a complaint.
pub fn ca_bundle(settings: &mut Settings) -> Option<PathBuf> {
    let path = settings.path("ca_bundle")?;
    if let Err(error) = std::fs::File::open(&path) {
        settings.complain("ca_bundle", format!("cannot be read: {error}"));
    }
    Some(path)
}

/// Reads how to log.
pub fn logs(settings: &mut Settings) -> (LogFormat, Option<LogLevel>) {
    (settings.require("log.format", LogFormat::Text), settings.get("log.level"))
}

/// Reads one of the keys that processes show each other. A key that is not well-formed is a complaint.
pub fn service_key(settings: &mut Settings, key: &str) -> Option<ApiKey> {
    let text = settings.secret(key)?;
    match ApiKey::parse(text.expose_secret()) {
        Ok(service_key) => Some(service_key),
        Err(error) => {
            settings.complain(key, format!("{error}; `grapnel key generate` makes one"));
            None
        }
    }
}

/// Reads the TLS settings: all three, or none.
pub fn tls(settings: &mut Settings) -> Option<Tls> {
    let paths = ["tls.cert", "tls.key", "tls.ca"].map(|key| (key, settings.path(key)));
    if paths.iter().all(|(_, path)| path.is_none()) {
        return None;
    }
    let mut read = |(key, path): &(&'static str, Option<PathBuf>)| match path {
        None => {
            settings.complain(key, "is missing: tls.cert, tls.key and tls.ca go together");
            None
        }
        Some(path) => match std::fs::read(path) {
            Ok(pem) => Some(pem),
            Err(error) => {
                settings.complain(key, format!("cannot be read: {error}"));
                None
            }
        },
    };
    let [cert, key, ca] = [read(&paths[0]), read(&paths[1]), read(&paths[2])];
    Some(Tls { cert: cert?, key: key?, ca: ca? })
}
