//! Sending what READY builds have left: in the background, one snapshot after another.

use std::{io, time::Duration};

use grapnel_artifacts::{BucketFault, SendError};
use grapnel_runtime::{CancellationToken, crash_point};

use super::{PACKING, Packed, Shared, pack::pack};
use crate::cache::{Caches, Layer, Snapshot, index::Index, new_layer_id};

/// How long it is waited after something could not be sent.
const AGAIN: Duration = Duration::from_secs(30);

/// How many pieces of a layer are under way at once.
const AT_ONCE: usize = 2;

/// Why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error("it cannot be packed: {0}")]
    Pack(io::Error),
    #[error("the bucket {0}")]
    Bucket(#[from] BucketFault),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the executor ends")]
    Stopped,
}

impl NotSent {
    /// Tells whether it may be sent later, as it is.
    fn is_for_now(&self) -> bool {
        !matches!(self, Self::Pack(_))
    }

    fn tell(&self, key: &str, outcome: &'static str) {
        if matches!(self, Self::Stopped) {
            return;
        }
        let cause = std::error::Error::source(self);
        tracing::warn!(key, error = %self, ?cause, "a cache is not sent to the bucket");
        metrics::counter!("grapnel_executor_caches_sent_total", "outcome" => outcome).increment(1);
    }
}

impl Caches {
    /// Sends what is to be sent until it is stopped; at first what an earlier process did not come to.
    pub async fn send_shared(self, stop: CancellationToken) {
        let Some(shared) = self.shared.clone() else { return };
        shared.waiting().extend(self.index().unsent());
        while !stop.is_cancelled() {
            let next = shared.waiting().pop_front();
            let Some(key) = next else {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = shared.more.notified() => {}
                }
                continue;
            };
            let Err(error) = self.send(&shared, &key, &stop).await else { continue };
            if error.is_for_now() {
                error.tell(&key, "failed");
                shared.wait(key);
                stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            } else {
                error.tell(&key, "refused");
            }
        }
    }

    /// Lets a snapshot be sent, if caches are shared.
    pub(in crate::cache) fn offer(&self, snapshot: &Snapshot) {
        if let Some(shared) = &self.shared {
            shared.wait(snapshot.key.hash());
            shared.more.notify_one();
        }
    }

    async fn send(&self, shared: &Shared, key: &str, stop: &CancellationToken) -> Result<(), NotSent> {
        let (mut snapshot, in_use) = {
            let index = self.index();
            let Some(snapshot) = index.by_name(key).filter(|snapshot| !snapshot.sent).cloned() else {
                return Ok(());
            };
            let in_use = index.use_layers(snapshot.layers());
            (snapshot, in_use)
        };
        let layers: Vec<String> = snapshot.layers().cloned().collect();
        let sending = self.send_layers(shared, &mut snapshot, stop);
        let sent = stop.run_until_cancelled(sending).await.unwrap_or(Err(NotSent::Stopped));
        let described = match sent {
            Ok(bytes) => self.describe(shared, snapshot).await.map(|()| bytes),
            Err(error) => Err(error),
        };
        drop(in_use);
        let free = self.index().unused(layers.iter());
        self.throw_away(free);
        let bytes = described?;
        metrics::counter!("grapnel_executor_caches_sent_total", "outcome" => "sent").increment(1);
        tracing::debug!(key, bytes, "a cache was sent to the bucket");
        Ok(())
    }

    /// Sends the layers that are not there, and returns how many bytes that were.
    async fn send_layers(
        &self,
        shared: &Shared,
        snapshot: &mut Snapshot,
        stop: &CancellationToken,
    ) -> Result<u64, NotSent> {
        let mut bytes = 0;
        for layer in snapshot.workspace.iter_mut().chain(&mut snapshot.tools) {
            let is_there = match &layer.packed {
                Some(packed) => shared.has(packed).await?,
                None => false,
            };
            if !is_there {
                let packed = self.send_layer(shared, layer, stop).await?;
                bytes += packed.bytes;
                self.index().packed(&layer.id, &packed);
                layer.packed = Some(packed);
            }
        }
        Ok(bytes)
    }

    async fn send_layer(
        &self,
        shared: &Shared,
        layer: &Layer,
        stop: &CancellationToken,
    ) -> Result<Packed, NotSent> {
        let to = self.config.directory.join(format!("{PACKING}{}", new_layer_id()));
        let (from, file, most) = (self.layer_path(&layer.id), to.clone(), self.config.key_bytes);
        let given_up = stop.clone().child_token();
        let _given_up_when_dropped = given_up.clone().drop_guard();
        let packing = tokio::task::spawn_blocking(move || {
            let packed = pack(&from, &file, most, &given_up);
            if packed.is_err() {
                let _ = std::fs::remove_file(&file);
            }
            packed
        });
        let packed = packing.await.map_err(|error| NotSent::Pack(io::Error::other(error)))?;
        let packed = packed
            .map_err(|error| if stop.is_cancelled() { NotSent::Stopped } else { NotSent::Pack(error) })?;
        let _removed_when_dropped = tempfile::TempPath::try_from_path(&to).map_err(NotSent::Pack)?;
        if !shared.has(&packed).await? {
            shared.config.bucket.send(&shared.layer(&packed.digest), &to, packed.bytes, AT_ONCE).await?;
        }
        Ok(packed)
    }

    /// Writes the description of a snapshot whose layers are there, unless it is not the last of its key any more, here or
    /// on another executor.
    async fn describe(&self, shared: &Shared, snapshot: Snapshot) -> Result<(), NotSent> {
        let _nobody_purges = shared.describing.lock().await;
        let is_last =
            |index: &Index| index.get(&snapshot.key).is_some_and(|last| last.is_generation_of(&snapshot));
        if !is_last(&self.index()) {
            return Ok(());
        }
        crash_point("cache.sent");
        let own = shared.own(&snapshot.key);
        let there = shared.read(&own).await?;
        if there.is_none_or(|there| there.made_at < snapshot.made_at) {
            let text =
                Snapshot { boot: None, sent: true, ..snapshot.clone() }.text().map_err(NotSent::Pack)?;
            shared.config.bucket.write(&own, text.clone()).await?;
            if snapshot.production {
                shared.config.bucket.write(&shared.production(&snapshot.key), text).await?;
            }
        }
        crash_point("cache.described");
        let mut index = self.index();
        if is_last(&index)
            && let Some(sent) = index.sent(&snapshot.key)
            && let Err(error) = sent.write(&self.snapshot_path(&snapshot.key.hash()))
        {
            tracing::warn!(%error, "that a cache was sent is forgotten when the executor ends, and it is looked at again");
        }
        Ok(())
    }
}

impl Shared {
    /// Tells whether a layer is in the bucket whole.
    async fn has(&self, packed: &Packed) -> Result<bool, BucketFault> {
        Ok(self.config.bucket.size(&self.layer(&packed.digest)).await? == Some(packed.bytes))
    }
}
