//! The ids of images, by name. Kubernetes tells them only of what has run, so they are written down: what is kept for builds of an
//! image is found by its id, also after the executor was replaced.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The images that were run on this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Images {
    place: PathBuf,
    ids: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Images {
    /// Reads what is known in a file. Where it cannot be read nothing is.
    pub fn read(place: PathBuf) -> Self {
        let ids = fs::read(&place).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { place, ids: Arc::new(Mutex::new(ids.unwrap_or_default())) }
    }

    /// Returns the id that an image had when it was last run.
    pub fn id(&self, name: &str) -> Option<String> {
        self.ids().get(name).cloned()
    }

    /// Notes the id of an image that runs.
    pub fn learn(&self, name: &str, id: &str) {
        let mut ids = self.ids();
        if ids.insert(name.to_owned(), id.to_owned()).as_deref() != Some(id)
            && let Err(error) = self.write(&ids)
        {
            tracing::warn!(%error, image = name, "an image's id is forgotten when the executor ends");
        }
    }

    fn write(&self, ids: &BTreeMap<String, String>) -> io::Result<()> {
        if let Some(directory) = self.place.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = self.place.with_extension("new");
        fs::write(&new, serde_json::to_vec(ids)?)?;
        fs::rename(new, &self.place)
    }

    fn ids(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_id_is_known_to_the_next_process_too() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("kubernetes/images.json");
        let images = Images::read(place.clone());
        assert_eq!(images.id("node:22"), None);
        images.learn("node:22", "sha256:1");
        images.learn("node:22", "sha256:2");
        assert_eq!(Images::read(place.clone()).id("node:22").as_deref(), Some("sha256:2"));
        fs::write(&place, "{\"node:22\":").unwrap();
        assert_eq!(Images::read(place).id("node:22"), None);
    }
}
