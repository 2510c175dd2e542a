//! Artifacts below one directory, for executors and gateways that share a disk.
//!
//! An artifact is a directory `<deployment>/` with `manifest.json` and the files below `files/`. It appears by one rename
//! and vanishes by one; before and after it stands under a name with a dot, and readers never see it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _};
use grapnel_domain::id::DeploymentId;
use grapnel_runtime::{CancellationToken, crash_point};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use crate::{
    ArtifactError, ArtifactStore, Content, FileEntry, Limits, Manifest, Published, blocking,
    staging::{self, Staging},
};

/// How the names of directories end that are on their way out.
const REMOVED: &str = ".removed";

/// The artifacts below one directory.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    directory: PathBuf,
}

impl DirectoryStore {
    /// Takes the directory of the artifacts; it is made when something is published.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn directory_of(&self, deployment: DeploymentId) -> PathBuf {
        self.directory.join(deployment.to_string())
    }

    fn publish_now(
        &self,
        deployment: DeploymentId,
        output: &Path,
        limits: Limits,
        given_up: &CancellationToken,
    ) -> Result<Manifest, ArtifactError> {
        match self.open_now(deployment) {
            Err(ArtifactError::NotFound(_)) => {}
            stands => return stands,
        }
        let staging = Staging::create(&self.directory, deployment)?;
        let manifest = staging.take(output, limits, given_up)?;
        staging.seal(&manifest)?;
        if given_up.is_cancelled() {
            return Err(ArtifactError::GivenUp);
        }
        crash_point("artifact.staged");
        match fs::rename(staging.path(), self.directory_of(deployment)) {
            Ok(()) => {}
            // Another publisher was first.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                return self.open_now(deployment);
            }
            Err(error) => return Err(error.into()),
        }
        fs::File::open(&self.directory)?.sync_all()?;
        crash_point("artifact.published");
        Ok(manifest)
    }

    fn open_now(&self, deployment: DeploymentId) -> Result<Manifest, ArtifactError> {
        match fs::read(self.directory_of(deployment).join("manifest.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(ArtifactError::Manifest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ArtifactError::NotFound(deployment)),
            Err(error) => Err(error.into()),
        }
    }

    fn remove_now(&self, deployment: DeploymentId) -> Result<(), ArtifactError> {
        let removed = self.directory.join(format!(".{deployment}.{}{REMOVED}", Uuid::new_v4().simple()));
        match fs::rename(self.directory_of(deployment), &removed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        Ok(staging::remove_if_there(&removed)?)
    }

    fn list_now(&self, after: Option<DeploymentId>, limit: usize) -> Result<Vec<Published>, ArtifactError> {
        let mut found = BTreeSet::new();
        for entry in staging::entries(&self.directory)? {
            let Ok(deployment) = entry?.file_name().to_string_lossy().parse::<DeploymentId>() else {
                continue;
            };
            if after.is_none_or(|after| deployment > after) {
                found.insert(deployment);
                if found.len() > limit {
                    found.pop_last();
                }
            }
        }
        let mut listed = Vec::with_capacity(found.len());
        for deployment in found {
            match fs::metadata(self.directory_of(deployment).join("manifest.json")) {
                Ok(meta) => {
                    let at = DateTime::<Utc>::from(meta.modified()?);
                    listed.push(Published { deployment, at });
                }
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(listed)
    }

    fn sweep_now(&self) -> Result<(), ArtifactError> {
        staging::sweep(&self.directory)?;
        for entry in staging::entries(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(REMOVED) {
                staging::remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    fn probe_now(&self) -> Result<(), ArtifactError> {
        fs::create_dir_all(&self.directory)?;
        let probe = self.directory.join(format!(".probe.{}", Uuid::new_v4().simple()));
        fs::write(&probe, "probe")?;
        let read = fs::read(&probe)?;
        fs::remove_file(&probe)?;
        if read == b"probe" { Ok(()) } else { Err(ArtifactError::Corrupt("a probe".to_owned())) }
    }
}

#[async_trait]
impl ArtifactStore for DirectoryStore {
    async fn publish(
        &self,
        deployment: DeploymentId,
        output: &Path,
        limits: Limits,
        given_up: &CancellationToken,
    ) -> Result<Manifest, ArtifactError> {
        let (this, output, given_up) = (self.clone(), output.to_owned(), given_up.clone());
        blocking(move || this.publish_now(deployment, &output, limits, &given_up)).await
    }

    async fn open(&self, deployment: DeploymentId) -> Result<Manifest, ArtifactError> {
        let this = self.clone();
        blocking(move || this.open_now(deployment)).await
    }

    fn is_here(&self) -> bool {
        true
    }

    fn path_of(&self, deployment: DeploymentId, file: &FileEntry) -> Option<PathBuf> {
        Some(self.directory_of(deployment).join("files").join(&file.path))
    }

    async fn read(&self, deployment: DeploymentId, file: &FileEntry) -> Result<Content, ArtifactError> {
        let path = self.directory_of(deployment).join("files").join(&file.path);
        let file = tokio::fs::File::open(path).await?;
        Ok(ReaderStream::new(file).map_err(ArtifactError::Io).boxed())
    }

    async fn remove(&self, deployment: DeploymentId) -> Result<(), ArtifactError> {
        let this = self.clone();
        blocking(move || this.remove_now(deployment)).await
    }

    async fn list(&self, after: Option<DeploymentId>, limit: usize) -> Result<Vec<Published>, ArtifactError> {
        let this = self.clone();
        blocking(move || this.list_now(after, limit)).await
    }

    async fn sweep(&self) -> Result<(), ArtifactError> {
        let this = self.clone();
        blocking(move || this.sweep_now()).await
    }

    async fn probe(&self) -> Result<(), ArtifactError> {
        let this = self.clone();
        blocking(move || this.probe_now()).await
    }
}
