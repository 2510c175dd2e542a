//! The Docker engine, 20.10 and newer.

mod config;
mod error;
mod firewall;
mod network;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use async_trait::async_trait;
use bollard::{Docker, models::VolumeCreateRequest, query_parameters as query};
use error::{EngineResultExt as _, translate};
pub use firewall::EgressPolicy;
use futures_util::StreamExt as _;
use grapnel_runtime::crash_point;
use tokio::time::timeout;

use super::{
    Description, Engine, EngineError, Exit, Image, Inventory, Mount, MountSource, NetworkAccess, Sandbox,
    SandboxId, Volume, VolumeSource,
};

/// How long the engine may take to answer a request. Creating and starting are slow on a busy disk.
const ANSWER: Duration = Duration::from_secs(60);

/// The bridge of sandboxes with [`NetworkAccess::Egress`] where the operator opens nothing beside the internet.
/// Containers on it do not reach each other.
pub const EGRESS_NETWORK: &str = "grapnel-egress";

/// The bridge of sandboxes with [`NetworkAccess::Open`]. They do not reach each other either.
pub const OPEN_NETWORK: &str = "grapnel-open";

/// A connection to a Docker engine.
#[derive(Clone, Debug)]
pub struct DockerEngine {
    socket: String,
    docker: OnceLock<Docker>,
    egress: EgressPolicy,
}

impl DockerEngine {
    /// Takes the path of the engine's socket, such as `/var/run/docker.sock`. It need not be there yet: every call
    /// looks for it until one has found it.
    pub fn new(socket: &str) -> Self {
        Self { socket: socket.to_owned(), docker: OnceLock::new(), egress: EgressPolicy::default() }
    }

    /// Says what builds reach beside the internet.
    #[must_use]
    pub fn with_egress(self, egress: EgressPolicy) -> Self {
        Self { egress, ..self }
    }

    fn docker(&self) -> Result<&Docker, EngineError> {
        if let Some(docker) = self.docker.get() {
            return Ok(docker);
        }
        let docker =
            Docker::connect_with_socket(&self.socket, ANSWER.as_secs(), bollard::API_DEFAULT_VERSION)
                .map_err(|error| translate(error, &self.socket))?;
        Ok(self.docker.get_or_init(|| docker))
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        let version =
            answered(self.docker()?.version()).await?.map_err(|error| translate(error, "version"))?;
        Ok(Description {
            kind: "docker".to_owned(),
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
        })
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        let found = answered(self.docker()?.inspect_image(name)).await?.or_missing(name)?;
        Ok(found.map(|image| Image {
            id: image.id.unwrap_or_default(),
            labels: image.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect(),
        }))
    }

    async fn create_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let request = VolumeCreateRequest {
            name: Some(volume.name.clone()),
            driver: Some("local".to_owned()),
            driver_opts: Some(volume_options(&volume.source)?),
            labels: Some(volume.labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        answered(self.docker()?.create_volume(request))
            .await?
            .map_err(|error| translate(error, &volume.name))?;
        Ok(())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let removed = self.docker()?.remove_volume(name, None::<query::RemoveVolumeOptions>);
        answered(removed).await?.or_missing(name).map(|_| ())
    }

    async fn prepare_network(&self, access: NetworkAccess) -> Result<Vec<SocketAddr>, EngineError> {
        self.make_network(access).await
    }

    async fn start(&self, sandbox: &Sandbox) -> Result<SandboxId, EngineError> {
        let options = query::CreateContainerOptionsBuilder::default().name(&sandbox.name).build();
        let created =
            self.docker()?.create_container(Some(options), config::container(sandbox, &self.egress));
        let created = answered(created).await?.map_err(|error| match error::status(&error) {
            Some(404) => EngineError::ImageMissing(sandbox.image.clone()),
            _ => translate(error, &sandbox.name),
        })?;
        let id = SandboxId(created.id);
        crash_point("sandbox.created");
        let started =
            answered(self.docker()?.start_container(&id.0, None::<query::StartContainerOptions>)).await;
        if let Err(error) = started.and_then(|result| result.map_err(|error| translate(error, &sandbox.name)))
        {
            self.remove(&id).await?;
            return Err(error);
        }
        crash_point("sandbox.started");
        Ok(id)
    }

    async fn wait(&self, id: &SandboxId) -> Result<Exit, EngineError> {
        let options = query::WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut ended = self.docker()?.wait_container(&id.0, Some(options));
        let code = match ended.next().await {
            Some(Ok(response)) => response.status_code,
            // A code other than 0 is this crate's error, and our answer.
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(translate(error, &id.0)),
            None => {
                return Err(EngineError::Unavailable("the engine stopped answering".to_owned()));
            }
        };
        let inspected = self.docker()?.inspect_container(&id.0, None::<query::InspectContainerOptions>);
        let state = answered(inspected).await?.or_missing(&id.0)?.and_then(|container| container.state);
        let out_of_memory = state.and_then(|state| state.oom_killed).unwrap_or(false);
        Ok(Exit { out_of_memory, ..Exit::with(code) })
    }

    async fn kill(&self, id: &SandboxId, grace: Duration) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let ended = if seconds == 0 {
            answered(self.docker()?.kill_container(&id.0, None::<query::KillContainerOptions>)).await?
        } else {
            let options = query::StopContainerOptionsBuilder::default().t(seconds).build();
            answered(self.docker()?.stop_container(&id.0, Some(options))).await?
        };
        ended.or_ended(&id.0)
    }

    async fn remove(&self, id: &SandboxId) -> Result<(), EngineError> {
        let options = query::RemoveContainerOptionsBuilder::default().force(true).v(false).build();
        answered(self.docker()?.remove_container(&id.0, Some(options))).await?.or_ended(&id.0)
    }

    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Inventory, EngineError> {
        let wanted = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let filters = HashMap::from([("label", wanted)]);
        let options = query::ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let containers = answered(self.docker()?.list_containers(Some(options))).await?;
        let containers = containers.map_err(|error| translate(error, "containers"))?;
        let options = query::ListVolumesOptionsBuilder::default().filters(&filters).build();
        let volumes = answered(self.docker()?.list_volumes(Some(options))).await?;
        let volumes = volumes.map_err(|error| translate(error, "volumes"))?;
        let sandboxes = containers.into_iter().filter_map(|container| {
            Some((SandboxId(container.id?), container.labels.unwrap_or_default().into_iter().collect()))
        });
        let volumes = volumes.volumes.unwrap_or_default();
        Ok(Inventory {
            sandboxes: sandboxes.collect(),
            volumes: volumes
                .into_iter()
                .map(|volume| (volume.name, volume.labels.into_iter().collect()))
                .collect(),
        })
    }
}

/// What mount(8) is told of a volume.
fn volume_options(source: &VolumeSource) -> Result<HashMap<String, String>, EngineError> {
    let (kind, device, options) = match source {
        VolumeSource::Directory(path) => ("none", text(path)?, "bind".to_owned()),
        VolumeSource::Overlay { lower, upper, work } => {
            let lower = lower.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?.join(":");
            let (upper, work) = (text(upper)?, text(work)?);
            // A directory that a build renames goes on below under its old name, and is not copied whole. Whatever
            // else the kernel was built with by default would tie a layer to the mount that made it.
            let features = "redirect_dir=on,metacopy=off,index=off";
            ("overlay", "overlay", format!("lowerdir={lower},upperdir={upper},workdir={work},{features}"))
        }
    };
    Ok([("type", kind), ("device", device), ("o", &options)]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into())
}

/// Separators have no place in the paths of a mount's options.
fn text(path: &Path) -> Result<&str, EngineError> {
    let text = path.to_str().filter(|text| !text.contains([':', ',', '\\']));
    text.ok_or_else(|| {
        EngineError::Unsupported(format!("the path {} cannot be mounted by name", path.display()))
    })
}

async fn answered<T>(request: impl Future<Output = T>) -> Result<T, EngineError> {
    timeout(ANSWER, request)
        .await
        .map_err(|_| EngineError::Unavailable(format!("no answer within {} s", ANSWER.as_secs())))
}
