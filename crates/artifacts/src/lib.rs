//! Artifacts of READY deployments: published by executors, read by gateways.
//!
//! An artifact is a directory `<deployment>/` with `manifest.json` and the files below `files/`. It appears by one
//! rename, whole, and never changes; until then it stands under another name, and readers never see it. Readers find
//! files by the manifest alone, so no request can reach anything that was not published.
//!
//! All functions block on the disk: call them where blocking is allowed.

mod manifest;
mod publish;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use grapnel_domain::id::DeploymentId;
pub use manifest::{FileEntry, Manifest};
pub use publish::{Limits, Refusal};

/// The artifacts below one directory.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    directory: PathBuf,
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
    /// There is no such artifact.
    #[error("there is no artifact of {0}")]
    NotFound(DeploymentId),
    /// The manifest is broken, or of a later release.
    #[error("the artifact's manifest cannot be read: {0}")]
    Manifest(serde_json::Error),
}

impl ArtifactStore {
    /// Takes the directory of the artifacts; it is made when something is published.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Publishes the tree below `output` as the artifact of a deployment. Publishing again changes nothing and
    /// returns what stands. `given_up` is asked between files, and a last time before the artifact appears.
    ///
    /// # Errors
    /// The output holds what cannot be published, the disk fails, or it was given up. Nothing is left behind then.
    pub fn publish(
        &self,
        deployment: DeploymentId,
        output: &Path,
        limits: Limits,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Manifest, ArtifactError> {
        match self.open(deployment) {
            Ok(artifact) => return Ok(artifact.manifest),
            Err(ArtifactError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        fs::create_dir_all(&self.directory)?;
        let staging = self.directory.join(format!(".{deployment}.staging"));
        remove_if_there(&staging)?;
        let manifest = publish::stage(output, &staging, limits, given_up).and_then(|manifest| {
            if given_up() {
                return Err(ArtifactError::GivenUp);
            }
            fs::rename(&staging, self.directory_of(deployment))?;
            fs::File::open(&self.directory)?.sync_all()?;
            Ok(manifest)
        });
        if manifest.is_err() {
            remove_if_there(&staging)?;
        }
        manifest
    }

    /// Opens an artifact.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(&self, deployment: DeploymentId) -> Result<Artifact, ArtifactError> {
        let directory = self.directory_of(deployment);
        let bytes = match fs::read(directory.join("manifest.json")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ArtifactError::NotFound(deployment));
            }
            Err(error) => return Err(error.into()),
        };
        let manifest = serde_json::from_slice(&bytes).map_err(ArtifactError::Manifest)?;
        Ok(Artifact { files: directory.join("files"), manifest })
    }

    /// Removes an artifact. One that is not there is removed already.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove(&self, deployment: DeploymentId) -> Result<(), ArtifactError> {
        Ok(remove_if_there(&self.directory_of(deployment))?)
    }

    /// Lists the artifacts that there are, sorted by deployment, and when each was published.
    ///
    /// # Errors
    /// The disk fails.
    pub fn list(&self) -> Result<Vec<(DeploymentId, SystemTime)>, ArtifactError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match entry.metadata() {
                Ok(meta) => found.push((id, meta.modified()?)),
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes what a publisher that died has left.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sweep(&self) -> Result<(), ArtifactError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".staging") {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    fn directory_of(&self, deployment: DeploymentId) -> PathBuf {
        self.directory.join(deployment.to_string())
    }
}

/// One artifact.
#[derive(Clone, Debug)]
pub struct Artifact {
    files: PathBuf,
    manifest: Manifest,
}

impl Artifact {
    /// Finds a file by its path in the artifact, such as `assets/site.css`.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.manifest.file(path)
    }

    /// Returns where a file of the manifest is on disk.
    pub fn path_of(&self, file: &FileEntry) -> PathBuf {
        self.files.join(&file.path)
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
