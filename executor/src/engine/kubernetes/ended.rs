//! How sandboxes ended that were killed: their pods are gone with that, and whoever asks is to be told all the same, until they
//! are removed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::engine::{Exit, SandboxId};

/// What is written down of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The sandboxes of an executor that were killed and not removed.
#[derive(Clone, Debug)]
pub struct EndedSandboxes {
    directory: PathBuf,
}

impl EndedSandboxes {
    /// Takes the directory of them all.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Writes down how a sandbox ended.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write(&self, id: &SandboxId, ended: &Ended) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let place = self.place(id);
        let new = place.with_extension("new");
        fs::write(&new, serde_json::to_vec(ended)?)?;
        fs::rename(new, place)
    }

    /// Returns how a sandbox ended that was killed.
    pub fn get(&self, id: &SandboxId) -> Option<Ended> {
        read(&self.place(id))
    }

    /// Forgets a sandbox.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove(&self, id: &SandboxId) -> io::Result<()> {
        match fs::remove_file(self.place(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Lists them, with their labels.
    pub fn list(&self) -> BTreeMap<SandboxId, BTreeMap<String, String>> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let known = entries.filter_map(|entry| {
            let id = entry.file_name().to_str()?.strip_suffix(".json")?.to_owned();
            Some((SandboxId(id), read(&entry.path())?.labels))
        });
        known.collect()
    }

    /// An id is the name of a pod, which has no separators.
    fn place(&self, id: &SandboxId) -> PathBuf {
        self.directory.join(format!("{}.json", super::pod::name(&id.0)))
    }
}

fn read(place: &Path) -> Option<Ended> {
    serde_json::from_slice(&fs::read(place).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_sandbox_ended_is_known_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let known = EndedSandboxes::new(directory.path().join("ended"));
        let id = SandboxId("grapnel-dpl-1".to_owned());
        assert_eq!(known.get(&id), None);
        assert!(known.list().is_empty());
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let ended = Ended { exit: Exit { out_of_memory: true, ..Exit::with(137) }, labels: labels.clone() };
        known.write(&id, &ended).unwrap();
        assert_eq!(known.get(&id), Some(ended));
        assert_eq!(known.list(), BTreeMap::from([(id.clone(), labels)]));
        for _ in 0..2 {
            known.remove(&id).unwrap();
        }
        assert!(known.list().is_empty());
    }
}
