//! A bucket below a prefix: what is asked of it, whoever keeps something in it.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload, WriteMultipart, path::Path as Key,
};
use tokio::io::AsyncReadExt as _;

use super::{BucketFault, client};
use crate::config::{BucketConfig, OpenError};

/// What is sent in one piece, and how large the pieces are of what is larger. S3 wants at least 5 MiB, of one size.
pub(super) const PIECE: usize = 8 << 20;

/// How much is read of a file at once.
const BUFFER: usize = 256 << 10;

/// A bucket. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub(super) objects: Arc<dyn ObjectStore>,
    prefix: Key,
}

/// Why a file is not in a bucket.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The bucket does not take it.
    #[error("the bucket {0}")]
    Bucket(#[from] BucketFault),
}

impl Bucket {
    /// Takes a bucket.
    ///
    /// # Errors
    /// TLS cannot be set up. Nobody is asked yet.
    pub fn open(config: &BucketConfig) -> Result<Self, OpenError> {
        Ok(Self { objects: Arc::new(client::connect(config)?), prefix: Key::from(config.prefix.as_str()) })
    }

    /// Returns the key of an object. A room may be inside another, `outer/inner`.
    pub fn key(&self, room: &str, name: &str) -> Key {
        self.room(room).join(name)
    }

    pub(super) fn room(&self, room: &str) -> Key {
        room.split('/').fold(self.prefix.clone(), Key::join)
    }

    /// Returns how many bytes an object has; none where there is none.
    ///
    /// # Errors
    /// The bucket fails.
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, BucketFault> {
        match self.objects.head(key).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads an object whole; none where there is none.
    ///
    /// # Errors
    /// The bucket fails.
    pub async fn read(&self, key: &Key) -> Result<Option<Bytes>, BucketFault> {
        match self.objects.get(key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            got => Ok(Some(got?.bytes().await?)),
        }
    }

    /// Reads an object piece by piece.
    ///
    /// # Errors
    /// The bucket fails, now or between two pieces.
    pub async fn stream(
        &self,
        key: &Key,
    ) -> Result<BoxStream<'static, Result<Bytes, BucketFault>>, BucketFault> {
        let got = self.objects.get(key).await?;
        Ok(got.into_stream().map_err(BucketFault::from).boxed())
    }

    /// Writes a small object.
    ///
    /// # Errors
    /// The bucket fails.
    pub async fn write(&self, key: &Key, bytes: Vec<u8>) -> Result<(), BucketFault> {
        self.objects.put(key, PutPayload::from(bytes)).await?;
        Ok(())
    }

    /// Sends a file of so many bytes, with at most `at_once` pieces of 8 MiB under way. What was sent of it is taken back
    /// where it fails; where the future is dropped it stays, unseen, until the server forgets it.
    ///
    /// # Errors
    /// The file or the bucket fails.
    pub async fn send(&self, key: &Key, from: &Path, size: u64, at_once: usize) -> Result<(), SendError> {
        let mut from = tokio::fs::File::open(from).await?;
        if size <= PIECE as u64 {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(PIECE));
            from.read_to_end(&mut bytes).await?;
            return Ok(self.write(key, bytes).await?);
        }
        let upload = self.objects.put_multipart(key).await.map_err(BucketFault::from)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE);
        let mut buffer = vec![0; BUFFER];
        loop {
            if let Err(error) = upload.wait_for_capacity(at_once).await {
                let _ = upload.abort().await;
                return Err(BucketFault::from(error).into());
            }
            match from.read(&mut buffer).await {
                Ok(0) => break,
                Ok(length) => upload.write(&buffer[..length]),
                Err(error) => {
                    let _ = upload.abort().await;
                    return Err(error.into());
                }
            }
        }
        // It takes back what it has sent where it fails.
        upload.finish().await.map_err(BucketFault::from)?;
        Ok(())
    }

    /// Lists a room.
    ///
    /// # Errors
    /// The bucket fails.
    pub async fn list(&self, room: &str) -> Result<Vec<ObjectMeta>, BucketFault> {
        Ok(self.objects.list(Some(&self.room(room))).try_collect().await?)
    }

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// The bucket fails.
    pub async fn remove(&self, key: &Key) -> Result<(), BucketFault> {
        match self.objects.delete(key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => Ok(deleted?),
        }
    }

    /// Removes objects, many with each request.
    ///
    /// # Errors
    /// The bucket fails.
    pub async fn remove_all(&self, keys: &[Key]) -> Result<(), BucketFault> {
        let keys = stream::iter(keys.to_vec()).map(Ok).boxed();
        let mut deleted = self.objects.delete_stream(keys);
        loop {
            match deleted.try_next().await {
                Ok(Some(_)) => {}
                Err(object_store::Error::NotFound { .. }) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
