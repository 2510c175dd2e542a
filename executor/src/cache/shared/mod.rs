//! Caches that follow a build to another executor, by a bucket that all of them have.
//!
//! | key | what it is |
//! |---|---|
//! | `caches/layers/<digest>` | a layer, packed ([`pack`]); its name is the SHA-256 of what is in it |
//! | `caches/snapshots/<project>/<branch>.<key>.json` | the last READY build's snapshot of a key, which names layers |
//! | `caches/snapshots/<project>/production.<key>.json` | the same of the production branch, found by what its key has beside the branch |
//!
//! After a READY build its snapshot's layers are sent that are not there yet, in the background and one after another, and its
//! description last. An executor that finds something newer there than it has fetches the layers that it lacks while the
//! source is checked out, and gives that up where it would take too long. What is fetched becomes a snapshot of its own, as if
//! it had been kept here.
//!
//! All this may fail at any time, and then a build begins with an older cache, or without one. Layers that no description
//! names are removed once they are old enough ([`SharedConfig::settles`]) that nobody can be about to name them; whoever names
//! a layer looks whether it is there before. Where the two still meet, a description names what is not there: a fetch of it
//! fails, and the next READY build sends what is missing.

mod fetch;
mod pack;
mod send;
mod sweep;
#[cfg(test)]
mod tests;
mod unpack;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use fetch::Fetching;
use grapnel_artifacts::{Bucket, BucketFault, BucketKey};
pub use pack::Packed;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Notify, time::timeout};

use super::{Key, Snapshot};

/// The bucket that caches are shared by, and what that may cost.
#[derive(Clone, Debug)]
pub struct SharedConfig {
    /// The bucket.
    pub bucket: Bucket,
    /// How long fetching a cache may take.
    pub fetch_within: Duration,
    /// The most bytes of all that is there.
    pub total_bytes: u64,
    /// How old a layer is that nobody is about to name any more.
    pub settles: Duration,
}

impl SharedConfig {
    /// The age of a layer that nobody is about to name: sending what comes after it takes less.
    pub const SETTLES: Duration = Duration::from_secs(24 * 60 * 60);
}

/// Why the bucket still has what was to be dropped.
#[derive(Debug, thiserror::Error)]
pub enum NotPurged {
    /// It fails.
    #[error("the bucket {0}")]
    Bucket(#[from] BucketFault),
    /// It takes too long.
    #[error("the bucket does not answer in time")]
    TooSlow,
}

/// How long dropping something from the bucket may take.
const PURGE: Duration = Duration::from_secs(4);

/// What an executor has to do with the bucket.
#[derive(Debug)]
pub struct Shared {
    config: SharedConfig,
    /// The keys whose snapshots are to be sent, in turn.
    waiting: Mutex<VecDeque<String>>,
    more: Notify,
    /// Held while a description is written, and while some are removed: none is written of what has been purged.
    describing: tokio::sync::Mutex<()>,
    /// One fetch of a key at a time.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// What descriptions name, by what tells their content.
    named: tokio::sync::Mutex<HashMap<(BucketKey, String), sweep::Named>>,
}

impl Shared {
    pub fn new(config: SharedConfig) -> Self {
        Self {
            config,
            waiting: Mutex::default(),
            more: Notify::new(),
            describing: tokio::sync::Mutex::default(),
            fetching: Mutex::default(),
            named: tokio::sync::Mutex::default(),
        }
    }

    fn layer(&self, digest: &str) -> BucketKey {
        self.config.bucket.key(LAYERS, digest)
    }

    /// Returns the key of a snapshot's description.
    fn own(&self, key: &Key) -> BucketKey {
        let name = format!("{}.{}.json", branch_name(&key.branch), key.hash());
        self.config.bucket.key(&room(&key.project), &name)
    }

    /// Returns the key of the description of what a branch's first build begins with.
    fn production(&self, key: &Key) -> BucketKey {
        let beside_the_branch = Key { branch: String::new(), ..key.clone() }.hash();
        self.config.bucket.key(&room(&key.project), &format!("{PRODUCTION}{beside_the_branch}.json"))
    }

    /// Reads a description; none where there is none, or none that this release understands.
    async fn read(&self, key: &BucketKey) -> Result<Option<Snapshot>, BucketFault> {
        let text = self.config.bucket.read(key).await?;
        Ok(text.and_then(|text| Snapshot::parse(&text)))
    }

    /// Removes the descriptions of a project, or of one of its branches.
    async fn forget(&self, project: &str, branch: Option<&str>) -> Result<(), BucketFault> {
        let _nobody_writes = self.describing.lock().await;
        let mut dropped = Vec::new();
        for found in self.config.bucket.list(&room(project)).await? {
            let name = found.location.filename().unwrap_or_default();
            let is_dropped = match branch {
                None => true,
                Some(branch) if name.starts_with(PRODUCTION) => {
                    let described = self.read(&found.location).await?;
                    described.is_none_or(|described| described.key.branch == branch)
                }
                Some(branch) => name.starts_with(&format!("{}.", branch_name(branch))),
            };
            if is_dropped {
                dropped.push(found.location);
            }
        }
        self.config.bucket.remove_all(&dropped).await
    }

    /// Lets a key's snapshot be sent after those that wait.
    fn wait(&self, key: String) {
        let mut waiting = self.waiting();
        if !waiting.contains(&key) {
            waiting.push_back(key);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rooms of the bucket.
const LAYERS: &str = "caches/layers";
const SNAPSHOTS: &str = "caches/snapshots";

/// How the names begin of what branches begin with.
const PRODUCTION: &str = "production.";

/// Beside an executor's own layers: what is being packed, and unpacked.
const PACKING: &str = "packing-";
const FETCHING: &str = "fetching-";

fn room(project: &str) -> String {
    format!("{SNAPSHOTS}/{project}")
}

/// Returns what stands for a branch in names: any branch's is as long, and has no sign that a key may not have.
fn branch_name(branch: &str) -> String {
    hex::encode(&Sha256::digest(branch)[..12])
}

impl super::Caches {
    /// Drops what is here and in the bucket of a project, or of one of its branches, and says how many snapshots were here,
    /// and how many bytes. The packed layers go with a later sweep of the bucket.
    ///
    /// # Errors
    /// The bucket fails: what was here is dropped, and what it has may be found again.
    pub async fn purge_everywhere(
        &self,
        project: &str,
        branch: Option<&str>,
    ) -> Result<(u32, u64), NotPurged> {
        // First, so that nothing of it is sent any more.
        let (mut count, mut bytes) = self.purge(project, branch);
        if let Some(shared) = &self.shared {
            match timeout(PURGE, shared.forget(project, branch)).await {
                Ok(forgotten) => forgotten?,
                Err(_) => return Err(NotPurged::TooSlow),
            }
            // And what a build has fetched meanwhile.
            let fetched = self.purge(project, branch);
            (count, bytes) = (count + fetched.0, bytes + fetched.1);
        }
        Ok((count, bytes))
    }
}
