//! Fetching what another executor's build has left, while the source is checked out.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use grapnel_runtime::{CancellationToken, crash_point};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{
    io::{StreamReader, SyncIoBridge},
    sync::DropGuard,
};

use super::{FETCHING, Packed, Shared, unpack::unpack};
use crate::cache::{Build, Caches, Key, Layer, Snapshot, index::InUse, new_layer_id, prepare};

/// How long the bucket may take to say what it has: whatever it is, the build can do without.
const ANSWER: Duration = Duration::from_secs(2);

/// How many layers are fetched at once.
const AT_ONCE: usize = 4;

/// How often, and after how long, it is reckoned whether a fetch would take too long.
const RECKON: Duration = Duration::from_millis(200);
const RECKON_AFTER: Duration = Duration::from_secs(2);

/// A fetch that goes on beside a build's source. It ends soon after this is dropped.
#[derive(Debug)]
pub struct Fetching {
    task: JoinHandle<Option<String>>,
    _given_up: DropGuard,
}

impl Fetching {
    /// Waits for its end, and returns what there is to tell of it.
    pub async fn ended(&mut self) -> Option<String> {
        (&mut self.task).await.ok().flatten()
    }
}

/// A snapshot of the bucket that is to be had here.
struct Incoming {
    snapshot: Snapshot,
    /// Its layers that are here already stay meanwhile.
    _in_use: InUse,
    /// Those that are not, and where each is unpacked to.
    missing: Vec<(Packed, PathBuf)>,
}

/// Why nothing was fetched.
enum NotFetched {
    /// The build does not want it any more.
    GivenUp,
    /// It would take too long.
    TooSlow(Duration),
    /// Somebody asked for it to be dropped.
    Purged,
    Failed(String),
}

impl Caches {
    /// Begins to fetch what a build would find, where the bucket has something newer than there is here.
    pub fn fetch(&self, build: &Build<'_>) -> Option<Fetching> {
        let shared = self.shared.clone().filter(|_| build.spec.use_cache)?;
        let (key, paths) = prepare::wanted(build);
        let given_up = CancellationToken::new();
        let (caches, token) = (self.clone(), given_up.clone());
        let task = self.upkeep.spawn(async move {
            let turn = shared.turn(&key);
            let told = match token.run_until_cancelled(turn.lock()).await {
                Some(_turn) => caches.fetch_newer(&shared, &key, &paths, &token).await,
                None => None,
            };
            drop(turn);
            shared.forget_turn(&key);
            told
        });
        Some(Fetching { task, _given_up: given_up.drop_guard() })
    }

    async fn fetch_newer(
        &self,
        shared: &Shared,
        key: &Key,
        paths: &[String],
        given_up: &CancellationToken,
    ) -> Option<String> {
        let began = Instant::now();
        let purges = self.index().now();
        let found = match timeout(ANSWER, self.find_newer(shared, key)).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error);
                tracing::warn!(%error, ?cause, "the bucket does not say what cache it has");
                return counted("failed", format!("the bucket of shared caches {error}"));
            }
            Err(_) => return counted("failed", "the bucket of shared caches does not answer".to_owned()),
        };
        if found.paths != paths || found.bytes() > self.config.key_bytes {
            return None;
        }
        let incoming = self.incoming(found)?;
        let bytes: u64 = incoming.missing.iter().map(|(packed, _)| packed.bytes).sum();
        let fetched = self.fetch_layers(shared, &incoming, bytes, given_up).await;
        let taken = fetched.and_then(|()| self.take_in(incoming, purges));
        let (took, size) = (began.elapsed(), mebibytes(bytes));
        match taken {
            Ok(()) => {
                metrics::counter!("grapnel_executor_caches_fetched_bytes_total").increment(bytes);
                counted("fetched", format!("{size} of it came from the bucket in {} ms", took.as_millis()))
            }
            Err(NotFetched::TooSlow(within)) => counted(
                "given_up",
                format!(
                    "the bucket has a newer one, and fetching its {size} would have taken longer than {within:?} (cache.fetch_within)"
                ),
            ),
            Err(NotFetched::Failed(error)) => {
                tracing::warn!(key = key.hash(), error, "a cache cannot be fetched");
                counted("failed", format!("the bucket has a newer one that cannot be fetched: {error}"))
            }
            Err(NotFetched::GivenUp | NotFetched::Purged) => None,
        }
    }

    /// Looks for what the bucket has of a key, or to begin it with, that is newer than what is here.
    async fn find_newer(
        &self,
        shared: &Shared,
        key: &Key,
    ) -> Result<Option<Snapshot>, grapnel_artifacts::BucketFault> {
        let here = |key: &Key| self.index().get(key).map(|here| here.made_at);
        if let Some(own) = shared.read(&shared.own(key)).await?.filter(|own| own.key == *key) {
            return Ok(Some(own).filter(|own| here(key).is_none_or(|at| at < own.made_at)));
        }
        if here(key).is_some() {
            return Ok(None);
        }
        let production = shared.read(&shared.production(key)).await?;
        let fits = |it: &Snapshot| {
            it.production
                && it.key.differs_only_in_branch(key)
                && here(&it.key).is_none_or(|at| at < it.made_at)
        };
        Ok(production.filter(fits))
    }

    /// Finds out which layers of a snapshot are here, and gives names to the others. None where it does not say what they are.
    fn incoming(&self, mut snapshot: Snapshot) -> Option<Incoming> {
        let index = self.index();
        let mut missing = Vec::new();
        for layer in snapshot.workspace.iter_mut().chain(&mut snapshot.tools) {
            let packed = layer.packed.clone()?;
            layer.id = index.layer_packed_as(&packed.digest).unwrap_or_else(|| {
                let id = new_layer_id();
                missing.push((packed, self.config.directory.join(format!("{FETCHING}{id}"))));
                id
            });
        }
        let in_use = index.use_layers(snapshot.layers());
        Some(Incoming { snapshot, _in_use: in_use, missing })
    }

    async fn fetch_layers(
        &self,
        shared: &Shared,
        incoming: &Incoming,
        bytes: u64,
        given_up: &CancellationToken,
    ) -> Result<(), NotFetched> {
        let within = shared.config.fetch_within;
        let (got, ending) = (Arc::new(AtomicU64::new(0)), given_up.child_token());
        let all = stream::iter(incoming.missing.iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |(packed, into)| {
                self.fetch_layer(shared, packed, into, got.clone(), ending.clone())
            });
        let fetched = tokio::select! {
            biased;
            () = given_up.cancelled() => Err(NotFetched::GivenUp),
            fetched = all => fetched.map_err(NotFetched::Failed),
            () = would_take_longer(within, bytes, &got) => Err(NotFetched::TooSlow(within)),
        };
        // Whatever is still being unpacked ends, and is nobody's.
        ending.cancel();
        if fetched.is_err() {
            let left = incoming.missing.iter().map(|(_, into)| into.clone()).collect();
            self.remove_in_background(left);
        }
        fetched
    }

    async fn fetch_layer(
        &self,
        shared: &Shared,
        packed: &Packed,
        into: &Path,
        got: Arc<AtomicU64>,
        ending: CancellationToken,
    ) -> Result<(), String> {
        let came = shared.config.bucket.stream(&shared.layer(&packed.digest)).await;
        let came = came.map_err(|error| format!("the bucket {error}"))?;
        let counted = came
            .inspect_ok(move |piece| {
                got.fetch_add(piece.len() as u64, Ordering::Relaxed);
            })
            .map_err(|error| std::io::Error::other(format!("the bucket {error}")))
            .take_until(ending.clone().cancelled_owned());
        let from = SyncIoBridge::new(StreamReader::new(counted.boxed()));
        let (packed, into, most) = (packed.clone(), into.to_owned(), self.config.key_bytes);
        let unpacking = tokio::task::spawn_blocking(move || unpack(from, &packed, &into, most, &ending));
        let unpacked = unpacking.await.map_err(|error| error.to_string())?;
        unpacked.map_err(|error| error.to_string())
    }

    /// Makes what was fetched the snapshot of its key here.
    fn take_in(&self, incoming: Incoming, purges: u64) -> Result<(), NotFetched> {
        let Incoming { snapshot, missing, _in_use } = incoming;
        let failed = |error: std::io::Error| NotFetched::Failed(format!("the executor's disk: {error}"));
        let new: Vec<&Layer> = snapshot.workspace.iter().chain(&snapshot.tools).collect();
        crash_point("cache.fetched");
        let taken = missing.iter().try_for_each(|(_, from)| {
            let id =
                from.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(FETCHING));
            std::fs::rename(from, self.layer_path(id.unwrap_or_default()))
        });
        let names: Vec<String> = new.iter().map(|layer| layer.id.clone()).collect();
        let switched = taken.map_err(failed).and_then(|()| self.switch_to(snapshot, purges));
        drop(_in_use);
        let free = self.index().unused(names.iter());
        self.throw_away(free);
        if switched.is_err() {
            self.remove_in_background(missing.into_iter().map(|(_, from)| from).collect());
        } else {
            self.evict();
        }
        switched
    }

    fn switch_to(&self, snapshot: Snapshot, purges: u64) -> Result<(), NotFetched> {
        let mut index = self.index();
        if index.purged_since(&snapshot.key, purges) {
            return Err(NotFetched::Purged);
        }
        // A build that has ended here meanwhile has left something newer.
        if index.get(&snapshot.key).is_some_and(|here| here.made_at >= snapshot.made_at) {
            return Ok(());
        }
        let snapshot = Snapshot { boot: Some(crate::cache::snapshot::this_boot()), ..snapshot };
        let written = snapshot.write(&self.snapshot_path(&snapshot.key.hash()));
        written.map_err(|error| NotFetched::Failed(format!("the executor's disk: {error}")))?;
        let replaced = index.put(snapshot, self.clock.now());
        let free = replaced.map(|replaced| index.unused(replaced.layers())).unwrap_or_default();
        drop(index);
        self.throw_away(free);
        Ok(())
    }
}

impl Shared {
    fn turn(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.entry(key.hash()).or_default().clone()
    }

    fn forget_turn(&self, key: &Key) {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if fetching.get(&key.hash()).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            fetching.remove(&key.hash());
        }
    }
}

/// Ends when a fetch of so many bytes has taken too long, or would by the rate at which it has come so far.
async fn would_take_longer(within: Duration, bytes: u64, got: &AtomicU64) {
    let began = Instant::now();
    loop {
        sleep(RECKON.min(within)).await;
        let took = began.elapsed();
        if took >= within {
            return;
        }
        let got = got.load(Ordering::Relaxed);
        if took >= RECKON_AFTER.min(within / 4) && got > 0 {
            let rate = got as f64 / took.as_secs_f64();
            let left = bytes.saturating_sub(got) as f64 / rate;
            if took.as_secs_f64() + left > within.as_secs_f64() {
                return;
            }
        }
    }
}

fn counted(outcome: &'static str, told: String) -> Option<String> {
    metrics::counter!("grapnel_executor_caches_fetched_total", "outcome" => outcome).increment(1);
    Some(told)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fetch_is_given_up_as_soon_as_it_is_known_to_take_too_long() {
        let within = Duration::from_secs(30);
        let reckoned = async |got: u64, of: u64| {
            let began = Instant::now();
            would_take_longer(within, of, &AtomicU64::new(got)).await;
            began.elapsed()
        };
        // A tenth after two seconds: twenty are no more than thirty, until it is seen that nothing more comes.
        assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&reckoned(100, 1_000).await));
        let at_once = reckoned(1, 1_000).await;
        assert!((RECKON_AFTER..RECKON_AFTER + RECKON).contains(&at_once), "{at_once:?}");
        assert_eq!(reckoned(0, 1_000).await, within, "nothing says how fast it will be");
    }
}
