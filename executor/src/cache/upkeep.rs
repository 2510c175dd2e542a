//! What is done beside the builds: layers are merged, brought to the disk, and removed.

use std::{
    collections::HashSet,
    fs,
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Caches, How, LAYERS, Layer, PURGES, SNAPSHOTS, Shown, Snapshot, Stack, TRASH, new_layer_id};
use crate::disk;

/// How long new snapshots wait to be brought to the disk.
const TO_DISK: Duration = Duration::from_secs(30);

/// How often old snapshots are looked for.
const LOOK: Duration = Duration::from_secs(3600);

impl Caches {
    /// Brings new snapshots to the disk after a while, and drops what is too old, until it is stopped.
    pub async fn watch_over(self, stop: CancellationToken) {
        let mut looked = Instant::now();
        self.evict();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TO_DISK) => {}
            }
            let caches = self.clone();
            // Nothing is lost where this breaks off: what is not known to be on the disk is dropped after a crash.
            let _ = tokio::task::spawn_blocking(move || caches.bring_to_disk()).await;
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                self.evict();
            }
        }
    }

    /// Removes what belongs to no snapshot. Only for the start, when no build runs.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let mut index = self.index();
        let broken: Vec<_> = index
            .snapshots()
            .filter(|(_, kept)| !kept.snapshot.layers().all(|id| self.layer_path(id).is_dir()))
            .map(|(key, _)| key.clone())
            .collect();
        for key in broken {
            tracing::warn!(key, "a cache whose layers are not there is dropped");
            index.remove(&key);
        }
        let keys: HashSet<String> = index.snapshots().map(|(key, _)| format!("{key}.json")).collect();
        for name in names(&self.config.directory.join(SNAPSHOTS))? {
            if !keys.contains(&name) {
                fs::remove_file(self.config.directory.join(SNAPSHOTS).join(name))?;
            }
        }
        let layers = names(&self.config.directory.join(LAYERS))?;
        let unused = index.unused(layers.iter());
        drop(index);
        self.throw_away(unused);
        let known = [LAYERS, SNAPSHOTS, TRASH, PURGES];
        let others =
            names(&self.config.directory)?.into_iter().filter(|name| !known.contains(&name.as_str()));
        let mut left: Vec<_> = others.map(|name| self.config.directory.join(name)).collect();
        let trash = self.config.directory.join(TRASH);
        left.extend(names(&trash)?.into_iter().map(|name| trash.join(name)));
        self.remove_in_background(left);
        Ok(())
    }

    /// Moves layers out of the way at once and removes them beside whatever comes next.
    pub(super) fn throw_away(&self, layers: Vec<String>) {
        if layers.is_empty() {
            return;
        }
        self.index().gone(&layers);
        let mut moved = Vec::new();
        for id in layers {
            let to = self.config.directory.join(TRASH).join(&id);
            match fs::rename(self.layer_path(&id), &to) {
                Ok(()) => moved.push(to),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(layer = id, %error, "a layer cannot be removed; the next start tries again");
                }
            }
        }
        self.remove_in_background(moved);
    }

    pub(super) fn remove_in_background(&self, trees: Vec<std::path::PathBuf>) {
        if trees.is_empty() {
            return;
        }
        self.upkeep.spawn(async move {
            for tree in trees {
                disk::remove_tree(&tree).await;
            }
        });
    }

    /// Merges a stack into one layer beside whatever comes next, unless that is under way.
    pub(super) fn compact(&self, stack: Vec<Layer>) {
        let ids: Vec<String> = stack.iter().map(|layer| layer.id.clone()).collect();
        let mut index = self.index();
        if !index.compacting.insert(ids.clone()) {
            return;
        }
        let in_use = index.use_layers(ids.iter());
        drop(index);
        let caches = self.clone();
        self.upkeep.spawn_blocking(move || {
            let merged = caches.merge(&stack);
            let mut index = caches.index();
            index.compacting.remove(&ids);
            let mut free = Vec::new();
            match merged {
                Ok(merged) => {
                    let changed = index.compacted(&ids, &merged);
                    for snapshot in &changed {
                        if let Err(error) = snapshot.write(&caches.snapshot_path(&snapshot.key.hash())) {
                            tracing::warn!(%error, "a compacted cache cannot be written down; it stays as it was on disk");
                        }
                    }
                    tracing::debug!(layers = ids.len(), bytes = merged.bytes, "a cache was compacted");
                    free.push(merged.id);
                }
                Err(error) => tracing::warn!(%error, "a cache cannot be compacted"),
            }
            drop(in_use);
            free.extend(ids);
            let free = index.unused(free.iter());
            drop(index);
            caches.throw_away(free);
        });
    }

    /// Makes one layer that shows what a stack shows. Files are linked, not copied.
    pub(super) fn merge(&self, layers: &[Layer]) -> io::Result<Layer> {
        let id = new_layer_id();
        let directory = self.layer_path(&id);
        let stack = Stack::new(self.directories(layers));
        let merged = stack.find(Path::new("")).and_then(|top| match top {
            Shown::Directory(_) => stack.materialise(&top, &directory, How::Link),
            Shown::Nothing | Shown::File(_) => Err(io::Error::other("a layer is not there")),
        });
        let sized = merged.and_then(|()| disk::size_of(&directory));
        match sized {
            Ok(bytes) => {
                let mut paths: Vec<String> = layers.iter().flat_map(|layer| layer.paths.clone()).collect();
                paths.sort();
                paths.dedup();
                Ok(Layer { id, bytes, paths, hides: Vec::new(), redirects: false, packed: None })
            }
            Err(error) => {
                self.throw_away(vec![id]);
                Err(error)
            }
        }
    }

    /// Lets snapshots outlive a crash of the machine: brings them to the disk, then says so in their files. Not at once,
    /// since a file system that writes a gigabyte keeps everybody waiting; by then the kernel has written most of it.
    fn bring_to_disk(&self) {
        let waiting: Vec<Snapshot> = {
            let index = self.index();
            let snapshots = index.snapshots().map(|(_, kept)| &kept.snapshot);
            snapshots.filter(|snapshot| snapshot.boot.is_some()).cloned().collect()
        };
        if waiting.is_empty() {
            return;
        }
        let synced = fs::File::open(&self.config.directory).and_then(|it| Ok(rustix::fs::syncfs(it)?));
        if let Err(error) = synced {
            tracing::warn!(%error, "caches cannot be brought to the disk; they are dropped if the machine crashes");
            return;
        }
        let mut index = self.index();
        for snapshot in waiting {
            let key = snapshot.key.hash();
            let kept = index.snapshots().find(|(name, _)| **name == key).map(|(_, kept)| kept.clone());
            // What came meanwhile waits for the next time.
            if let Some(kept) = kept.filter(|kept| kept.snapshot == snapshot) {
                let on_disk = Snapshot { boot: None, ..snapshot };
                if on_disk.write(&self.snapshot_path(&key)).is_ok() {
                    index.put(on_disk, kept.used_at);
                }
            }
        }
    }

    /// Drops what nobody has used for too long, then the least recently used until all fit. What a build uses stays.
    pub(super) fn evict(&self) {
        let age = chrono::TimeDelta::from_std(self.config.max_age).unwrap_or(chrono::TimeDelta::MAX);
        let oldest = self.clock.now().checked_sub_signed(age);
        let mut index = self.index();
        let mut by_use: Vec<_> =
            index.snapshots().map(|(key, kept)| (kept.used_at, key.clone(), kept.snapshot.clone())).collect();
        by_use.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut dropped = Vec::new();
        for (used_at, key, snapshot) in by_use {
            let too_old = oldest.is_some_and(|oldest| used_at < oldest);
            if !too_old
                && total(&index.snapshots().map(|(_, kept)| &kept.snapshot).collect::<Vec<_>>())
                    <= self.config.total_bytes
            {
                break;
            }
            if index.is_in_use(&snapshot) {
                continue;
            }
            tracing::info!(key, too_old, bytes = snapshot.bytes(), "a cache is dropped");
            index.remove(&key);
            self.forget(&snapshot);
            dropped.push(snapshot);
        }
        let free = index.unused(dropped.iter().flat_map(Snapshot::layers));
        drop(index);
        self.throw_away(free);
    }
}

/// Returns the bytes of snapshots together; layers that several have count once.
fn total(snapshots: &[&Snapshot]) -> u64 {
    let mut seen = HashSet::new();
    let layers = snapshots.iter().flat_map(|snapshot| snapshot.workspace.iter().chain(&snapshot.tools));
    layers.filter(|layer| seen.insert(&layer.id)).map(|layer| layer.bytes).sum()
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
