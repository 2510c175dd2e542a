//! The executor's settings.

mod kubernetes;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use grapnel_artifacts::StoreConfig;
use grapnel_domain::{build::BuildLimits, secret_token::ApiKey};
use grapnel_runtime::{Setting, Settings, grpc::Tls, settings::shared};

use ipnet::IpNet;
pub use kubernetes::SETTINGS as KUBERNETES_SETTINGS;

use crate::{
    cache::Storage,
    engine::{
        Engine, NetworkAccess,
        docker::{DockerEngine, EgressPolicy},
        kubernetes::{KubernetesEngine, config::KubernetesConfig},
    },
};

/// The table of these settings.
pub const SETTINGS: &[Setting] = &[
    Setting::new("executor.listen", "127.0.0.1:7302", "Where the executor listens for hooks services."),
    Setting::computed(
        "executor.name",
        "the machine's host name",
        "The stable name by which the executor marks what it makes in the engine. Two executors of one engine need two names.",
    ),
    Setting::new("executor.slots", "2", "How many builds run at once."),
    Setting::new(
        "executor.prestart",
        "2",
        "How many sandboxes may stand ready for the next build of hooks that were triggered last, each with its source and cache in place; 0 is none. One that nobody takes is removed after 10 min.",
    ),
    Setting::new(
        "executor.stop_within",
        "10s",
        "How long builds may take to come to their end when the executor is told to stop. Those that take longer go on in their sandboxes, and the next process takes them up.",
    ),
    Setting::new(
        "executor.adopt_within",
        "90s",
        "How long a build that the executor finds running when it starts waits to be asked for, before it is ended. Hooks services look for an executor that is away for 60 s.",
    ),
    Setting::new(
        "executor.engine",
        "docker",
        "What runs builds: `docker`, or `kubernetes`, where the executor is a pod of the node on which its builds run.",
    ),
    Setting::new("executor.docker", "/var/run/docker.sock", "The socket of the Docker engine."),
    Setting::new(
        "executor.network",
        "egress",
        "What builds reach over the network: `none`; `egress`, the internet and nothing of ours, which needs a firewall that the executor places and tries; `open`, whatever the engine's host reaches. A project may ask for less.",
    ),
    Setting::new(
        "executor.egress_allow",
        "",
        "Networks beside the internet that builds with `egress` reach, such as `10.20.0.0/16`, separated by commas.",
    ),
    Setting::computed(
        "executor.resolvers",
        "the host's",
        "The addresses of the name servers that builds with `egress` ask, separated by commas. Needed where the executor does not see the host's own `/etc/resolv.conf`.",
    ),
    Setting::computed(
        "executor.seccomp",
        "the engine's own",
        "A seccomp profile for sandboxes in place of the engine's: a file as the OCI runtimes read it.",
    ),
    Setting::computed(
        "executor.runtime",
        "the engine's own",
        "The OCI runtime of sandboxes, such as `runsc`; on Kubernetes, their RuntimeClass.",
    ),
    Setting::new("builder_image", "grapnel/builder:latest", "The image of builds whose project names none."),
    Setting::new(
        "git.allowed_dirs",
        "",
        "Directories below which repositories may be named by path, separated by colons.",
    ),
    Setting::new(
        "git.closed_networks",
        "",
        "Networks in which no repository is fetched from, such as `127.0.0.0/8,10.0.0.0/8`. Link-local addresses are always closed, and private and loopback ones to whatever a server redirects to.",
    ),
    Setting::new("git.timeout", "10m", "How long one fetch of a repository may take."),
    Setting::new(
        "git.size_limit",
        "10GiB",
        "How large the mirror of a repository may be, and how large its large files beside it.",
    ),
    Setting::new(
        "build.timeout",
        "30m",
        "How long a build may take. A project may ask for less, here and below.",
    ),
    Setting::new("build.memory", "2GiB", "How much memory a build may use."),
    Setting::new("build.milli_cpus", "2000", "How much CPU a build may use, in thousandths of one."),
    Setting::new("build.processes", "512", "How many processes and threads a build may have."),
    Setting::new("build.open_files", "65536", "How many files a process of a build may have open."),
    Setting::new("build.disk", "10GiB", "How much a build may write to its workspace and cache."),
    Setting::new("build.log", "16MiB", "How much of a build's log is kept."),
    Setting::new(
        "install.skip_unchanged",
        "true",
        "Whether an install step is left out that would do nothing: nothing it is given has changed since the cache was made.",
    ),
    Setting::new(
        "cache.storage",
        "auto",
        "How builds get their cache: `auto`, mounted where the engine can do it and else copied, or `copy`.",
    ),
    Setting::new("cache.key_bytes", "5GiB", "How large the cache of one branch may be."),
    Setting::new("cache.max_age", "30d", "How long a cache is kept that no build uses."),
    Setting::new(
        "cache.total_bytes",
        "50GiB",
        "How large all caches of an executor may be together. The least recently used goes first.",
    ),
    Setting::new(
        "cache.share",
        "off",
        "Whether executors find each other's caches: `off`, or `bucket`, by the bucket of artifacts.url.",
    ),
    Setting::new(
        "cache.fetch_within",
        "30s",
        "How long fetching a cache from the bucket may take. What would take longer is given up.",
    ),
    Setting::new(
        "cache.shared_bytes",
        "200GiB",
        "How large all caches in the bucket may be together. Those that were left longest ago go first.",
    ),
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
    /// Sandboxes that may stand ready for builds to come.
    pub prestart: usize,
    /// How long they may take to end when the process stops.
    pub stop_within: Duration,
    /// How long those that are found running wait to be asked for.
    pub adopt_within: Duration,
    /// What runs builds.
    pub engine: EngineConfig,
    /// The network of builds.
    pub network: NetworkAccess,
    /// Networks that builds with a filtered network reach beside the internet.
    pub egress_allow: Vec<IpNet>,
    /// The resolvers that they ask; empty is the host's.
    pub resolvers: Vec<IpAddr>,
    /// The text of a seccomp profile in place of the engine's.
    pub seccomp: Option<String>,
    /// The OCI runtime of sandboxes.
    pub runtime: Option<String>,
    /// The image of builds whose project names none.
    pub builder_image: String,
    /// The operator's bundle of authorities.
    pub ca_bundle: Option<PathBuf>,
    /// Directories of repositories that may be named by path.
    pub git_allowed_dirs: Vec<PathBuf>,
    /// Networks in which no repository is fetched from.
    pub git_closed_networks: Vec<IpNet>,
    /// Time of one fetch.
    pub git_timeout: Duration,
    /// Bytes of one mirror.
    pub git_size_limit: u64,
    /// What no build may exceed.
    pub ceilings: BuildLimits,
    /// Whether an install that would do nothing is left out.
    pub skip_unchanged_install: bool,
    /// What caches may cost.
    pub cache: CacheLimits,
    /// Where outputs go.
    pub artifacts: StoreConfig,
    /// What hooks services have to show.
    pub key: ApiKey,
    /// The certificates.
    pub tls: Option<Tls>,
}

/// What runs builds.
#[derive(Clone, Debug)]
pub enum EngineConfig {
    /// A Docker engine of the same machine.
    Docker {
        /// Its socket.
        socket: String,
    },
    /// The cluster that this machine is a node of.
    Kubernetes(Box<KubernetesConfig>),
}

/// What the caches of an executor may cost.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// How builds get them.
    pub storage: Storage,
    /// Bytes of one.
    pub key_bytes: u64,
    /// How long one is kept that nobody uses.
    pub max_age: Duration,
    /// Bytes of all.
    pub total_bytes: u64,
    /// What the bucket that they are shared by may cost; none where they are not.
    pub shared: Option<SharedLimits>,
}

/// What caches in the bucket may cost.
#[derive(Clone, Copy, Debug)]
pub struct SharedLimits {
    /// Time of fetching one.
    pub fetch_within: Duration,
    /// Bytes of all.
    pub total_bytes: u64,
}

impl ExecutorConfig {
    /// Returns the engine that runs builds.
    pub fn engine(&self) -> Arc<dyn Engine> {
        match &self.engine {
            EngineConfig::Docker { socket } => Arc::new(DockerEngine::new(socket).with_egress(self.egress())),
            EngineConfig::Kubernetes(config) => {
                Arc::new(KubernetesEngine::new(KubernetesConfig::clone(config)))
            }
        }
    }

    /// Returns what builds reach beside the internet.
    fn egress(&self) -> EgressPolicy {
        EgressPolicy {
            allow: self.egress_allow.clone(),
            resolvers: self.resolvers.clone(),
            helper_image: self.builder_image.clone(),
        }
    }

    /// Reads the settings; what is wrong is noted in them. `key` is that of a process that starts both sides itself.
    pub fn read(settings: &mut Settings, key: Option<ApiKey>) -> Option<Self> {
        let network = match settings.get::<String>("executor.network").as_deref() {
            Some("egress") => NetworkAccess::Egress,
            Some("none") => NetworkAccess::None,
            Some("open") => NetworkAccess::Open,
            _ => {
                settings.complain("executor.network", "must be `none`, `egress` or `open`");
                NetworkAccess::None
            }
        };
        let storage = match settings.get::<String>("cache.storage").as_deref() {
            Some("auto") => Storage::Auto,
            Some("copy") => Storage::Copy,
            _ => {
                settings.complain("cache.storage", "must be `auto` or `copy`");
                Storage::Auto
            }
        };
        let artifacts = StoreConfig::read(settings);
        let shared = shared_limits(settings, artifacts.as_ref());
        let seccomp = seccomp(settings);
        let egress_allow = settings.list_of("executor.egress_allow", "a network such as 10.20.0.0/16");
        let git_closed_networks = settings.list_of("git.closed_networks", "a network such as 10.20.0.0/16");
        let resolvers = settings.list_of("executor.resolvers", "an address such as 10.0.0.2");
        let ca_bundle = shared::ca_bundle(settings);
        let slots = settings.require("executor.slots", 1);
        if slots == 0 {
            settings.complain("executor.slots", "must be at least 1");
        }
        let given = shared::service_key(settings, "executor_key");
        let key = key.or(given);
        if key.is_none() {
            settings.complain("executor_key", "is missing: it is what hooks services have to show");
        }
        let data_dir = shared::data_dir(settings);
        let name = settings.get("executor.name").unwrap_or_else(host_name);
        let builder_image: String = settings.require("builder_image", String::new());
        let socket = settings.require("executor.docker", String::new());
        let cluster = kubernetes::read(settings, &data_dir, &name, &builder_image, &resolvers);
        let engine = match settings.get::<String>("executor.engine").as_deref() {
            Some("docker") => EngineConfig::Docker { socket },
            Some("kubernetes") => EngineConfig::Kubernetes(Box::new(cluster)),
            _ => {
                settings.complain("executor.engine", "must be `docker` or `kubernetes`");
                EngineConfig::Docker { socket }
            }
        };
        if matches!(engine, EngineConfig::Kubernetes(_)) {
            if seccomp.is_some() {
                let why = "is for Docker: on Kubernetes pods have the container runtime's own profile";
                settings.complain("executor.seccomp", why);
            }
            if !egress_allow.is_empty() {
                let why = "is for Docker: on Kubernetes a NetworkPolicy beside `grapnel-egress` opens more";
                settings.complain("executor.egress_allow", why);
            }
        }
        Some(Self {
            listen: settings.require("executor.listen", String::new()),
            data_dir,
            name,
            slots,
            prestart: settings.require("executor.prestart", 2),
            stop_within: settings.duration("executor.stop_within"),
            adopt_within: settings.duration("executor.adopt_within"),
            engine,
            network,
            egress_allow,
            resolvers,
            seccomp,
            runtime: settings.get("executor.runtime"),
            builder_image,
            ca_bundle,
            git_allowed_dirs: settings.directories("git.allowed_dirs"),
            git_closed_networks,
            git_timeout: settings.duration("git.timeout"),
            git_size_limit: settings.bytes("git.size_limit"),
            ceilings: BuildLimits {
                timeout: settings.duration("build.timeout"),
                memory_bytes: settings.bytes("build.memory"),
                milli_cpus: settings.require("build.milli_cpus", 0),
                processes: settings.require("build.processes", 0),
                open_files: settings.require("build.open_files", 0),
                disk_bytes: settings.bytes("build.disk"),
                log_bytes: settings.bytes("build.log"),
                artifact_bytes: settings.bytes("artifact.bytes"),
                artifact_files: settings.require("artifact.files", 0),
            },
            skip_unchanged_install: settings.require("install.skip_unchanged", true),
            cache: CacheLimits {
                storage,
                key_bytes: settings.bytes("cache.key_bytes"),
                max_age: settings.duration("cache.max_age"),
                total_bytes: settings.bytes("cache.total_bytes"),
                shared,
            },
            artifacts: artifacts?,
            key: key?,
            tls: shared::tls(settings),
        })
    }
}

fn shared_limits(settings: &mut Settings, artifacts: Option<&StoreConfig>) -> Option<SharedLimits> {
    let limits = SharedLimits {
        fetch_within: settings.duration("cache.fetch_within"),
        total_bytes: settings.bytes("cache.shared_bytes"),
    };
    match settings.get::<String>("cache.share").as_deref() {
        Some("off") => return None,
        Some("bucket") => {}
        _ => {
            settings.complain("cache.share", "must be `off` or `bucket`");
            return None;
        }
    }
    if let Some(StoreConfig::Directory(_)) = artifacts {
        let why = "is `bucket`, and artifacts.url names none: it has to be `s3://bucket/prefix`";
        settings.complain("cache.share", why);
    }
    Some(limits)
}

/// Reads the profile once: the engine takes its text.
fn seccomp(settings: &mut Settings) -> Option<String> {
    let path = settings.path("executor.seccomp")?;
    let read = std::fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| {
        serde_json::from_str::<serde_json::Value>(&text).map(|_| text).map_err(|error| error.to_string())
    });
    read.map_err(|error| settings.complain("executor.seccomp", format!("cannot be read: {error}"))).ok()
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "executor".to_owned() } else { name }
}
