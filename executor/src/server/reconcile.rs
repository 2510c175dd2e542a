//! Finds what no attempt owns, while the executor runs, and removes it: sandboxes, volumes, directories.
//!
//! The sweep at the start finds what a dead process left. This finds what a living one could not remove when it should
//! have: the engine was away, a volume was busy. Only what was an orphan at the look before is removed, so that whatever
//! is just being made or cleaned up is left to whoever does that.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use grapnel_domain::build::AttemptId;
use tokio_util::sync::CancellationToken;

use crate::{
    disk,
    engine::{Engine, EngineError, SandboxId, label},
};

/// How often is looked. What is tried out apart from attempts, such as the network, takes less.
const LOOK: Duration = Duration::from_secs(30);

/// How soon is looked again where something was nobody's, or the engine did not answer. What is only just being cleaned up is
/// gone by then.
const SOON: Duration = Duration::from_secs(10);

/// Says which attempts have something in the engine or on the disk now.
pub type Known = Box<dyn Fn() -> HashSet<AttemptId> + Send + Sync>;

/// Something that an attempt owns, in the order in which it can be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Sandbox(SandboxId),
    Volume(String),
    Directory(PathBuf),
}

/// Looks for orphans among the things of one executor.
pub struct Reconciler {
    engine: Arc<dyn Engine>,
    executor: String,
    workspaces: PathBuf,
    known: Known,
    /// The orphans of the last look.
    suspects: BTreeSet<Thing>,
}

impl Reconciler {
    /// Takes the engine, the name by which the executor marks its things there, the directory of its workspaces, and who
    /// knows its attempts.
    pub fn new(engine: Arc<dyn Engine>, executor: String, workspaces: PathBuf, known: Known) -> Self {
        Self { engine, executor, workspaces, known, suspects: BTreeSet::new() }
    }

    /// Looks every half minute until it is stopped, and sooner where there is something to be done.
    pub async fn watch_over(mut self, stop: CancellationToken) {
        let (mut pause, mut well) = (LOOK, true);
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            match stop.run_until_cancelled(self.look()).await {
                Some(Ok(_)) => {
                    pause = if self.suspects.is_empty() { LOOK } else { SOON };
                    well = true;
                }
                Some(Err(error)) => {
                    if well {
                        tracing::warn!(%error, "what was left over cannot be removed now; it is tried again");
                    }
                    (pause, well) = (SOON, false);
                }
                None => return,
            }
        }
    }

    /// Removes what is nobody's now and was nobody's at the look before; returns how many things.
    ///
    /// # Errors
    /// The engine does not answer, or cannot remove something. What is left is tried again at the next look.
    pub async fn look(&mut self) -> Result<usize, EngineError> {
        let found = self.find().await?;
        // Asked after the search: an attempt that began in between is known, or has nothing yet that was found.
        let known: HashSet<String> = (self.known)().iter().map(ToString::to_string).collect();
        let orphans: BTreeSet<Thing> =
            found.into_iter().filter(|(_, owner)| !known.contains(owner)).map(|(thing, _)| thing).collect();
        let due: Vec<Thing> = orphans.intersection(&self.suspects).cloned().collect();
        self.suspects = orphans;
        for thing in &due {
            tracing::info!(?thing, "something that belongs to no attempt is removed");
            match thing {
                Thing::Sandbox(id) => self.engine.remove(id).await?,
                Thing::Volume(name) => self.engine.remove_volume(name).await?,
                Thing::Directory(path) => disk::remove_tree(path).await,
            }
            self.suspects.remove(thing);
        }
        if !due.is_empty() {
            tracing::info!(removed = due.len(), "what was left over of attempts was removed");
        }
        Ok(due.len())
    }

    /// Finds everything of the executor, with the name of the attempt that it says it belongs to.
    async fn find(&self) -> Result<Vec<(Thing, String)>, EngineError> {
        let own = BTreeMap::from([(label::EXECUTOR.to_owned(), self.executor.clone())]);
        let inventory = self.engine.list(&own).await?;
        let sandboxes =
            inventory.sandboxes.into_iter().map(|(id, labels)| (Thing::Sandbox(id), owner(&labels)));
        let volumes =
            inventory.volumes.into_iter().map(|(name, labels)| (Thing::Volume(name), owner(&labels)));
        let directories = std::fs::read_dir(&self.workspaces).into_iter().flatten().flatten().map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (Thing::Directory(entry.path()), name)
        });
        Ok(sandboxes.chain(volumes).chain(directories).collect())
    }
}

/// Returns the name of the attempt that labels name, as its directory is called.
fn owner(labels: &BTreeMap<String, String>) -> String {
    let of = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
    format!("{}-{}", of(label::DEPLOYMENT), of(label::ATTEMPT))
}
