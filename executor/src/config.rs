//! The executor's settings.

use std::{path::PathBuf, time::Duration};

use grapnel_domain::{build::BuildLimits, secret_token::ApiKey};
use grapnel_runtime::{Setting, Settings, grpc::Tls, settings::shared};

use crate::engine::Network;

/// The table of these settings.
pub const SETTINGS: &[Setting] = &[
    Setting::new("executor.listen", "127.0.0.1:7302", "Where the executor listens for hooks services."),
    Setting::computed(
        "executor.name",
        "the machine's host name",
        "The stable name by which the executor marks what it makes in the engine. Two executors of one engine need two names.",
    ),
    Setting::new("executor.slots", "2", "How many builds run at once."),
    Setting::new("executor.docker", "/var/run/docker.sock", "The socket of the Docker engine."),
    Setting::new("executor.network", "egress", "The network of builds: `egress` (the way out) or `none`."),
    Setting::computed(
        "executor.runtime",
        "the engine's own",
        "The OCI runtime of sandboxes, such as `runsc`.",
    ),
    Setting::new("builder_image", "grapnel/builder:latest", "The image of builds whose project names none."),
    Setting::computed(
        "ca_bundle",
        "none",
        "A bundle of authorities (PEM) that git and builds trust instead of their own, where the network between here and the world needs it.",
    ),
    Setting::new(
        "git.allowed_dirs",
        "",
        "Directories below which repositories may be named by path, separated by colons.",
    ),
    Setting::new("git.timeout", "10m", "How long one fetch of a repository may take."),
    Setting::new("git.size_limit", "10GiB", "How large the mirror of a repository may be."),
    Setting::new(
        "build.timeout",
        "30m",
        "How long a build may take. A project may ask for less, here and below.",
    ),
    Setting::new("build.memory", "2GiB", "How much memory a build may use."),
    Setting::new("build.milli_cpus", "2000", "How much CPU a build may use, in thousandths of one."),
    Setting::new("build.processes", "512", "How many processes and threads a build may have."),
    Setting::new("build.disk", "10GiB", "How much a build may write to its workspace and cache."),
    Setting::new("build.log", "16MiB", "How much of a build's log is kept."),
    Setting::new("artifact.bytes", "1GiB", "How large an artifact may be."),
    Setting::new("artifact.files", "100000", "How many files an artifact may have."),
];

/// What an executor has to know.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The address to listen on.
    pub listen: String,
    /// The directory of everything.
    pub data_dir: PathBuf,
    /// The stable name.
    pub name: String,
    /// Builds at once.
    pub slots: usize,
    /// The engine's socket.
    pub docker_socket: String,
    /// The network of builds.
    pub network: Network,
    /// The OCI runtime of sandboxes.
    pub runtime: Option<String>,
    /// The image of builds whose project names none.
    pub builder_image: String,
    /// The operator's bundle of authorities.
    pub ca_bundle: Option<PathBuf>,
    /// Directories of repositories that may be named by path.
    pub git_allowed_dirs: Vec<PathBuf>,
    /// Time of one fetch.
    pub git_timeout: Duration,
    /// Bytes of one mirror.
    pub git_size_limit: u64,
    /// What no build may exceed.
    pub ceilings: BuildLimits,
    /// What hooks services have to show.
    pub key: ApiKey,
    /// The certificates.
    pub tls: Option<Tls>,
}

impl ExecutorConfig {
    /// Reads the settings; what is wrong is noted in them. `key` is that of a process that starts both sides itself.
    pub fn read(settings: &mut Settings, key: Option<ApiKey>) -> Option<Self> {
        let network = match settings.get::<String>("executor.network").as_deref() {
            Some("egress") => Network::Egress,
            Some("none") => Network::None,
            _ => {
                settings.complain("executor.network", "must be `egress` or `none`");
                Network::None
            }
        };
        let ca_bundle = settings.path("ca_bundle");
        if let Some(path) = &ca_bundle
            && let Err(error) = std::fs::File::open(path)
        {
            settings.complain("ca_bundle", format!("cannot be read: {error}"));
        }
        let slots = settings.require("executor.slots", 1);
        if slots == 0 {
            settings.complain("executor.slots", "must be at least 1");
        }
        let given = shared::service_key(settings, "executor_key");
        let key = key.or(given);
        if key.is_none() {
            settings.complain("executor_key", "is missing: it is what hooks services have to show");
        }
        Some(Self {
            listen: settings.require("executor.listen", String::new()),
            data_dir: shared::data_dir(settings),
            name: settings.get("executor.name").unwrap_or_else(host_name),
            slots,
            docker_socket: settings.require("executor.docker", String::new()),
            network,
            runtime: settings.get("executor.runtime"),
            builder_image: settings.require("builder_image", String::new()),
            ca_bundle,
            git_allowed_dirs: settings.directories("git.allowed_dirs"),
            git_timeout: settings.duration("git.timeout"),
            git_size_limit: settings.bytes("git.size_limit"),
            ceilings: BuildLimits {
                timeout: settings.duration("build.timeout"),
                memory_bytes: settings.bytes("build.memory"),
                milli_cpus: settings.require("build.milli_cpus", 0),
                processes: settings.require("build.processes", 0),
                disk_bytes: settings.bytes("build.disk"),
                log_bytes: settings.bytes("build.log"),
                artifact_bytes: settings.bytes("artifact.bytes"),
                artifact_files: settings.require("artifact.files", 0),
            },
            key: key?,
            tls: shared::tls(settings),
        })
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "executor".to_owned() } else { name }
}
