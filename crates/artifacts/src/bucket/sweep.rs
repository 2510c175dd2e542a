//! What goes out of a bucket. The order of its steps is what the module above reasons about.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{ObjectMeta, path::Path as Key};
use tokio::time::Instant;
use uuid::Uuid;

use super::{AT_ONCE, BucketStore, SWEEPING};
use crate::{ArtifactError, Manifest};

/// How many blobs one sweep removes. The rest is the next one's.
const AT_MOST: usize = 100_000;

/// How many blobs are removed between two looks at the time: what S3 takes in one request.
const BATCH: usize = 1_000;

/// What drafts and manifests name.
#[derive(Debug, Default)]
struct Named {
    blobs: HashSet<String>,
    /// The manifests that have been read, by what tells their content: one that was removed may be there anew. A draft
    /// may gain names.
    manifests: HashSet<(Key, String)>,
}

impl BucketStore {
    /// Removes the blobs that nothing names, the drafts of the dead, and what dead sweeps have left to do.
    pub(super) async fn sweep_blobs(&self) -> Result<(), ArtifactError> {
        let now = self.server_time().await?;
        let left = self.left_by_dead_sweeps(now).await?;
        let mut doomed = self.blobs().await?;
        let mut named = Named::default();
        self.read_named(&mut named, now).await?;
        doomed.retain(|name| !named.blobs.contains(name));
        for (key, names) in &left {
            tracing::info!(%key, "what a sweep that died has begun is brought to its end");
            doomed.extend(names.iter().cloned());
        }
        if doomed.is_empty() && left.is_empty() {
            return Ok(());
        }
        let doomed: BTreeSet<String> = doomed.into_iter().take(AT_MOST).collect();
        let begun = Instant::now();
        let word = self.bucket.key("doomed", &format!("{}.json", Uuid::new_v4().simple()));
        self.write_json(&word, &doomed).await?;
        // Who began after the first look has written a draft by now, or reads our word.
        self.read_named(&mut named, now).await?;
        let spared = |name: &&String| !named.blobs.contains(*name);
        let removed: Vec<Key> = doomed.iter().filter(spared).map(|name| self.blob(name)).collect();
        for batch in removed.chunks(BATCH) {
            if begun.elapsed() > SWEEPING {
                tracing::warn!("a sweep of the artifact store takes too long; a later one goes on");
                return Ok(());
            }
            self.bucket.remove_all(batch).await?;
        }
        self.bucket.remove(&word).await?;
        for (key, names) in &left {
            // Only with all that it said.
            if names.is_subset(&doomed) {
                self.bucket.remove(key).await?;
            }
        }
        tracing::info!(blobs = removed.len(), "what no artifact has any more was removed from the store");
        Ok(())
    }

    /// Returns the time of the server, as its lists tell it: ages are told by one clock.
    async fn server_time(&self) -> Result<DateTime<Utc>, ArtifactError> {
        let key = self.bucket.key("probes", &Uuid::new_v4().simple().to_string());
        self.bucket.write(&key, b"what time is it?".to_vec()).await?;
        let probes = self.bucket.list("probes").await?;
        let own = probes.iter().find(|probe| probe.location == key).map(|probe| probe.last_modified);
        let Some(now) = own else {
            let source = "what was written is not in the list that was asked for next".into();
            return Err(object_store::Error::Generic { store: "S3", source }.into());
        };
        for probe in probes {
            if probe.location == key || is_older(&probe, now, self.ages.draft) {
                self.bucket.remove(&probe.location).await?;
            }
        }
        Ok(now)
    }

    async fn left_by_dead_sweeps(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Vec<(Key, BTreeSet<String>)>, ArtifactError> {
        let mut left = Vec::new();
        for word in self.bucket.list("doomed").await? {
            if is_older(&word, now, self.ages.doom)
                && let Some(names) = self.read_json(&word.location).await?
            {
                left.push((word.location, names));
            }
        }
        Ok(left)
    }

    async fn blobs(&self) -> Result<HashSet<String>, ArtifactError> {
        let names = self
            .bucket
            .objects
            .list(Some(&self.bucket.room("blobs")))
            .map_ok(|meta| meta.location.filename().map(str::to_owned));
        Ok(names.try_filter_map(|name| async { Ok(name) }).try_collect().await?)
    }

    /// Reads what drafts and manifests name. The drafts first: on its way from one to the other nothing is missed then.
    async fn read_named(&self, named: &mut Named, now: DateTime<Utc>) -> Result<(), ArtifactError> {
        let drafts = self.bucket.list("drafts").await?.into_iter();
        let (dead, living): (Vec<_>, Vec<_>) =
            drafts.partition(|draft| is_older(draft, now, self.ages.draft));
        for draft in dead {
            self.bucket.remove(&draft.location).await?;
        }
        self.read_names(named, living.into_iter().map(|draft| draft.location).collect()).await?;
        let mut unread = Vec::new();
        for manifest in self.bucket.list("artifacts").await? {
            let content = manifest.e_tag.map(|tag| (manifest.location.clone(), tag));
            // One of which nothing tells the content is read each time.
            if content.is_none_or(|content| named.manifests.insert(content)) {
                unread.push(manifest.location);
            }
        }
        self.read_names(named, unread).await
    }

    /// Reads the names in drafts or manifests. One that is gone meanwhile names nothing; one that cannot be read ends the
    /// sweep, because nobody knows what it names.
    async fn read_names(&self, named: &mut Named, keys: Vec<Key>) -> Result<(), ArtifactError> {
        let mut read = stream::iter(keys)
            .map(|key| async move { self.read_json::<Manifest>(&key).await })
            .buffer_unordered(AT_ONCE);
        while let Some(manifest) = read.try_next().await? {
            let files = manifest.into_iter().flat_map(|manifest| manifest.files);
            named.blobs.extend(files.map(|file| file.blob().to_owned()));
        }
        Ok(())
    }
}

fn is_older(object: &ObjectMeta, now: DateTime<Utc>, age: Duration) -> bool {
    (now - object.last_modified).to_std().is_ok_and(|passed| passed >= age)
}
