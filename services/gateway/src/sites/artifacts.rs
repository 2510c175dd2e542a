//! The manifests of what is served, in memory.

use std::{sync::Arc, time::Duration};

use grapnel_artifacts::{ArtifactError, FileEntry, FileError, Manifest, SiteFiles};
use grapnel_domain::{Error, Reason, id::DeploymentId};
use moka::future::Cache;

use super::encodings;

/// How many bytes of manifests are kept, as they are in memory. One of 100,000 files has some 30 MB, and up to 60 where
/// their paths are as long as they may be.
const KEPT: u64 = 128 << 20;

/// How long one is kept that nobody asks for. It never changes.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// What is opened of artifacts. Clones share everything.
#[derive(Clone)]
pub struct Artifacts {
    files: SiteFiles,
    opened: Cache<DeploymentId, Arc<Artifact>>,
}

/// One artifact.
pub struct Artifact {
    /// Whose it is.
    pub deployment: DeploymentId,
    /// What it holds.
    pub manifest: Manifest,
    /// Whether any of its files may be another one, compressed.
    pub has_compressed: bool,
}

impl Artifacts {
    /// Opens artifacts whose files these are.
    pub fn new(files: SiteFiles) -> Self {
        let opened = Cache::builder()
            .max_capacity(KEPT)
            .weigher(|_, artifact: &Arc<Artifact>| {
                u32::try_from(weight(&artifact.manifest)).unwrap_or(u32::MAX)
            })
            .time_to_idle(IDLE)
            .build();
        Self { files, opened }
    }

    /// Returns where the files are.
    pub fn files(&self) -> &SiteFiles {
        &self.files
    }

    /// Opens a deployment's artifact. Who asks for the same one at the same time waits for one reading.
    ///
    /// # Errors
    /// `ARTIFACT_MISSING`, `STORE_UNAVAILABLE`.
    pub async fn open(&self, deployment: DeploymentId) -> Result<Arc<Artifact>, Error> {
        let open = async {
            let manifest = self.files.manifest(deployment).await?;
            let has_compressed = manifest.files.iter().any(|file| encodings::is_compressed(&file.path));
            Ok(Arc::new(Artifact { deployment, manifest, has_compressed }))
        };
        let opened = self.opened.try_get_with(deployment, open).await;
        opened.map_err(|error| not_opened(deployment, error))
    }
}

/// Returns the bytes that a manifest takes.
fn weight(manifest: &Manifest) -> usize {
    let of = |file: &FileEntry| {
        let texts = file.path.len() + file.digest.len() + file.content_type.len();
        size_of::<FileEntry>() + texts + file.blob.as_ref().map_or(0, String::len)
    };
    manifest.files.iter().map(of).sum()
}

/// A store that is away comes back; whatever else is wrong with an artifact stays wrong.
fn not_opened(deployment: DeploymentId, error: Arc<ArtifactError>) -> Error {
    match &*error {
        ArtifactError::NotFound(_) => Error::new(
            Reason::ArtifactMissing,
            format!("the artifact of {deployment} is not where this gateway looks for it"),
        ),
        ArtifactError::Bucket(_) | ArtifactError::Corrupt(_) => {
            Error::new(Reason::StoreUnavailable, error.to_string()).because(error)
        }
        other => Error::internal(other.to_string()),
    }
}

/// Says why a file cannot be served. The manifest has it: where the store has it no more, all of the artifact was removed since
/// that was read.
pub fn not_read(deployment: DeploymentId, error: FileError) -> Error {
    match error {
        FileError::Store(error) if matches!(&*error, ArtifactError::NotFound(_)) => {
            Error::new(Reason::ArtifactRemoved, "the artifact was removed while it was served")
        }
        FileError::Store(error) => not_opened(deployment, error),
        FileError::StillFetching => Error::new(Reason::StoreUnavailable, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_weighs_what_it_takes() {
        let file = |path: &str| FileEntry {
            path: path.into(),
            size: 1,
            digest: "0".repeat(64),
            content_type: "text/css".into(),
            blob: None,
        };
        let one = weight(&Manifest { version: 1, files: vec![file("a")] });
        let long = weight(&Manifest { version: 1, files: vec![file("a"), file(&"b".repeat(1000))] });
        assert!((150..400).contains(&one), "{one}");
        assert_eq!(long, 2 * one + 999);
    }
}
