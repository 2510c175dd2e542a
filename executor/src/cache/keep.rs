//! Keeping what a READY build has left.

use std::{collections::HashSet, fs, io, path::Path, time::Instant};

use grapnel_domain::event::{CacheAction, CacheReport};
use grapnel_runtime::crash_point;
use serde::{Deserialize, Serialize};

use super::{
    COMPACT_AT, Caches, LONGEST, Layer, Prepared, Shown, Snapshot, Stack, index::InUse, layer, new_layer_id,
    report, snapshot::this_boot, stack::goes_on_elsewhere,
};
use crate::{disk, workspace::Workspace};

/// What an install step was given, where the next build may leave it out when it is given the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The digest of what it was given.
    pub given: String,
    /// The directory, below the workspace, that it fills.
    pub modules: String,
}

/// Why what a build left is not kept.
enum NotKept {
    /// It left nothing in the places that are cached.
    Nothing,
    /// Somebody asked for it to be dropped.
    Purged,
    /// It is too large; so many bytes.
    TooLarge(u64),
    /// The disk fails.
    Io(io::Error),
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Caches {
    /// Makes what a READY build left the snapshot of its key. The last of several builds wins. Blocks for a few renames;
    /// nothing may run in the build's sandbox any more. `installed` is what its install step was given, where the next
    /// build may leave that step out.
    ///
    /// What cannot be kept is dropped, and the report says why: a build does not fail by its cache.
    pub fn keep(
        &self,
        prepared: &Prepared,
        workspace: &Workspace,
        installed: Option<Installed>,
    ) -> CacheReport {
        let began = Instant::now();
        let base = CacheReport { took: std::time::Duration::ZERO, ..prepared.report.clone() };
        let mut told = match self.try_keep(prepared, workspace, installed) {
            Ok(snapshot) => {
                let detail = format!("the next build finds generation {}", snapshot.generation);
                let kept = CacheReport { action: CacheAction::Kept, detail, ..base };
                let told = report(kept, Some(&snapshot));
                self.look_after(&snapshot);
                told
            }
            Err(why) => {
                let detail = match why {
                    NotKept::Nothing => "the build left nothing in the cached places".to_owned(),
                    NotKept::Purged => "the cache was purged while this build ran".to_owned(),
                    NotKept::TooLarge(bytes) => format!(
                        "it takes {bytes} bytes, and the limit is {}: the next build begins without one",
                        self.config.key_bytes
                    ),
                    NotKept::Io(error) => format!("the executor's disk: {error}"),
                };
                tracing::info!(key = base.key, detail, "the cache of a build is not kept");
                report(CacheReport { action: CacheAction::NotKept, detail, ..base }, None)
            }
        };
        told.took = began.elapsed();
        told
    }

    fn try_keep(
        &self,
        prepared: &Prepared,
        workspace: &Workspace,
        installed: Option<Installed>,
    ) -> Result<Snapshot, NotKept> {
        let mut touched = Vec::new();
        let made = self.take_layers(prepared, workspace, &mut touched);
        crash_point("cache.layers-taken");
        let kept = made.and_then(|(snapshot, _in_use)| {
            touched.extend(snapshot.layers().cloned());
            let stack = Stack::new(self.directories(&snapshot.workspace));
            // A build may remove what its install step has brought.
            let there =
                |it: &Installed| matches!(stack.find(Path::new(&it.modules)), Ok(Shown::Directory(_)));
            let install = installed.filter(there).map(|it| it.given);
            self.switch(prepared, Snapshot { install, ..snapshot })
        });
        // Of these the snapshot names all, nothing, or what they were merged into.
        let free = self.index().unused(touched.iter());
        self.throw_away(free);
        kept
    }

    /// Moves what the build left into new layers, above those that it started with.
    fn take_layers(
        &self,
        prepared: &Prepared,
        workspace: &Workspace,
        new: &mut Vec<String>,
    ) -> Result<(Snapshot, InUse), NotKept> {
        let mut snapshot = prepared.base.clone();
        if prepared.copied {
            snapshot.workspace.clear();
            snapshot.tools.clear();
        }
        let taken = self.take_workspace(prepared, workspace, new)?;
        snapshot.workspace.splice(0..0, taken);
        let taken = self.take_tools(workspace, new)?;
        snapshot.tools.splice(0..0, taken);
        let index = self.index();
        index.rebase(&mut snapshot.workspace);
        index.rebase(&mut snapshot.tools);
        // What they have been compacted into is nobody's yet, should somebody else replace the snapshot meanwhile.
        let in_use = index.use_layers(snapshot.layers());
        drop(index);
        drop_hidden(&mut snapshot.workspace);
        for stack in [&mut snapshot.workspace, &mut snapshot.tools] {
            let too_large = stack.iter().map(|layer| layer.bytes).sum::<u64>() > self.config.key_bytes;
            if stack.len() > LONGEST || (too_large && stack.len() > 1) {
                let merged = self.merge(stack)?;
                new.push(merged.id.clone());
                *stack = vec![merged];
            }
        }
        Ok((snapshot, in_use))
    }

    fn take_workspace(
        &self,
        prepared: &Prepared,
        workspace: &Workspace,
        new: &mut Vec<String>,
    ) -> Result<Option<Layer>, NotKept> {
        let id = new_layer_id();
        let directory = self.layer_path(&id);
        fs::create_dir(&directory)?;
        new.push(id.clone());
        let mut layer =
            Layer { id, bytes: 0, paths: Vec::new(), hides: Vec::new(), redirects: false, packed: None };
        for path in &prepared.kept {
            if let Some(hides) = layer::take(&workspace.tree(), path, &directory)? {
                layer.paths.push(path.clone());
                layer.hides.extend(hides.then(|| path.clone()));
            }
        }
        if layer.paths.is_empty() {
            fs::remove_dir(&directory)?;
            new.pop();
            return Ok(None);
        }
        layer.bytes = disk::size_of(&directory)?;
        layer.redirects = !prepared.base.workspace.is_empty() && goes_on_elsewhere(&directory)?;
        Ok(Some(layer))
    }

    fn take_tools(&self, workspace: &Workspace, new: &mut Vec<String>) -> Result<Option<Layer>, NotKept> {
        let tools = workspace.tools();
        if fs::read_dir(&tools)?.next().is_none() {
            return Ok(None);
        }
        let id = new_layer_id();
        let directory = self.layer_path(&id);
        fs::rename(&tools, &directory)?;
        new.push(id.clone());
        let bytes = disk::size_of(&directory)?;
        Ok(Some(Layer {
            id,
            bytes,
            paths: vec![String::new()],
            hides: Vec::new(),
            redirects: false,
            packed: None,
        }))
    }

    /// Puts a snapshot in the place of its key's last one.
    fn switch(&self, prepared: &Prepared, mut snapshot: Snapshot) -> Result<Snapshot, NotKept> {
        let key = snapshot.key.clone();
        let now = self.clock.now();
        let mut index = self.index();
        if index.purged_since(&key, prepared.began) {
            return Err(NotKept::Purged);
        }
        let last = index.get(&key).cloned();
        let (bytes, nothing) = (snapshot.bytes(), snapshot.layers().next().is_none());
        if nothing || bytes > self.config.key_bytes {
            if let Some(last) = index.remove(&key.hash()) {
                self.forget(&last);
                let free = index.unused(last.layers());
                drop(index);
                self.throw_away(free);
            }
            return Err(if nothing { NotKept::Nothing } else { NotKept::TooLarge(bytes) });
        }
        snapshot.generation = last.as_ref().map_or(0, |last| last.generation) + 1;
        snapshot.made_at = now;
        snapshot.boot = Some(this_boot());
        snapshot.sent = false;
        snapshot.write(&self.snapshot_path(&key.hash()))?;
        crash_point("cache.snapshot-replaced");
        index.put(snapshot.clone(), now);
        let free = last.map(|last| index.unused(last.layers())).unwrap_or_default();
        drop(index);
        self.throw_away(free);
        Ok(snapshot)
    }

    /// Starts what a new snapshot asks for, beside whatever comes next.
    fn look_after(&self, snapshot: &Snapshot) {
        for stack in [&snapshot.workspace, &snapshot.tools] {
            if stack.len() >= COMPACT_AT {
                self.compact(stack.clone());
            }
        }
        self.offer(snapshot);
        self.evict();
    }
}

/// Drops the layers of which nothing is seen, since all they have is hidden by layers above them, and no layer above
/// goes on in them under another name.
fn drop_hidden(stack: &mut Vec<Layer>) {
    let mut hidden: HashSet<String> = HashSet::new();
    let mut redirected = false;
    stack.retain(|layer| {
        let seen = redirected || !layer.paths.iter().all(|path| hidden.contains(path));
        redirected |= layer.redirects;
        hidden.extend(layer.hides.iter().cloned());
        seen
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_of_which_nothing_is_seen_is_dropped() {
        let layer = |id: &str, paths: &[&str], hides: &[&str]| Layer {
            id: id.into(),
            bytes: 0,
            paths: paths.iter().map(|&path| path.into()).collect(),
            hides: hides.iter().map(|&path| path.into()).collect(),
            redirects: false,
            packed: None,
        };
        let mut stack = vec![
            layer("top", &["a", "b"], &["a"]),
            layer("partly hidden", &["a", "b"], &[]),
            layer("hidden", &["a"], &[]),
            layer("other", &["c"], &["b"]),
            layer("hidden by two", &["a", "b"], &[]),
        ];
        drop_hidden(&mut stack);
        assert_eq!(
            stack.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
            ["top", "partly hidden", "other"]
        );
        let mut stack =
            vec![Layer { redirects: true, ..layer("top", &["a"], &["a"]) }, layer("below", &["a"], &[])];
        drop_hidden(&mut stack);
        assert_eq!(stack.len(), 2, "something above goes on in it");
    }
}
