//! The build cache: what of a build the next one finds again, whose cost does not grow with its size.
//!
//! A snapshot is a short list of read-only layers. A build sees them below a layer of its own, through overlay mounts
//! that the engine makes, so that nothing is copied; when it is READY, what it changed of the cached paths is renamed
//! into a new layer, and the snapshot's file is replaced by rename. A build that ends otherwise changes nothing.
//!
//! Call order for one attempt: [`Caches::mount_points`] where its sandbox is to start first, [`Caches::fetch`] beside the
//! checkout, [`Caches::prepare`] when that is there, the build, [`Caches::keep`] if it is READY and nothing runs in its sandbox
//! any more, [`Caches::release`] always. Everything below the caches' directory belongs to one process.

mod index;
mod keep;
mod key;
mod layer;
mod mounts;
mod overlay;
mod prepare;
mod shared;
mod snapshot;
mod stack;
mod upkeep;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use grapnel_domain::event::CacheReport;
use grapnel_runtime::Clock;
pub use keep::Installed;
pub use key::Key;
pub use mounts::MountPoints;
pub use overlay::Unavailable;
pub use prepare::{Build, Prepared};
pub use shared::{Fetching, NotPurged, SharedConfig};
pub use snapshot::{Layer, Snapshot};
pub use stack::{How, Shown, Stack};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use crate::engine::{Engine, EngineError};
use index::{InUse, Index};
use shared::Shared;

/// What caches may be, and may cost.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The directory of all caches. It has to be on one file system with the workspaces.
    pub directory: PathBuf,
    /// The executor's name, for labels.
    pub executor: String,
    /// The image in which the engine's overlay volumes are tried out.
    pub probe_image: String,
    /// Whether layers are mounted or copied.
    pub storage: Storage,
    /// The most bytes of one snapshot.
    pub key_bytes: u64,
    /// How long a snapshot is kept that nobody uses.
    pub max_age: Duration,
    /// The most bytes of all snapshots together.
    pub total_bytes: u64,
    /// What they are shared by with other executors, if they are.
    pub shared: Option<SharedConfig>,
}

/// How a build gets its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Mounted where the engine can do it, else copied.
    Auto,
    /// Always copied.
    Copy,
}

/// The caches of an executor. Clones are the same ones.
#[derive(Clone)]
pub struct Caches {
    config: Arc<CacheConfig>,
    engine: Arc<dyn Engine>,
    clock: Clock,
    index: Arc<Mutex<Index>>,
    overlays: Arc<OnceCell<Result<(), Unavailable>>>,
    /// The layers of builds that may still run, until it is known.
    held: Arc<Mutex<Vec<InUse>>>,
    shared: Option<Arc<Shared>>,
    upkeep: TaskTracker,
}

/// Why a cache cannot be put in place.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk.
    #[error("the cache cannot be put in place: {0}")]
    Io(#[from] io::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What is told of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key under which it is kept.
    pub key: String,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// When a build last used it.
    pub used_at: DateTime<Utc>,
}

impl Caches {
    /// Opens the caches of a directory: drops what a process that died left half done, and what may not have reached
    /// the disk before the machine went down.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(config: CacheConfig, engine: Arc<dyn Engine>, clock: Clock) -> io::Result<Self> {
        Self::open_beside(config, engine, clock, &[])
    }

    /// Does the same while builds of the process that died may still run, with these caches in place. Their layers stay
    /// until [`Caches::let_go`]; whoever goes on with such a build adopts its cache before.
    ///
    /// # Errors
    /// As [`Caches::open`].
    pub fn open_beside(
        config: CacheConfig,
        engine: Arc<dyn Engine>,
        clock: Clock,
        builds: &[&Prepared],
    ) -> io::Result<Self> {
        for directory in [LAYERS, SNAPSHOTS, TRASH] {
            fs::create_dir_all(config.directory.join(directory))?;
        }
        let mut index = Index::load(&config.directory.join(SNAPSHOTS))?;
        index.load_purges(&config.directory.join(PURGES))?;
        let held = builds.iter().map(|build| index.use_layers(build.base.layers())).collect();
        let caches = Self {
            shared: config.shared.clone().map(|config| Arc::new(Shared::new(config))),
            config: Arc::new(config),
            engine,
            clock,
            index: Arc::new(Mutex::new(index)),
            overlays: Arc::default(),
            held: Arc::new(Mutex::new(held)),
            upkeep: TaskTracker::new(),
        };
        caches.sweep()?;
        Ok(caches)
    }

    /// Removes what was only kept for builds with which nobody goes on.
    pub fn let_go(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let layers: Vec<String> = held.iter().flat_map(InUse::layers).cloned().collect();
        drop(held);
        let free = self.index().unused(layers.iter());
        self.throw_away(free);
    }

    /// Returns what they may be, and may cost.
    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// Returns the snapshots of a project, or of all, newest use first.
    pub fn list(&self, project: Option<&str>) -> Vec<Listed> {
        let index = self.index();
        let wanted = |snapshot: &Snapshot| project.is_none_or(|project| snapshot.key.project == project);
        let mut listed: Vec<_> = index
            .snapshots()
            .filter(|(_, kept)| wanted(&kept.snapshot))
            .map(|(key, kept)| Listed {
                key: key.clone(),
                snapshot: kept.snapshot.clone(),
                used_at: kept.used_at,
            })
            .collect();
        listed.sort_by(|a, b| (b.used_at, &a.key).cmp(&(a.used_at, &b.key)));
        listed
    }

    /// Drops the snapshots that are here of a project, or of one of its branches, and says how many and how many bytes. A
    /// build that has one in use keeps it to its end, and what it leaves is not kept.
    pub fn purge(&self, project: &str, branch: Option<&str>) -> (u32, u64) {
        let mut index = self.index();
        let dropped = index.purge(project, branch);
        if let Err(error) = index.write_purges(&self.config.directory.join(PURGES)) {
            tracing::warn!(%error, "that a cache was purged is forgotten when the executor ends");
        }
        let bytes = dropped.iter().map(Snapshot::bytes).sum();
        let count = u32::try_from(dropped.len()).unwrap_or(u32::MAX);
        for snapshot in &dropped {
            self.forget(snapshot);
        }
        let free = index.unused(dropped.iter().flat_map(Snapshot::layers));
        drop(index);
        self.throw_away(free);
        (count, bytes)
    }

    /// Tells whether the engine mounts layers, or why they are copied instead. Tries it out at first.
    ///
    /// # Errors
    /// The engine does not answer now; the next caller tries again.
    pub async fn overlays(&self) -> Result<Result<(), Unavailable>, EngineError> {
        if self.config.storage == Storage::Copy {
            return Ok(Err(Unavailable::new("the operator chose to copy (cache.storage)")));
        }
        let tried =
            self.overlays.get_or_try_init(|| overlay::probe(&self.config, self.engine.as_ref())).await?;
        Ok(tried.clone())
    }

    /// Waits until compaction and removal that are under way are over.
    pub async fn settled(&self) {
        self.upkeep.close();
        self.upkeep.wait().await;
        self.upkeep.reopen();
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layer_path(&self, id: &str) -> PathBuf {
        self.config.directory.join(LAYERS).join(id)
    }

    fn snapshot_path(&self, key: &str) -> PathBuf {
        self.config.directory.join(SNAPSHOTS).join(format!("{key}.json"))
    }

    /// Removes the file of a snapshot that the index has dropped.
    fn forget(&self, snapshot: &Snapshot) {
        let path = self.snapshot_path(&snapshot.key.hash());
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "the file of a dropped snapshot cannot be removed");
        }
    }

    /// Returns the layers of a stack, topmost first, as directories.
    fn directories(&self, layers: &[Layer]) -> Vec<PathBuf> {
        layers.iter().map(|layer| self.layer_path(&layer.id)).collect()
    }
}

/// Below the caches' directory: layers, one directory each; snapshots, one file each; what is being removed.
const LAYERS: &str = "layers";
const SNAPSHOTS: &str = "snapshots";
const TRASH: &str = "trash";
/// The file that says what was purged when, for builds that go on when the executor starts again.
const PURGES: &str = "purges.json";

/// Chains this long are compacted, and no snapshot has a longer one than the second.
const COMPACT_AT: usize = 8;
const LONGEST: usize = 16;

/// Makes a name that no layer has.
fn new_layer_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// A report about a snapshot; the caller adds how long it took.
fn report(mut base: CacheReport, snapshot: Option<&Snapshot>) -> CacheReport {
    base.layers =
        snapshot.map_or(0, |it| u32::try_from(it.workspace.len() + it.tools.len()).unwrap_or(u32::MAX));
    base.bytes = snapshot.map_or(0, Snapshot::bytes);
    base
}

/// Returns the part of a path that has to exist for it to be made.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}
