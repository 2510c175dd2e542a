//! The build cache: what of a build the next one finds again.
//!
//! A cache is a directory below the data directory, shown to the sandbox as a volume at `/cache`, where the tools'
//! own caches are. Builds of one key share it.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use grapnel_domain::{
    build::BuildSpec,
    event::{CacheOutcome, CacheReport},
};
use sha2::{Digest as _, Sha256};

use super::workspace::Workspace;
use crate::engine::{Engine, EngineError, Volume, label};

/// The caches of an executor.
#[derive(Clone)]
pub struct Caches {
    /// The directory of all caches.
    pub directory: PathBuf,
    /// The executor's name, for labels.
    pub executor: String,
    /// The engine that mounts them.
    pub engine: Arc<dyn Engine>,
}

/// A cache that is ready to be mounted.
#[derive(Clone, Debug)]
pub struct PreparedCache {
    /// The volume to mount.
    pub volume: String,
    /// Where its files are.
    pub directory: PathBuf,
    /// What is told about it.
    pub report: CacheReport,
    /// Whether it goes away with the attempt.
    pub private: bool,
}

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk.
    #[error("the cache's directory cannot be made: {0}")]
    Io(#[from] io::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Caches {
    /// Makes the cache of a build ready: its branch's, or an empty one that goes away with the attempt.
    ///
    /// # Errors
    /// The disk or the engine fails.
    pub async fn prepare(
        &self,
        spec: &BuildSpec,
        image: &str,
        owner: (u32, u32),
        workspace: &Workspace,
    ) -> Result<PreparedCache, CacheError> {
        let key = key(spec, image);
        let (directory, volume) = if spec.use_cache {
            (self.directory.join(&key), format!("grapnel-cache-{key}"))
        } else {
            (workspace.private_cache(), format!("grapnel-cache-{}", spec.id))
        };
        let report = report(spec.use_cache, &key, directory.is_dir());
        std::fs::create_dir_all(&directory)?;
        std::os::unix::fs::chown(&directory, Some(owner.0), Some(owner.1))?;
        let mut labels = BTreeMap::from([(label::EXECUTOR.to_owned(), self.executor.clone())]);
        if spec.use_cache {
            labels.insert(label::CACHE.to_owned(), key);
        } else {
            labels.insert(label::DEPLOYMENT.to_owned(), spec.id.deployment.to_string());
            labels.insert(label::ATTEMPT.to_owned(), spec.id.attempt.to_string());
        }
        let volume_of = Volume { name: volume.clone(), directory: directory.clone(), labels };
        self.engine.create_volume(&volume_of).await?;
        Ok(PreparedCache { volume, directory, report, private: !spec.use_cache })
    }

    /// Gives a cache back when its build is over.
    ///
    /// # Errors
    /// The engine fails.
    pub async fn release(&self, cache: &PreparedCache) -> Result<(), EngineError> {
        if cache.private { self.engine.remove_volume(&cache.volume).await } else { Ok(()) }
    }
}

/// What shares a cache: project, branch, builder image, root directory.
fn key(spec: &BuildSpec, image: &str) -> String {
    let root = spec.settings.root_directory.as_ref().map_or(".", |path| path.as_str());
    let parts = [&spec.project_id.to_string(), spec.branch.as_str(), image, root].join("\0");
    hex::encode(&Sha256::digest(parts)[..12])
}

fn report(use_cache: bool, key: &str, there: bool) -> CacheReport {
    let (outcome, key, detail) = match (use_cache, there) {
        (false, _) => (CacheOutcome::Off, "", "this build was asked for without a cache"),
        (true, true) => (CacheOutcome::Hit, key, "the cache of the branch's last build"),
        (true, false) => {
            (CacheOutcome::Miss, key, "the first build of this branch with this image and directory")
        }
    };
    CacheReport { outcome, key: key.to_owned(), detail: detail.to_owned() }
}
