//! Artifacts in a bucket of an S3-compatible server, for executors and gateways that share no disk.
//!
//! | key | what it is |
//! |---|---|
//! | `blobs/<name>` | the content of files, once however many artifacts have it; its name is the SHA-256 |
//! | `artifacts/<deployment>.json` | the manifest of an artifact, written last and never again: with it the artifact is there |
//! | `drafts/<deployment>.<nonce>.json` | the manifest of an artifact that a publisher is bringing |
//! | `doomed/<nonce>.json` | the names of blobs that a sweep is removing |
//!
//! **Nothing that is needed is swept.** A publisher relies on blobs that are there already, while a sweep removes those
//! that no artifact has: each has to hear of the other. A publisher writes its draft, *then* reads what is doomed, and
//! only then looks for blobs. A sweep writes what it dooms, *then* reads all drafts and manifests, spares what they name,
//! removes the rest, and only then takes its word back. A bucket shows every write to whoever reads after it, so of a
//! publisher and a sweep that meet, one reads what the other wrote:
//!
//! - The sweep read after the draft was written: it spares the blobs.
//! - It read before. Then the publisher reads what is doomed after it was written. It finds it, and brings content of
//!   its own under a name that nobody else uses (the digest and a nonce); or it does not, because the sweep has taken its
//!   word back, and then what the sweep removed is gone when the publisher looks for it.
//!
//! Drafts are read before manifests, and a draft is removed after its manifest was written, so that no artifact is missed
//! on its way from one to the other. No clock of ours is in this. What a dead publisher left is told by its age on the
//! server's own clock ([`DRAFT_AGE`]), which is twice what a living one may take ([`PUBLISHING`]); a dead sweep's word is
//! brought to its end by a later one after [`DOOM_AGE`], six times what a living one may take ([`SWEEPING`]).

mod client;
mod objects;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use grapnel_domain::id::DeploymentId;
use grapnel_runtime::{CancellationToken, crash_point};
use object_store::{ObjectStore as _, PutMode, PutOptions, path::Path as Key};
pub use objects::{Bucket, SendError};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    ArtifactError, ArtifactStore, Content, FileEntry, Limits, Manifest, Published, blocking,
    config::{BucketConfig, OpenError},
    staging::{self, Staging},
};
use objects::PIECE;

/// How long a publisher may take from its draft to its manifest.
const PUBLISHING: Duration = Duration::from_secs(12 * 60 * 60);

/// How old a draft is that nobody is behind any more.
const DRAFT_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a sweep may take from its word to its last removal.
const SWEEPING: Duration = Duration::from_secs(10 * 60);

/// How old a word is that no sweep is behind any more.
const DOOM_AGE: Duration = Duration::from_secs(60 * 60);

/// How many requests one publisher, or one sweep, has under way.
const AT_ONCE: usize = 8;

/// What a bucket did not do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct BucketFault {
    what: &'static str,
    #[source]
    source: object_store::Error,
}

impl BucketFault {
    /// It answers, but no end of it comes.
    pub(crate) fn too_slow() -> Self {
        let source = "it took longer than it may take".into();
        object_store::Error::Generic { store: "S3", source }.into()
    }
}

impl From<object_store::Error> for BucketFault {
    fn from(source: object_store::Error) -> Self {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let what = match source {
            // Requests are signed with the time, and stores take none that is a quarter of an hour off.
            PermissionDenied { .. } if format!("{source:?}").contains("RequestTimeTooSkewed") => {
                "says that this machine's clock is wrong"
            }
            Unauthenticated { .. } | PermissionDenied { .. } => "does not allow what we asked it for",
            NotFound { .. } => "does not have what we asked it for",
            _ => "does not answer as it should",
        };
        Self { what, source }
    }
}

impl From<object_store::Error> for ArtifactError {
    fn from(source: object_store::Error) -> Self {
        Self::Bucket(source.into())
    }
}

/// How long what is left behind is believed to have somebody behind it.
#[derive(Clone, Copy, Debug)]
struct Ages {
    draft: Duration,
    doom: Duration,
}

/// The artifacts in a bucket.
#[derive(Clone, Debug)]
pub struct BucketStore {
    bucket: Bucket,
    /// Where outputs are taken to before they are sent.
    uploads: PathBuf,
    ages: Ages,
}

impl BucketStore {
    /// Takes a bucket. Outputs are taken to the directory `uploads` before they are sent.
    ///
    /// # Errors
    /// TLS cannot be set up. Nobody is asked yet.
    pub fn new(config: &BucketConfig, uploads: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Ok(Self {
            bucket: Bucket::open(config)?,
            uploads: uploads.into(),
            ages: Ages { draft: DRAFT_AGE, doom: DOOM_AGE },
        })
    }

    /// Believes nobody to be behind what stands in the bucket: for tests, which do not wait a day.
    #[must_use]
    pub fn with_everybody_dead(mut self) -> Self {
        self.ages = Ages { draft: Duration::ZERO, doom: Duration::ZERO };
        self
    }

    fn blob(&self, name: &str) -> Key {
        self.bucket.key("blobs", name)
    }

    fn manifest(&self, deployment: DeploymentId) -> Key {
        self.bucket.key("artifacts", &format!("{deployment}.json"))
    }

    /// Reads and understands an object. `None` is one that is not there.
    async fn read_json<T: serde::de::DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, ArtifactError> {
        let Some(bytes) = self.bucket.read(key).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(ArtifactError::Manifest)
    }

    async fn write_json<T: serde::Serialize>(&self, key: &Key, it: &T) -> Result<(), ArtifactError> {
        let bytes = serde_json::to_vec(it).map_err(ArtifactError::Manifest)?;
        Ok(self.bucket.write(key, bytes).await?)
    }

    /// Brings what was taken of an output, all but its manifest.
    async fn bring(
        &self,
        staging: &Staging,
        manifest: &mut Manifest,
        draft: &Key,
    ) -> Result<(), ArtifactError> {
        self.write_json(draft, manifest).await?;
        let doomed = self.doomed().await?;
        if manifest.files.iter().any(|file| doomed.contains(file.blob())) {
            let nonce = Uuid::new_v4().simple();
            for file in manifest.files.iter_mut().filter(|file| doomed.contains(&file.digest)) {
                file.blob = Some(format!("{}.{nonce}", file.digest));
            }
            // A sweep has to hear of these names before they are there.
            self.write_json(draft, manifest).await?;
        }
        let blobs: BTreeMap<&str, &FileEntry> =
            manifest.files.iter().map(|file| (file.blob(), file)).collect();
        // Small ones side by side, large ones with their pieces side by side: so much memory is used, and no more.
        let (small, large): (Vec<_>, Vec<_>) =
            blobs.into_values().partition(|file| file.size <= PIECE as u64);
        for (files, at_once) in [(small, AT_ONCE), (large, 1)] {
            stream::iter(files.into_iter().map(Ok))
                .try_for_each_concurrent(at_once, |file| self.bring_blob(file, staging.path_of(file)))
                .await?;
        }
        Ok(())
    }

    /// Sends a blob, unless it is there.
    async fn bring_blob(&self, file: &FileEntry, from: PathBuf) -> Result<(), ArtifactError> {
        let key = self.blob(file.blob());
        if self.bucket.size(&key).await? == Some(file.size) {
            return Ok(());
        }
        match self.bucket.send(&key, &from, file.size, AT_ONCE / 2).await {
            Err(SendError::Io(error)) => Err(error.into()),
            Err(SendError::Bucket(fault)) => Err(fault.into()),
            Ok(()) => Ok(()),
        }
    }

    /// Returns the names of all blobs that sweeps are removing.
    async fn doomed(&self) -> Result<HashSet<String>, ArtifactError> {
        let mut doomed = HashSet::new();
        for word in self.bucket.list("doomed").await? {
            doomed.extend(self.read_json::<BTreeSet<String>>(&word.location).await?.unwrap_or_default());
        }
        Ok(doomed)
    }

    /// Writes the manifest, with which the artifact is there, and returns the one that stands.
    async fn commit(&self, deployment: DeploymentId, manifest: Manifest) -> Result<Manifest, ArtifactError> {
        let key = self.manifest(deployment);
        let bytes = serde_json::to_vec(&manifest).map_err(ArtifactError::Manifest)?;
        let create = PutOptions::from(PutMode::Create);
        match self.bucket.objects.put_opts(&key, bytes.clone().into(), create).await {
            Ok(_) => Ok(manifest),
            // By another publisher, or by a try of ours whose answer was lost.
            Err(object_store::Error::AlreadyExists { .. }) => self.open(deployment).await,
            // A server that cannot refuse: both publishers have brought all that theirs names.
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                self.bucket.write(&key, bytes).await?;
                Ok(manifest)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl ArtifactStore for BucketStore {
    async fn publish(
        &self,
        deployment: DeploymentId,
        output: &Path,
        limits: Limits,
        given_up: &CancellationToken,
    ) -> Result<Manifest, ArtifactError> {
        match self.open(deployment).await {
            Err(ArtifactError::NotFound(_)) => {}
            stands => return stands,
        }
        let (uploads, output, token) = (self.uploads.clone(), output.to_owned(), given_up.clone());
        let taken = blocking(move || {
            let staging = Staging::create(&uploads, deployment)?;
            staging.take(&output, limits, &token).map(|manifest| (staging, manifest))
        });
        let (staging, mut manifest) = taken.await?;
        let draft = self.bucket.key("drafts", &format!("{deployment}.{}.json", Uuid::new_v4().simple()));
        let begun = Instant::now();
        let brought = tokio::select! {
            () = given_up.cancelled() => Err(ArtifactError::GivenUp),
            brought = self.bring(&staging, &mut manifest, &draft) => brought,
            () = tokio::time::sleep_until(begun + PUBLISHING) => Err(BucketFault::too_slow().into()),
        };
        // Not ended halfway: what was asked of a server may happen.
        crash_point("bucket.uploaded");
        let published = match brought {
            Ok(()) if given_up.is_cancelled() => Err(ArtifactError::GivenUp),
            Ok(()) => self.commit(deployment, manifest).await,
            Err(error) => Err(error),
        };
        crash_point("bucket.published");
        if let Err(error) = self.bucket.remove(&draft).await {
            tracing::debug!(%error, "a draft is left to a later sweep");
        }
        let removing = move || {
            drop(staging);
            Ok(())
        };
        blocking(removing).await?;
        published
    }

    async fn open(&self, deployment: DeploymentId) -> Result<Manifest, ArtifactError> {
        let found = self.read_json(&self.manifest(deployment)).await?;
        found.ok_or(ArtifactError::NotFound(deployment))
    }

    fn is_here(&self) -> bool {
        false
    }

    fn path_of(&self, _: DeploymentId, _: &FileEntry) -> Option<PathBuf> {
        None
    }

    async fn read(&self, _: DeploymentId, file: &FileEntry) -> Result<Content, ArtifactError> {
        let content = self.bucket.stream(&self.blob(file.blob())).await?;
        Ok(content.map_err(ArtifactError::from).boxed())
    }

    /// Only the manifest: what it alone named goes with the next sweep.
    async fn remove(&self, deployment: DeploymentId) -> Result<(), ArtifactError> {
        Ok(self.bucket.remove(&self.manifest(deployment)).await?)
    }

    async fn list(&self, after: Option<DeploymentId>, limit: usize) -> Result<Vec<Published>, ArtifactError> {
        let room = self.bucket.room("artifacts");
        let listed = match after {
            Some(after) => self.bucket.objects.list_with_offset(Some(&room), &self.manifest(after)),
            None => self.bucket.objects.list(Some(&room)),
        };
        let published = listed.try_filter_map(|meta| async move {
            let name = meta.location.filename().and_then(|name| name.strip_suffix(".json"));
            let deployment = name.and_then(|name| name.parse().ok());
            Ok(deployment.map(|deployment| Published { deployment, at: meta.last_modified }))
        });
        Ok(published.take(limit).try_collect().await?)
    }

    async fn sweep(&self) -> Result<(), ArtifactError> {
        let uploads = self.uploads.clone();
        blocking(move || Ok(staging::sweep(&uploads)?)).await?;
        self.sweep_blobs().await
    }

    async fn probe(&self) -> Result<(), ArtifactError> {
        let key = self.bucket.key("probes", &Uuid::new_v4().simple().to_string());
        self.bucket.write(&key, b"probe".to_vec()).await?;
        let read = self.bucket.read(&key).await?;
        self.bucket.objects.list(Some(&self.bucket.room("probes"))).try_next().await?;
        self.bucket.remove(&key).await?;
        if read.is_some_and(|read| *read == *b"probe") {
            Ok(())
        } else {
            Err(ArtifactError::Corrupt("a probe".to_owned()))
        }
    }
}
