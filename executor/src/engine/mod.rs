//! What the executor asks of a container engine, and nothing more.
//!
//! An engine knows images, volumes and sandboxes. It knows nothing of steps and logs: those travel between the
//! pipeline and the runner, over a socket that the engine only mounts. Call order for one attempt:
//! [`Engine::image`], [`Engine::prepare_network`], [`Engine::create_volume`] for each volume, [`Engine::start`],
//! [`Engine::begun`], [`Engine::wait`] beside the work, [`Engine::kill`] to end it early, [`Engine::remove`],
//! [`Engine::remove_volume`]. An engine that can reserves volumes ([`Engine::reserve_volume`]) and starts at once; they are
//! created while the sandbox begins.
//!
//! Every call may be made twice and from several tasks. A dropped future leaves the engine's side to finish or
//! not: whoever created something removes it, and [`Engine::list`] finds what a dead process left.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use async_trait::async_trait;
pub use grapnel_domain::project::NetworkAccess;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub mod docker;
pub mod fake;
pub mod kubernetes;

/// The labels by which Grapnel finds what it created.
pub mod label {
    /// The deployment that a sandbox or volume belongs to.
    pub const DEPLOYMENT: &str = "grapnel.deployment";
    /// The attempt of that deployment; 0 is what is made ahead of an attempt, whichever takes it.
    pub const ATTEMPT: &str = "grapnel.attempt";
    /// The executor (its stable name) that created it. A sweep touches only its own.
    pub const EXECUTOR: &str = "grapnel.executor";
}

/// A container engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Says which engine answers; fails when none does.
    async fn describe(&self) -> Result<Description, EngineError>;

    /// Tells whether whoever runs the engine's machine wants nothing new to be started on it for now.
    async fn is_cordoned(&self) -> Result<bool, EngineError> {
        Ok(false)
    }

    /// Looks an image up by name; `None` when the engine does not have it and does not fetch images by itself. Nothing is
    /// fetched here.
    async fn image(&self, name: &str) -> Result<Option<Image>, EngineError>;

    /// Makes an empty place under a volume's name, so that sandboxes which mount it can start before it has anything to show:
    /// [`Engine::create_volume`] fills it, also below those that run. Done again it takes away what was filled below sandboxes
    /// whose first process ran by then; others keep it. Tells whether the engine can do so; where it cannot nothing was made.
    async fn reserve_volume(
        &self,
        _name: &str,
        _labels: &BTreeMap<String, String>,
    ) -> Result<bool, EngineError> {
        Ok(false)
    }

    /// Creates a volume, or leaves the existing one of that name as it is, unless that is an empty place for it.
    async fn create_volume(&self, volume: &Volume) -> Result<(), EngineError>;

    /// Removes a volume. A volume that is not there is removed already.
    async fn remove_volume(&self, name: &str) -> Result<(), EngineError>;

    /// Makes a network as it has to be, however often it is asked to, and returns addresses that sandboxes of it must not
    /// reach, so that it can be tried; none where there is nothing to try.
    ///
    /// [`EngineError::Network`] where what closes it cannot be placed.
    async fn prepare_network(&self, access: NetworkAccess) -> Result<Vec<SocketAddr>, EngineError>;

    /// Creates and starts a sandbox and returns its id. Leaves nothing behind when it fails.
    ///
    /// [`EngineError::NoPlace`] where the same may be asked for again.
    async fn start(&self, sandbox: &Sandbox) -> Result<SandboxId, EngineError>;

    /// Waits until the first process of a started sandbox can have begun. An engine may have to find room for it and to fetch
    /// its image; `waiting` is told, in words, what is in the way whenever that changes.
    ///
    /// An error says that it never begins; the caller removes it then.
    async fn begun(&self, _id: &SandboxId, _waiting: &watch::Sender<String>) -> Result<(), EngineError> {
        Ok(())
    }

    /// Waits until the sandbox has ended, however long that takes; the caller brings the deadline.
    async fn wait(&self, id: &SandboxId) -> Result<Exit, EngineError>;

    /// Asks the sandbox's first process to end, and kills it when `grace` is over. Ending an ended one is no error.
    async fn kill(&self, id: &SandboxId, grace: Duration) -> Result<(), EngineError>;

    /// Removes a sandbox, by force if it still runs. A sandbox that is not there is removed already.
    async fn remove(&self, id: &SandboxId) -> Result<(), EngineError>;

    /// Removes a sandbox of which the caller knows that nothing runs any more. It need not be looked for again.
    async fn remove_ended(&self, id: &SandboxId) -> Result<(), EngineError> {
        self.remove(id).await
    }

    /// Lists the sandboxes, running or not, and the volumes that carry all of `labels`.
    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Inventory, EngineError>;
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The engine's kind, such as `docker`.
    pub kind: String,
    /// The engine's own version.
    pub version: String,
    /// The version of the API it speaks.
    pub api_version: String,
}

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The content-addressed id; empty where the engine has not run the image yet, and knows it only then.
    pub id: String,
    /// The labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// A volume to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The engine-wide name.
    pub name: String,
    /// What it shows.
    pub source: VolumeSource,
    /// The labels to find it by.
    pub labels: BTreeMap<String, String>,
}

/// What a volume shows. All directories are the engine's host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A directory.
    Directory(PathBuf),
    /// Several directories as one tree, as Linux' overlayfs does it. An engine that cannot answers
    /// [`EngineError::Unsupported`], or refuses to start the sandbox.
    Overlay {
        /// What is only read, topmost first.
        lower: Vec<PathBuf>,
        /// What is above all of it, and takes what is written.
        upper: PathBuf,
        /// An empty directory on the same file system as `upper`, for the kernel.
        work: PathBuf,
    },
}

/// The id that the engine gave a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SandboxId(pub String);

/// A sandbox to start: one container under the isolation profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The engine-wide name.
    pub name: String,
    /// The image to run; it has to be there.
    pub image: String,
    /// The first process and its arguments. The image's own entry point is not used.
    pub command: Vec<String>,
    /// The environment of the first process. Holds no secret: engines show it to whoever asks.
    pub env: BTreeMap<String, String>,
    /// The directory in which the first process starts.
    pub working_dir: String,
    /// The user and group ids that everything in the sandbox runs as.
    pub user: (u32, u32),
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// The network it may use.
    pub network: NetworkAccess,
    /// The limits it runs under.
    pub limits: SandboxLimits,
    /// After which time it is of use to nobody. An engine that can do so ends it then.
    pub deadline: Duration,
    /// Another OCI runtime than the engine's default, such as `runsc`.
    pub runtime: Option<String>,
    /// Another seccomp profile than the engine's default: the text of one, as the OCI runtimes read it.
    pub seccomp: Option<String>,
    /// The labels to find it by.
    pub labels: BTreeMap<String, String>,
}

/// One mount of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it comes from.
    pub source: MountSource,
    /// The absolute path inside.
    pub target: String,
    /// Whether the sandbox may only read it.
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the engine's host.
    Host(PathBuf),
    /// A volume by name.
    Volume(String),
    /// Memory, at most this many bytes; never `suid` nor `dev`.
    Memory {
        /// The size in bytes.
        bytes: u64,
    },
}

/// The limits of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Memory in bytes; swap is not added.
    pub memory_bytes: u64,
    /// CPU time per time, in thousandths of one CPU.
    pub milli_cpus: u32,
    /// Processes and threads at once.
    pub processes: u32,
    /// Open files of one process.
    pub open_files: u32,
}

/// How a sandbox ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code of the first process; 128 + signal where a signal ended it.
    pub code: i64,
    /// Whether the kernel ended a process of it for want of memory.
    pub out_of_memory: bool,
    /// Why it was ended by somebody else, in words: its machine had no room for it any more, say.
    pub taken_away: Option<String>,
}

impl Exit {
    /// Returns the end of a sandbox whose first process ended with a code.
    pub fn with(code: i64) -> Self {
        Self { code, out_of_memory: false, taken_away: None }
    }
}

/// What an engine holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The sandboxes, with their labels.
    pub sandboxes: Vec<(SandboxId, BTreeMap<String, String>)>,
    /// The volumes, by name, with their labels.
    pub volumes: Vec<(String, BTreeMap<String, String>)>,
}

/// Why an engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers, or not in time. Another try may succeed.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
    /// There is no room for a sandbox now; the text is the engine's own. Another try may succeed.
    #[error("there is no place for the sandbox yet: {0}")]
    NoPlace(String),
    /// The sandbox has waited as long as it may, and never began.
    #[error("the sandbox did not start: {0}")]
    NeverBegun(String),
    /// The image cannot be fetched.
    #[error("the image `{image}` cannot be fetched: {cause}")]
    ImageUnavailable {
        /// The image's name.
        image: String,
        /// What the engine says.
        cause: String,
    },
    /// The image is not there.
    #[error("the engine has no image `{0}`")]
    ImageMissing(String),
    /// The engine refused the request; the text is the engine's own.
    #[error("the container engine refused: {0}")]
    Refused(String),
    /// The sandbox or volume is not there.
    #[error("the engine has no `{0}`")]
    NotFound(String),
    /// The network that was asked for cannot be had as it has to be.
    #[error("the network of builds is not there: {0}")]
    Network(String),
    /// The engine has no such thing.
    #[error("the container engine cannot do this: {0}")]
    Unsupported(String),
}
