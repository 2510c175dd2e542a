//! All snapshots, who uses which layers, and what has been purged: in memory, written through by the callers.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    Key,
    shared::Packed,
    snapshot::{Layer, Snapshot, this_boot},
};

/// The state of an executor's caches.
#[derive(Debug, Default)]
pub struct Index {
    snapshots: BTreeMap<String, Kept>,
    in_use: Arc<Mutex<HashMap<String, usize>>>,
    /// What compaction has put in place of which layers, for builds that began before it.
    compacted: Vec<(Vec<String>, Layer)>,
    /// The stacks that are being compacted.
    pub compacting: HashSet<Vec<String>>,
    /// When a project, or a branch of it, was last purged; by the counter below.
    purges: HashMap<(String, Option<String>), u64>,
    purged: u64,
}

/// A snapshot, and when it was last used.
#[derive(Clone, Debug)]
pub struct Kept {
    pub snapshot: Snapshot,
    pub used_at: DateTime<Utc>,
}

/// Keeps layers from being removed until it and all its clones are dropped.
#[derive(Debug, Default)]
pub struct InUse {
    layers: Vec<String>,
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

impl Clone for InUse {
    fn clone(&self) -> Self {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &self.layers {
            *counts.entry(layer.clone()).or_default() += 1;
        }
        drop(counts);
        Self { layers: self.layers.clone(), counts: self.counts.clone() }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &self.layers {
            if let Some(count) = counts.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(layer);
                }
            }
        }
    }
}

impl InUse {
    /// Returns the layers that it keeps.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }
}

/// What was purged, as it is stored: of which project and branch, and when by the counter.
#[derive(Default, Serialize, Deserialize)]
struct Purges {
    purged: u64,
    purges: Vec<(String, Option<String>, u64)>,
}

impl Index {
    /// Reads what has been purged before.
    pub fn load_purges(&mut self, path: &Path) -> io::Result<()> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text?,
        };
        let Purges { purged, purges } = serde_json::from_slice(&text).unwrap_or_default();
        self.purged = purged;
        self.purges = purges.into_iter().map(|(project, branch, at)| ((project, branch), at)).collect();
        Ok(())
    }

    /// Writes down what has been purged.
    pub fn write_purges(&self, path: &Path) -> io::Result<()> {
        let purges = self.purges.iter().map(|((project, branch), at)| (project.clone(), branch.clone(), *at));
        let purges = Purges { purged: self.purged, purges: purges.collect() };
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&purges).map_err(io::Error::other)?)?;
        fs::rename(&new, path)
    }

    /// Reads the snapshots of a directory. What cannot be read, or did not reach the disk before the machine went
    /// down, is left out; a sweep removes it.
    pub fn load(directory: &Path) -> io::Result<Self> {
        let mut index = Self::default();
        let boot = this_boot();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.path().extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            let Some(snapshot) = Snapshot::read(&entry.path())? else { continue };
            if snapshot.boot.as_ref().is_some_and(|made_in| *made_in != boot) {
                tracing::warn!(
                    key = snapshot.key.hash(),
                    "a cache that may not have reached the disk is dropped"
                );
                continue;
            }
            let used = entry.metadata()?.modified()?;
            let used_at = used.into();
            index.snapshots.insert(snapshot.key.hash(), Kept { snapshot, used_at });
        }
        Ok(index)
    }

    /// Returns all snapshots by the names of their keys.
    pub fn snapshots(&self) -> impl Iterator<Item = (&String, &Kept)> {
        self.snapshots.iter()
    }

    /// Returns the snapshot of a key.
    pub fn get(&self, key: &Key) -> Option<&Snapshot> {
        self.snapshots.get(&key.hash()).map(|kept| &kept.snapshot)
    }

    /// Returns the snapshot of a key by its name.
    pub fn by_name(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.get(name).map(|kept| &kept.snapshot)
    }

    /// Returns the names of the keys whose snapshots the bucket does not have.
    pub fn unsent(&self) -> impl Iterator<Item = String> {
        self.snapshots.iter().filter(|(_, kept)| !kept.snapshot.sent).map(|(name, _)| name.clone())
    }

    /// Returns the layer that was packed as a file of a digest.
    pub fn layer_packed_as(&self, digest: &str) -> Option<String> {
        let mut layers = self.snapshots.values().flat_map(|kept| kept.snapshot.stacks().flatten());
        let found = layers.find(|layer| layer.packed.as_ref().is_some_and(|it| it.digest == digest));
        found.map(|layer| layer.id.clone())
    }

    /// Notes as what a layer was packed, wherever it is.
    pub fn packed(&mut self, id: &str, packed: &Packed) {
        for kept in self.snapshots.values_mut() {
            let Snapshot { workspace, tools, .. } = &mut kept.snapshot;
            let same = workspace.iter_mut().chain(tools).filter(|layer| layer.id == id);
            same.for_each(|layer| layer.packed = Some(packed.clone()));
        }
    }

    /// Notes that the bucket has the snapshot of a key, and returns it.
    pub fn sent(&mut self, key: &Key) -> Option<&Snapshot> {
        let kept = self.snapshots.get_mut(&key.hash())?;
        kept.snapshot.sent = true;
        Some(&kept.snapshot)
    }

    /// Notes that a snapshot is used now.
    pub fn touch(&mut self, key: &Key, now: DateTime<Utc>) {
        if let Some(kept) = self.snapshots.get_mut(&key.hash()) {
            kept.used_at = now;
        }
    }

    /// Puts a snapshot in its key's place and returns the one that was there.
    pub fn put(&mut self, snapshot: Snapshot, used_at: DateTime<Utc>) -> Option<Snapshot> {
        let replaced = self.snapshots.insert(snapshot.key.hash(), Kept { snapshot, used_at });
        replaced.map(|kept| kept.snapshot)
    }

    /// Drops the snapshot of a key.
    pub fn remove(&mut self, key: &str) -> Option<Snapshot> {
        self.snapshots.remove(key).map(|kept| kept.snapshot)
    }

    /// Drops what a project, or one of its branches, has, and remembers that it was asked to.
    pub fn purge(&mut self, project: &str, branch: Option<&str>) -> Vec<Snapshot> {
        self.purged += 1;
        self.purges.insert((project.to_owned(), branch.map(str::to_owned)), self.purged);
        let mut dropped = Vec::new();
        self.snapshots.retain(|_, kept| {
            let key = &kept.snapshot.key;
            let purged = key.project == project && branch.is_none_or(|branch| key.branch == branch);
            if purged {
                dropped.push(kept.snapshot.clone());
            }
            !purged
        });
        dropped
    }

    /// Returns the present time on the counter of purges.
    pub fn now(&self) -> u64 {
        self.purged
    }

    /// Tells whether a key was purged after a time of [`Index::now`].
    pub fn purged_since(&self, key: &Key, then: u64) -> bool {
        [None, Some(key.branch.clone())]
            .into_iter()
            .any(|branch| self.purges.get(&(key.project.clone(), branch)).is_some_and(|at| *at > then))
    }

    /// Keeps the layers of a snapshot from being removed.
    pub fn use_layers<'a>(&self, layers: impl Iterator<Item = &'a String>) -> InUse {
        let layers: Vec<_> = layers.cloned().collect();
        let mut counts = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &layers {
            *counts.entry(layer.clone()).or_default() += 1;
        }
        drop(counts);
        InUse { layers, counts: self.in_use.clone() }
    }

    /// Returns those of the layers that neither a snapshot nor a build needs.
    pub fn unused<'a>(&self, layers: impl Iterator<Item = &'a String>) -> Vec<String> {
        let counts = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let named: HashSet<&String> =
            self.snapshots.values().flat_map(|kept| kept.snapshot.layers()).collect();
        let mut unused: Vec<_> =
            layers.filter(|layer| !named.contains(layer) && !counts.contains_key(*layer)).cloned().collect();
        unused.sort();
        unused.dedup();
        unused
    }

    /// Tells whether a build uses any layer of a snapshot.
    pub fn is_in_use(&self, snapshot: &Snapshot) -> bool {
        let counts = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.layers().any(|layer| counts.contains_key(layer))
    }

    /// Remembers that one layer says what a stack of them said, and puts it in their place wherever they are the
    /// lower part of a stack. Returns the snapshots that changed.
    pub fn compacted(&mut self, stack: &[String], into: &Layer) -> Vec<Snapshot> {
        self.compacted.push((stack.to_owned(), into.clone()));
        let mut changed = Vec::new();
        for kept in self.snapshots.values_mut() {
            let snapshot = &mut kept.snapshot;
            if replace(&mut snapshot.workspace, stack, into) | replace(&mut snapshot.tools, stack, into) {
                // The new layer has not reached the disk yet.
                snapshot.boot = Some(this_boot());
                changed.push(snapshot.clone());
            }
        }
        changed
    }

    /// Puts in place of a build's layers what they have been compacted into since it began.
    pub fn rebase(&self, stack: &mut Vec<Layer>) {
        for (compacted, into) in &self.compacted {
            replace(stack, compacted, into);
        }
    }

    /// Forgets the layers that are gone.
    pub fn gone(&mut self, layers: &[String]) {
        self.compacted.retain(|(_, into)| !layers.contains(&into.id));
    }
}

/// Replaces the lower part of a stack; tells whether it was there.
fn replace(stack: &mut Vec<Layer>, lower: &[String], by: &Layer) -> bool {
    let Some(keep) = stack.len().checked_sub(lower.len()) else { return false };
    let same = !lower.is_empty() && stack[keep..].iter().map(|layer| &layer.id).eq(lower);
    if same {
        stack.truncate(keep);
        stack.push(by.clone());
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: &str) -> Layer {
        Layer {
            id: id.into(),
            bytes: 1,
            paths: Vec::new(),
            hides: Vec::new(),
            redirects: false,
            packed: None,
        }
    }

    fn snapshot(branch: &str, layers: &[&str]) -> Snapshot {
        let key = Key {
            project: "prj".into(),
            branch: branch.into(),
            image: "sha256:1".into(),
            root: ".".into(),
            user: 1,
        };
        let mut snapshot = Snapshot::empty(key, "image", true, &[], DateTime::UNIX_EPOCH);
        snapshot.workspace = layers.iter().map(|id| layer(id)).collect();
        snapshot
    }

    fn ids(stack: &[Layer]) -> Vec<&str> {
        stack.iter().map(|layer| layer.id.as_str()).collect()
    }

    #[test]
    fn a_layer_is_unused_when_no_snapshot_names_it_and_no_build_sees_it() {
        let mut index = Index::default();
        index.put(snapshot("main", &["b", "a"]), DateTime::UNIX_EPOCH);
        index.put(snapshot("other", &["c", "a"]), DateTime::UNIX_EPOCH);
        let build = index.use_layers(snapshot("main", &["b", "a"]).layers());
        let old = index.put(snapshot("main", &["d"]), DateTime::UNIX_EPOCH).unwrap();
        assert!(index.unused(old.layers()).is_empty(), "a build sees them");
        drop(build);
        assert_eq!(index.unused(old.layers()), ["b"], "the other branch has `a` too");
    }

    #[test]
    fn compaction_reaches_every_stack_that_stands_on_the_compacted_one_and_builds_that_began_before() {
        let mut index = Index::default();
        index.put(snapshot("main", &["c", "b", "a"]), DateTime::UNIX_EPOCH);
        index.put(snapshot("other", &["x", "a"]), DateTime::UNIX_EPOCH);
        let changed = index.compacted(&["b".into(), "a".into()], &layer("m"));
        assert_eq!(changed.iter().map(|it| ids(&it.workspace)).collect::<Vec<_>>(), [["c", "m"]]);
        let mut began_before = snapshot("main", &["b", "a"]).workspace;
        index.rebase(&mut began_before);
        assert_eq!(ids(&began_before), ["m"]);
        index.gone(&["m".into()]);
        let mut began_before = snapshot("main", &["b", "a"]).workspace;
        index.rebase(&mut began_before);
        assert_eq!(ids(&began_before), ["b", "a"]);
    }

    #[test]
    fn a_purge_is_remembered_by_builds_that_began_before_it_and_by_no_others() {
        let mut index = Index::default();
        let (main, other) = (snapshot("main", &["a"]), snapshot("other", &["a"]));
        index.put(main.clone(), DateTime::UNIX_EPOCH);
        index.put(other.clone(), DateTime::UNIX_EPOCH);
        let began = index.now();
        assert_eq!(index.purge("prj", Some("main")), std::slice::from_ref(&main));
        assert!(index.purged_since(&main.key, began) && !index.purged_since(&other.key, began));
        assert!(!index.purged_since(&main.key, index.now()));
        index.purge("prj", None);
        assert!(index.purged_since(&other.key, began));
        assert_eq!(index.snapshots().count(), 0);
    }
}
