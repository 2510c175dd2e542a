//! What a gateway serves, on its own disk.
//!
//! A file that the store has on this disk is served from there. One that it has elsewhere is fetched once, whole, looked
//! at (its SHA-256 has to be the manifest's), and only then served: an answer that has begun never breaks off because a
//! store is away, and what is served is what was published. The price is that the first reader of a large file waits for
//! all of it; whoever waits longer than [`CacheConfig::PATIENCE`] is told to come back, and the fetch goes on for then.
//!
//! Content is kept by digest, `<digest>.<nonce>` in one directory, up to a number of bytes; the least recently used goes
//! first. Beyond them is only what is being fetched or served right now. A file comes by rename, so that a crash leaves
//! nothing that looks whole; what an earlier process has left is looked at again before it is served. One process has
//! one directory.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::TryStreamExt as _;
use grapnel_domain::id::DeploymentId;
use grapnel_runtime::crash_point;
use moka::{future::Cache, policy::EvictionPolicy};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{OnceCell, Semaphore},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    ArtifactError, ArtifactStore, BucketFault, FileEntry, Manifest, blocking,
    config::OpenError,
    memory::SmallFiles,
    staging::{entries, hash},
};

/// How long one fetch may take, so that a server that trickles does not hold its turn for ever.
const FETCHING: Duration = Duration::from_secs(15 * 60);

/// How many files are fetched at once.
const FETCHES: usize = 32;

/// How the names of files end that are being fetched.
const PART: &str = ".part";

/// The cache counts in this unit: its weights are small numbers.
const UNIT: u64 = 1024;

/// Where what was fetched is kept.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The directory; it is made where it is missing. Nothing else may be in it.
    pub directory: PathBuf,
    /// How many bytes are kept.
    pub bytes: u64,
    /// How long a reader waits for what is being fetched.
    pub patience: Duration,
}

impl CacheConfig {
    /// How long people wait for a page, and a little more.
    pub const PATIENCE: Duration = Duration::from_secs(20);
}

/// The files of artifacts, on this disk. Clones share everything.
#[derive(Clone, Debug)]
pub struct SiteFiles {
    store: Arc<dyn ArtifactStore>,
    directory: PathBuf,
    kept: Cache<String, Arc<Kept>>,
    fetches: Arc<Semaphore>,
    patience: Duration,
    pub(crate) small: SmallFiles,
}

/// A file on this disk. It stays there for as long as this lives.
#[derive(Clone, Debug)]
pub struct LocalFile {
    path: PathBuf,
    _held: Option<Arc<OnDisk>>,
}

impl LocalFile {
    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Why a file cannot be served now. It is told to all who wait for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be fetched.
    #[error("{0}")]
    Store(Arc<ArtifactError>),
    /// It is being fetched, and that takes long.
    #[error("it is still being fetched")]
    StillFetching,
}

/// One file of the cache, as the cache knows it.
#[derive(Debug)]
struct Kept {
    /// Nothing once it has been put out. The cache itself lets go of what it has put out whenever it likes.
    disk: Mutex<Option<Arc<OnDisk>>>,
    size: u64,
    /// Whether its content has been looked at.
    sound: OnceCell<()>,
}

/// One file of the cache, as its readers have it. Once it has been put out it is removed when the last of them is gone.
#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    put_out: AtomicBool,
}

impl Kept {
    fn new(disk: Arc<OnDisk>, size: u64, is_sound: bool) -> Arc<Self> {
        let sound = if is_sound { OnceCell::new_with(Some(())) } else { OnceCell::new() };
        Arc::new(Self { disk: Mutex::new(Some(disk)), size, sound })
    }

    /// Keeps it on disk for a reader.
    fn hold(&self) -> Option<Arc<OnDisk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put_out(&self) {
        if let Some(disk) = self.disk.lock().unwrap_or_else(PoisonError::into_inner).take() {
            disk.put_out.store(true, Ordering::Release);
        }
    }
}

impl OnDisk {
    fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, put_out: AtomicBool::new(false) })
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        if self.put_out.load(Ordering::Acquire) {
            remove(&self.path);
        }
    }
}

impl SiteFiles {
    /// Reads through a store, and takes up what an earlier process has kept. A store that is here needs no directory.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub async fn open(store: Arc<dyn ArtifactStore>, config: CacheConfig) -> Result<Self, OpenError> {
        let kept = Cache::builder()
            // One of nothing would not even hear of what it does not keep.
            .max_capacity((config.bytes / UNIT).max(1))
            .weigher(|_, kept: &Arc<Kept>| u32::try_from(kept.size / UNIT + 1).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, kept: Arc<Kept>, _| kept.put_out())
            .build();
        let CacheConfig { directory, patience, .. } = config;
        let (is_here, beginning) = (store.is_here(), directory.clone());
        let fetches = Arc::new(Semaphore::new(FETCHES));
        let this = Self { store, directory, kept, fetches, patience, small: SmallFiles::new() };
        if is_here {
            return Ok(this);
        }
        let found = blocking(move || Ok(take_up(&beginning)?)).await;
        let found = found.map_err(|error| OpenError::Cache(io::Error::other(error)))?;
        for (digest, kept) in found {
            this.kept.insert(digest, kept).await;
        }
        this.kept.run_pending_tasks().await;
        Ok(this)
    }

    /// Opens an artifact.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn manifest(&self, deployment: DeploymentId) -> Result<Manifest, ArtifactError> {
        match timeout(self.patience, self.store.open(deployment)).await {
            Ok(opened) => opened,
            Err(_) => Err(BucketFault::too_slow().into()),
        }
    }

    /// Returns a file of an artifact, fetched if need be.
    ///
    /// # Errors
    /// The store fails, or has something else, or takes long.
    pub async fn file(&self, deployment: DeploymentId, file: &FileEntry) -> Result<LocalFile, FileError> {
        if let Some(path) = self.store.path_of(deployment, file) {
            return Ok(LocalFile { path, _held: None });
        }
        if let Some(kept) = self.kept.get(&file.digest).await
            && kept.sound.initialized()
            && let Some(disk) = kept.hold()
        {
            return Ok(LocalFile { path: disk.path.clone(), _held: Some(disk) });
        }
        // A task of its own: it goes on when this reader leaves, for those who come after.
        let (this, file) = (self.clone(), file.clone());
        let fetching = tokio::spawn(async move { this.sound(deployment, &file).await });
        match timeout(self.patience, fetching).await {
            Ok(Ok(disk)) => disk.map(|disk| LocalFile { path: disk.path.clone(), _held: Some(disk) }),
            Ok(Err(error)) => Err(FileError::Store(Arc::new(io::Error::other(error).into()))),
            Err(_) => Err(FileError::StillFetching),
        }
    }

    /// Returns what is kept, if it is what it should be, and else what the store has.
    async fn sound(&self, deployment: DeploymentId, file: &FileEntry) -> Result<Arc<OnDisk>, FileError> {
        if let Some(kept) = self.kept.get(&file.digest).await
            && let Some(disk) = kept.hold()
        {
            match kept.sound.get_or_try_init(|| look_at(&disk.path, &file.digest)).await {
                Ok(()) => return Ok(disk),
                Err(error) => {
                    tracing::warn!(%error, "a file of the sites' cache is not what it was; it is fetched anew");
                    self.kept.invalidate(&file.digest).await;
                }
            }
        }
        loop {
            let mut fetched = None;
            let fetch = async {
                let disk = self.fetch(deployment, file).await?;
                fetched = Some(disk.clone());
                Ok(Kept::new(disk, file.size, true))
            };
            let kept = self.kept.try_get_with(file.digest.clone(), fetch).await;
            // What does not fit any more goes now, and not with some later request.
            self.kept.run_pending_tasks().await;
            let held = kept.map_err(FileError::Store)?.hold();
            // One that another reader has fetched may have been put out already.
            if let Some(disk) = fetched.or(held) {
                return Ok(disk);
            }
        }
    }

    async fn fetch(&self, deployment: DeploymentId, file: &FileEntry) -> Result<Arc<OnDisk>, ArtifactError> {
        let _turn = self.fetches.acquire().await.map_err(io::Error::other)?;
        let nonce = Uuid::new_v4().simple();
        let part = self.directory.join(format!(".{}.{nonce}{PART}", file.digest));
        let path = self.directory.join(format!("{}.{nonce}", file.digest));
        let fetched = match timeout(FETCHING, self.fetch_to(&part, deployment, file)).await {
            Ok(Ok(())) => tokio::fs::rename(&part, &path).await.map_err(ArtifactError::Io),
            Ok(failed) => failed,
            Err(_) => Err(BucketFault::too_slow().into()),
        };
        if let Err(error) = fetched {
            let _ = tokio::fs::remove_file(&part).await;
            return Err(error);
        }
        crash_point("site-file.fetched");
        tracing::debug!(digest = file.digest, bytes = file.size, "a file of a site was fetched");
        Ok(OnDisk::new(path))
    }

    async fn fetch_to(
        &self,
        part: &Path,
        deployment: DeploymentId,
        file: &FileEntry,
    ) -> Result<(), ArtifactError> {
        let mut content = self.store.read(deployment, file).await?;
        let mut to = tokio::fs::File::create_new(part).await?;
        let (mut digest, mut size) = (Sha256::new(), 0_u64);
        while let Some(piece) = content.try_next().await? {
            size += piece.len() as u64;
            // More than was said is not what was published, however much is still to come.
            if size > file.size {
                break;
            }
            digest.update(&piece);
            to.write_all(&piece).await?;
        }
        to.flush().await?;
        if size == file.size && hex::encode(digest.finalize()) == file.digest {
            Ok(())
        } else {
            Err(ArtifactError::Corrupt(file.path.clone()))
        }
    }
}

/// Takes up what an earlier process has kept, in the order in which it came, and removes all else.
fn take_up(directory: &Path) -> io::Result<Vec<(String, Arc<Kept>)>> {
    fs::create_dir_all(directory)?;
    let mut found: BTreeMap<(SystemTime, PathBuf), (String, Arc<Kept>)> = BTreeMap::new();
    for entry in entries(directory)? {
        let entry = entry?;
        let (name, meta) = (entry.file_name(), entry.metadata()?);
        let digest = name.to_str().and_then(digest_of).filter(|_| meta.is_file());
        match digest {
            Some(digest) => {
                let kept = Kept::new(OnDisk::new(entry.path()), meta.len(), false);
                found.insert((meta.modified()?, entry.path()), (digest.to_owned(), kept));
            }
            None if meta.is_file() => remove(&entry.path()),
            None => {}
        }
    }
    Ok(found.into_values().collect())
}

fn digest_of(name: &str) -> Option<&str> {
    let (digest, nonce) = name.split_once('.')?;
    let is_one = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_one && !nonce.contains('.')).then_some(digest)
}

async fn look_at(path: &Path, digest: &str) -> Result<(), ArtifactError> {
    let (path, digest) = (path.to_owned(), digest.to_owned());
    blocking(move || match hash(fs::File::open(path)?)? {
        (_, found) if found == digest => Ok(()),
        _ => Err(ArtifactError::Corrupt(digest)),
    })
    .await
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a file of the sites' cache cannot be removed");
        }
        _ => {}
    }
}
