//! Small files, in memory.
//!
//! Most of what is read of sites is small and read often, and opening a file costs more than sending it. What is kept is
//! kept by its digest, and looked at when it comes: whoever has the same content gets the same bytes, and nothing else.

use std::{fmt, io, os::unix::fs::OpenOptionsExt as _};

use bytes::Bytes;
use grapnel_domain::id::DeploymentId;
use moka::future::Cache;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;

use crate::{ArtifactError, FileEntry, FileError, LocalFile, SiteFiles, blocking};

/// How many bytes are kept.
const KEPT: u64 = 64 << 20;

/// What one entry takes beside its content.
const ENTRY: usize = 256;

/// Contents by digest. Clones share everything.
#[derive(Clone)]
pub(crate) struct SmallFiles(Cache<String, Bytes>);

impl SmallFiles {
    pub(crate) fn new() -> Self {
        let weight = |digest: &String, content: &Bytes| {
            u32::try_from(ENTRY + digest.len() + content.len()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(KEPT).weigher(weight).build())
    }
}

impl fmt::Debug for SmallFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmallFiles({} bytes)", self.0.weighted_size())
    }
}

impl SiteFiles {
    /// How large a file may be to be kept in memory, in bytes.
    pub const SMALL: u64 = 256 << 10;

    /// Returns a file whole, from memory where it was read lately. It has the size of its entry. For files up to
    /// [`SiteFiles::SMALL`].
    ///
    /// # Errors
    /// As [`SiteFiles::file`]; or it is not what was published.
    pub async fn content(&self, deployment: DeploymentId, file: &FileEntry) -> Result<Bytes, FileError> {
        if let Some(content) = self.small.0.get(&file.digest).await {
            return Ok(content);
        }
        let read = async {
            let local = self.file(deployment, file).await?;
            let content = local.read(deployment, file.clone()).await;
            content.map_err(|error| FileError::Store(error.into()))
        };
        match self.small.0.try_get_with_by_ref(&file.digest, read).await {
            Ok(content) => Ok(content),
            // It may have been another deployment's copy that could not be read: this one's has a try of its own.
            Err(_) => {
                let local = self.file(deployment, file).await?;
                local.read(deployment, file.clone()).await.map_err(|error| FileError::Store(error.into()))
            }
        }
    }

    /// Opens a file to be read from its beginning.
    ///
    /// # Errors
    /// As [`SiteFiles::file`]; or it has not the size of its entry.
    pub async fn open_file(&self, deployment: DeploymentId, file: &FileEntry) -> Result<File, FileError> {
        let local = self.file(deployment, file).await?;
        let file = file.clone();
        // The file stays for as long as it is open, whatever is put out meanwhile.
        let opened = blocking(move || local.open(deployment, &file)).await;
        opened.map(File::from_std).map_err(|error| FileError::Store(error.into()))
    }
}

impl LocalFile {
    /// Opens it where it is a file, and the one that was published by its size. No link is followed.
    fn open(&self, deployment: DeploymentId, file: &FileEntry) -> Result<std::fs::File, ArtifactError> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened =
            std::fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(self.path());
        let opened = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ArtifactError::NotFound(deployment));
            }
            opened => opened?,
        };
        let meta = opened.metadata()?;
        if meta.is_file() && meta.len() == file.size {
            Ok(opened)
        } else {
            Err(ArtifactError::Corrupt(file.path.clone()))
        }
    }

    async fn read(self, deployment: DeploymentId, file: FileEntry) -> Result<Bytes, ArtifactError> {
        blocking(move || {
            let mut content = Vec::with_capacity(usize::try_from(file.size).unwrap_or_default());
            let opened = self.open(deployment, &file)?;
            // One more than it may have, so that one that has grown is not taken for it.
            io::Read::read_to_end(&mut io::Read::take(opened, file.size + 1), &mut content)?;
            if hex::encode(Sha256::digest(&content)) == file.digest {
                Ok(content.into())
            } else {
                Err(ArtifactError::Corrupt(file.path.clone()))
            }
        })
        .await
    }
}
