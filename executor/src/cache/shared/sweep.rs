//! What goes out of the bucket: descriptions that no READY build has written again for long, then the oldest until the rest
//! fits, then the layers that nothing names. All executors do this, each by itself.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use grapnel_artifacts::{BucketFault, BucketKey, ObjectMeta};
use grapnel_runtime::CancellationToken;

use super::{LAYERS, SNAPSHOTS, Shared};
use crate::cache::{Caches, Snapshot};

/// How often the bucket is looked through, and how much later at most: executors that start together do not do it together.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
const SPREAD: Duration = Duration::from_secs(60 * 60);

/// How many descriptions are read at once.
const AT_ONCE: usize = 8;

/// The digests of the layers that a description names; none where nobody understands it.
pub type Named = Option<Vec<String>>;

impl Caches {
    /// Looks the bucket through now and then, until it is stopped.
    pub async fn watch_over_shared(self, stop: CancellationToken) {
        if self.shared.is_none() {
            return;
        }
        loop {
            let spread = SPREAD.mul_f64(rand::random::<f64>());
            if stop.run_until_cancelled(tokio::time::sleep(spread)).await.is_none() {
                return;
            }
            match stop.run_until_cancelled(self.sweep_shared()).await {
                None => return,
                Some(Err(error)) => {
                    let cause = std::error::Error::source(&error);
                    tracing::warn!(%error, ?cause, "the bucket of shared caches cannot be looked through now");
                }
                Some(Ok(())) => {}
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Removes from the bucket what has not been written again for long, what does not fit, and what nothing names.
    ///
    /// # Errors
    /// The bucket fails. A later one goes on.
    pub async fn sweep_shared(&self) -> Result<(), BucketFault> {
        match &self.shared {
            Some(shared) => shared.sweep(self.clock.now(), self.config.max_age).await,
            None => Ok(()),
        }
    }
}

impl Shared {
    async fn sweep(&self, now: DateTime<Utc>, max_age: Duration) -> Result<(), BucketFault> {
        let bucket = &self.config.bucket;
        // The layers first: what is sent while the descriptions are read is not among them.
        let layers = bucket.list(LAYERS).await?;
        let (old, mut kept): (Vec<_>, Vec<_>) =
            bucket.list(SNAPSHOTS).await?.into_iter().partition(|it| is_older(it, now, max_age));
        let mut dropped: Vec<BucketKey> = old.into_iter().map(|it| it.location).collect();
        let named = self.named(&kept).await?;
        if named.values().any(Option::is_none) {
            // Of a later release, which is about to be everywhere: what it names has to stay.
            tracing::warn!(
                "a shared cache is described in a form that is not known here; no layers are removed now"
            );
            return bucket.remove_all(&dropped).await;
        }
        let sizes: HashMap<&str, u64> =
            layers.iter().filter_map(|it| Some((it.location.filename()?, it.size))).collect();
        // From the newest on, as long as all that they name fits.
        kept.sort_by_key(|it| Reverse(it.last_modified));
        let (mut seen, mut bytes, mut is_full) = (HashSet::new(), 0, false);
        for it in kept {
            let names = &named[&it.location];
            let new = names.iter().flatten().filter(|name| !seen.contains(name.as_str()));
            let more: u64 = new.filter_map(|name| sizes.get(name.as_str())).sum();
            is_full |= bytes + more > self.config.total_bytes;
            if is_full {
                dropped.push(it.location);
            } else {
                bytes += more;
                seen.extend(names.iter().flatten().map(String::as_str));
            }
        }
        bucket.remove_all(&dropped).await?;
        let unnamed = layers.iter().filter(|it| {
            !seen.contains(it.location.filename().unwrap_or_default())
                && is_older(it, now, self.config.settles)
        });
        let unnamed: Vec<BucketKey> = unnamed.map(|it| it.location.clone()).collect();
        bucket.remove_all(&unnamed).await?;
        if !dropped.is_empty() || !unnamed.is_empty() {
            tracing::info!(
                caches = dropped.len(),
                layers = unnamed.len(),
                "what is too old or too much was removed from the bucket of shared caches"
            );
        }
        Ok(())
    }

    /// Reads what descriptions name, those alone that have changed since the last time.
    async fn named(&self, described: &[ObjectMeta]) -> Result<HashMap<BucketKey, Named>, BucketFault> {
        let mut known = self.named.lock().await;
        let content = |it: &ObjectMeta| Some((it.location.clone(), it.e_tag.clone()?));
        let there: HashSet<_> = described.iter().filter_map(content).collect();
        known.retain(|content, _| there.contains(content));
        let mut named = HashMap::new();
        let mut unread = Vec::new();
        for it in described {
            match content(it).and_then(|content| known.get(&content)) {
                Some(names) => drop(named.insert(it.location.clone(), names.clone())),
                None => unread.push(it.clone()),
            }
        }
        let mut read = stream::iter(unread)
            .map(|it| async move { Ok::<_, BucketFault>((self.config.bucket.read(&it.location).await?, it)) })
            .buffer_unordered(AT_ONCE);
        while let Some((text, it)) = read.try_next().await? {
            // One that is gone meanwhile names nothing.
            let names = text.map_or(Some(Vec::new()), |text| Snapshot::parse(&text).as_ref().map(digests));
            if let Some(content) = content(&it) {
                known.insert(content, names.clone());
            }
            named.insert(it.location, names);
        }
        Ok(named)
    }
}

fn digests(snapshot: &Snapshot) -> Vec<String> {
    let packed = snapshot.workspace.iter().chain(&snapshot.tools).filter_map(|layer| layer.packed.as_ref());
    packed.map(|packed| packed.digest.clone()).collect()
}

fn is_older(object: &ObjectMeta, now: DateTime<Utc>, age: Duration) -> bool {
    (now - object.last_modified).to_std().is_ok_and(|passed| passed >= age)
}
