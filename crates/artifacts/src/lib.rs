//! Artifacts of READY deployments: published by executors, read by gateways.
//!
//! An artifact is a manifest and the files that it lists. It appears at once, whole, and never changes; until then
//! readers never see it. Readers find files by the manifest alone, so no request can reach anything that was not
//! published.
//!
//! There are two stores, and one contract that both are held to: a [`DirectoryStore`] where executors and gateways
//! share a disk, and a [`BucketStore`] where they do not. What a gateway reads goes through [`SiteFiles`], which keeps
//! what came from a bucket on the gateway's own disk.

mod bucket;
mod cache;
mod config;
mod directory;
mod manifest;
mod memory;
mod staging;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use grapnel_domain::id::DeploymentId;
use grapnel_runtime::CancellationToken;

pub use bucket::{Bucket, BucketFault, BucketStore, SendError};
pub use cache::{CacheConfig, FileError, LocalFile, SiteFiles};
pub use config::{BucketConfig, OpenError, SETTINGS, StoreConfig};
pub use directory::DirectoryStore;
pub use manifest::{FileEntry, Manifest};
pub use object_store::{ObjectMeta, path::Path as BucketKey};
pub use staging::{Limits, Refusal};

/// The content of a file, in pieces.
pub type Content = BoxStream<'static, Result<Bytes, ArtifactError>>;

/// Where artifacts are.
#[async_trait]
pub trait ArtifactStore: fmt::Debug + Send + Sync {
    /// Publishes the tree below `output` as the artifact of a deployment, and returns when it is there whole. Publishing
    /// again changes nothing and returns what stands. `given_up` is looked at all the time, and last before the artifact
    /// appears.
    ///
    /// Run it to its end: a future that is dropped leaves what only [`ArtifactStore::sweep`] removes.
    ///
    /// # Errors
    /// The output holds what cannot be published, the store fails, or it was given up. No artifact is there then.
    async fn publish(
        &self,
        deployment: DeploymentId,
        output: &Path,
        limits: Limits,
        given_up: &CancellationToken,
    ) -> Result<Manifest, ArtifactError>;

    /// Opens an artifact.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    async fn open(&self, deployment: DeploymentId) -> Result<Manifest, ArtifactError>;

    /// Tells whether all files are on this machine's disk, where [`ArtifactStore::path_of`] finds them.
    fn is_here(&self) -> bool;

    /// Returns where a file of an artifact is on this machine's disk, in a store that has it there.
    fn path_of(&self, deployment: DeploymentId, file: &FileEntry) -> Option<PathBuf>;

    /// Reads a file of an artifact. What comes is not checked: [`SiteFiles`] does that.
    ///
    /// # Errors
    /// The store fails, now or between two pieces.
    async fn read(&self, deployment: DeploymentId, file: &FileEntry) -> Result<Content, ArtifactError>;

    /// Removes an artifact. One that is not there is removed already. Nobody sees a part of it meanwhile.
    ///
    /// # Errors
    /// The store fails.
    async fn remove(&self, deployment: DeploymentId) -> Result<(), ArtifactError>;

    /// Lists artifacts in the order of their ids, at most `limit` of those after `after`. Fewer than `limit` are the last.
    ///
    /// # Errors
    /// The store fails.
    async fn list(&self, after: Option<DeploymentId>, limit: usize) -> Result<Vec<Published>, ArtifactError>;

    /// Removes what publishers that died have left, and content that no artifact has any more. Nothing that is being
    /// published meanwhile, by whomever, is touched.
    ///
    /// # Errors
    /// The store fails. What was not removed is found by the next sweep.
    async fn sweep(&self) -> Result<(), ArtifactError>;

    /// Writes something, reads it and removes it, as all of the above need.
    ///
    /// # Errors
    /// What failed of it.
    async fn probe(&self) -> Result<(), ArtifactError>;
}

/// An artifact in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Whose it is.
    pub deployment: DeploymentId,
    /// When it appeared, by the store's clock.
    pub at: DateTime<Utc>,
}

/// Why an artifact was not published, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The output itself cannot be published.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The caller did not want it any more.
    #[error("publishing was given up")]
    GivenUp,
    /// The disk failed us.
    #[error("the artifact's directory cannot be used: {0}")]
    Io(#[from] io::Error),
    /// The bucket failed us.
    #[error("the artifact store {0}")]
    Bucket(#[from] BucketFault),
    /// There is no such artifact.
    #[error("there is no artifact of {0}")]
    NotFound(DeploymentId),
    /// The manifest is broken, or of a later release.
    #[error("the artifact's manifest cannot be read: {0}")]
    Manifest(serde_json::Error),
    /// What came is not what was published.
    #[error("what the artifact store sent for {0} is something else")]
    Corrupt(String),
}

/// Runs what blocks on the disk where that is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ArtifactError::Io(io::Error::other(error))),
    }
}
