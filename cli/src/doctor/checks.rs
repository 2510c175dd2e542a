//! The checks.

use std::{fs, io, path::Path, time::Duration};

use grapnel_artifacts::StoreConfig;
use grapnel_domain::secret_token::ApiKey;
use grapnel_executor::{
    EngineConfig, ExecutorConfig, Trial,
    engine::{Engine as _, NetworkAccess, docker::DockerEngine, kubernetes::config::KubernetesConfig},
};
use grapnel_hooks::store::Store;
use grapnel_runtime::{
    Settings,
    settings::{SettingsError, shared},
};
use tokio::{net::TcpListener, process::Command, time::timeout};

use super::{Finding, kubernetes};

/// The oldest engine, and the least free space, that Grapnel works with.
const OLDEST_API: (u32, u32) = (1, 41);
const LEAST_FREE: u64 = 2 << 30;

/// How long a check may take that starts a sandbox.
const TRIAL: Duration = Duration::from_secs(60);

/// How long one check may take.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Looks at everything. `read` says whether the services can read the settings.
pub async fn all(mut settings: Settings, read: Result<(), SettingsError>) -> Vec<Finding> {
    let data_dir = shared::data_dir(&mut settings);
    let socket: String = settings.require("executor.docker", String::new());
    let image: String = settings.require("builder_image", String::new());
    let database: Option<String> = settings.get("database_url");
    let ca_bundle = settings.path("ca_bundle");
    let listeners = ["gateway.listen", "hooks.listen", "executor.listen", "sites.listen"]
        .map(|key| (key, settings.require(key, String::new())));
    let mut findings = vec![match read {
        Ok(()) => Finding::ok("settings", "every setting can be read"),
        Err(error) => {
            Finding::failure("settings", error.to_string(), "correct them; `grapnel settings` lists all")
        }
    }];
    findings.push(data_directory(&data_dir));
    findings.push(git().await);
    findings.push(ssh().await);
    // Whatever is wrong with the settings has been told already.
    let executor = ExecutorConfig::read(&mut settings, Some(ApiKey::generate(&mut rand::rng())));
    let cluster = executor.as_ref().and_then(|executor| match &executor.engine {
        EngineConfig::Kubernetes(cluster) => Some(KubernetesConfig::clone(cluster)),
        EngineConfig::Docker { .. } => None,
    });
    let on_kubernetes = cluster.is_some();
    match cluster {
        Some(cluster) => findings.extend(kubernetes::all(cluster).await),
        None => findings.extend(docker(&socket, &image).await),
    }
    if let Some(executor) = &executor {
        findings.extend(builds(executor).await);
    }
    // An executor of a cluster has no database.
    if database.is_some() || !on_kubernetes {
        findings.push(database_of(&data_dir, database).await);
    }
    findings.extend(artifacts(&mut settings).await);
    if let Some(bundle) = ca_bundle {
        findings.push(readable("CA bundle", &bundle));
    }
    for (key, address) in listeners {
        findings.push(port(key, &address).await);
    }
    findings
}

fn data_directory(path: &Path) -> Finding {
    let probe = path.join(".doctor");
    let tried =
        fs::create_dir_all(path).and_then(|()| fs::write(&probe, "")).and_then(|()| fs::remove_file(&probe));
    if let Err(error) = tried {
        let advice =
            "make it writable for this user, or set data_dir (GRAPNEL_DATA_DIR) to a directory that is";
        return Finding::failure(
            "data directory",
            format!("{} cannot be written: {error}", path.display()),
            advice,
        );
    }
    let free = grapnel_executor::disk::free(path).unwrap_or(0);
    let found = format!("{}, {} GiB free", path.display(), free >> 30);
    if free < LEAST_FREE {
        return Finding::warning(
            "data directory",
            found,
            "builds need room for workspaces and caches: free some",
        );
    }
    Finding::ok("data directory", found)
}

async fn git() -> Finding {
    let asked = timeout(PATIENCE, Command::new("git").arg("--version").output()).await;
    match asked {
        Ok(Ok(output)) if output.status.success() => {
            Finding::ok("git", String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => Finding::failure("git", "there is no git program", "install it: `apt-get install git`"),
    }
}

async fn ssh() -> Finding {
    // It tells its version on standard error.
    let asked = timeout(PATIENCE, Command::new("ssh").arg("-V").output()).await;
    match asked {
        Ok(Ok(output)) if output.status.success() => {
            Finding::ok("ssh", String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
        _ => Finding::warning(
            "ssh",
            "there is no ssh program: repositories over ssh cannot be fetched",
            "install it on the executor: `apt-get install openssh-client`",
        ),
    }
}

async fn docker(socket: &str, image: &str) -> Vec<Finding> {
    let advice = "install and start Docker Engine 20.10 or newer (`apt-get install docker.io`), or set executor.docker";
    let engine = DockerEngine::new(socket);
    let described = match timeout(PATIENCE, engine.describe()).await {
        Ok(Ok(described)) => described,
        Ok(Err(error)) => return vec![Finding::failure("docker", error.to_string(), advice)],
        Err(_) => {
            return vec![Finding::failure("docker", "the engine does not answer in time", advice)];
        }
    };
    let found = format!("{} (API {}) at {socket}", described.version, described.api_version);
    let docker = if api(&described.api_version) < Some(OLDEST_API) {
        Finding::failure("docker", found, "it is too old: 20.10 (API 1.41) is needed")
    } else {
        Finding::ok("docker", found)
    };
    let image = match timeout(PATIENCE, engine.image(image)).await {
        Ok(Ok(Some(_))) => Finding::ok("builder image", image),
        Ok(Ok(None)) => Finding::failure(
            "builder image",
            format!("the engine has no image `{image}`"),
            "make it with images/builder/build.sh (`make image`), or set builder_image",
        ),
        Ok(Err(error)) => Finding::failure("builder image", error.to_string(), advice),
        Err(_) => Finding::failure("builder image", "the engine does not answer in time", advice),
    };
    vec![docker, image]
}

/// Tries what builds need of the engine: a network that is closed, and overlays for their caches.
async fn builds(config: &ExecutorConfig) -> Vec<Finding> {
    let Ok(trial) = Trial::prepare(config) else { return Vec::new() };
    vec![network(config, &trial).await, cache(&trial).await]
}

async fn network(config: &ExecutorConfig, trial: &Trial) -> Finding {
    let check = "builds' network";
    if config.network == NetworkAccess::None {
        return Finding::ok(check, "none: builds reach nothing");
    }
    match timeout(TRIAL, trial.network().ready(config.network)).await {
        Ok(Ok(())) if config.network == NetworkAccess::Open => Finding::warning(
            check,
            "open: builds reach whatever this machine reaches, its own services too",
            "choose executor.network = egress unless all who may change a repository may do that",
        ),
        Ok(Ok(())) => Finding::ok(check, "egress: a sandbox has tried the firewall, and it holds"),
        Ok(Err(error)) => Finding::failure(
            check,
            error.to_string(),
            "give the kernel nf_tables and the builder image nft (`make image`), or choose executor.network = none, or open, which filters nothing",
        ),
        Err(_) => {
            Finding::failure(check, "the engine does not answer in time", "look at the engine's own log")
        }
    }
}

async fn cache(trial: &Trial) -> Finding {
    let check = "build cache";
    match timeout(TRIAL, trial.caches().overlays()).await {
        Ok(Ok(Ok(()))) => Finding::ok(check, "the engine mounts overlays: nothing is copied"),
        Ok(Ok(Err(why))) => Finding::warning(
            check,
            format!("caches are copied: {why}"),
            "let the executor run as root with CAP_SYS_ADMIN, with its data directory at the same path for the engine",
        ),
        Ok(Err(error)) => Finding::warning(check, error.to_string(), "correct that first"),
        Err(_) => {
            Finding::failure(check, "the engine does not answer in time", "look at the engine's own log")
        }
    }
}

fn api(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

async fn database_of(data_dir: &Path, configured: Option<String>) -> Finding {
    let url = configured.unwrap_or_else(|| format!("sqlite://{}", data_dir.join("grapnel.db").display()));
    let kind = url.split("://").next().unwrap_or_default().to_owned();
    match timeout(PATIENCE, Store::open(&url)).await {
        Ok(Ok(store)) => match store.close().await {
            Ok(()) => Finding::ok("database", format!("{kind}, its schema is up to date")),
            Err(error) => Finding::warning("database", error.to_string(), "look at the database's own log"),
        },
        Ok(Err(error)) => {
            Finding::failure("database", error.to_string(), "check database_url (GRAPNEL_DATABASE_URL)")
        }
        Err(_) => Finding::failure("database", "it does not answer in time", "check that it is running"),
    }
}

/// Writes, reads and removes something in the artifact store, as executors and gateways do.
async fn artifacts(settings: &mut Settings) -> Option<Finding> {
    let check = "artifacts";
    // Whatever is wrong with the settings has been told already.
    let config = StoreConfig::read(settings)?;
    let tried = match config.open() {
        Ok(store) => timeout(TRIAL, async move { store.probe().await }).await,
        Err(error) => return Some(Finding::failure(check, error.to_string(), "correct the settings")),
    };
    let advice = match config {
        StoreConfig::Directory(_) => "make it writable for this user, or set artifacts.url",
        StoreConfig::Bucket(..) => {
            "check artifacts.url, artifacts.endpoint, artifacts.region, and that its key may put, get, list and delete"
        }
    };
    let place = config.place();
    Some(match tried {
        Ok(Ok(())) => Finding::ok(check, format!("{place} can be written and read")),
        Ok(Err(error)) => Finding::failure(check, format!("{place}: {}", chain(&error)), advice),
        Err(_) => Finding::failure(check, format!("{place} does not answer in time"), advice),
    })
}

/// Tells an error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |mut told, cause| {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
        told
    })
}

fn readable(check: &'static str, path: &Path) -> Finding {
    match fs::File::open(path) {
        Ok(_) => Finding::ok(check, path.display().to_string()),
        Err(error) => Finding::failure(
            check,
            format!("{} cannot be read: {error}", path.display()),
            "correct ca_bundle",
        ),
    }
}

async fn port(key: &'static str, address: &str) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Finding::ok(key, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::warning(
            key,
            format!("{address} is taken"),
            "by a running Grapnel, or by something else: then choose another address",
        ),
        Err(error) => {
            Finding::failure(key, format!("{address}: {error}"), "choose an address of this machine")
        }
    }
}
