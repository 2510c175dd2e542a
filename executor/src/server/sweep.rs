//! Removes what a process that died has left: sandboxes, volumes, directories, unfinished artifacts.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use grapnel_artifacts::ArtifactStore;
use tokio_util::sync::CancellationToken;

use crate::{
    disk,
    engine::{Engine, EngineError, Inventory, label},
};

/// Lists an executor's own things in the engine.
///
/// # Errors
/// The engine does not answer.
pub async fn left_over(engine: &dyn Engine, executor: &str) -> Result<Inventory, EngineError> {
    let own = BTreeMap::from([(label::EXECUTOR.to_owned(), executor.to_owned())]);
    engine.list(&own).await
}

/// Sweeps an executor's own things away, but for those of attempts that go on. Only call it when no other runs.
///
/// # Errors
/// The engine does not answer; nothing is lost by sweeping later.
pub async fn sweep(
    engine: &dyn Engine,
    left: Inventory,
    workspaces: &Path,
    go_on: &HashSet<String>,
) -> Result<(), EngineError> {
    remove_directories(workspaces, go_on).await;
    remove(engine, left, go_on).await
}

/// Does the same in the engine alone.
///
/// # Errors
/// As [`sweep`].
pub async fn remove(
    engine: &dyn Engine,
    left: Inventory,
    go_on: &HashSet<String>,
) -> Result<(), EngineError> {
    for (id, labels) in left.sandboxes {
        if go_on.contains(&attempt_of(&labels)) {
            continue;
        }
        let deployment = labels.get(label::DEPLOYMENT).map(String::as_str).unwrap_or_default();
        tracing::info!(sandbox = id.0, deployment.id = deployment, "a sandbox that was left over is removed");
        engine.remove(&id).await?;
    }
    for (name, labels) in left.volumes {
        if go_on.contains(&attempt_of(&labels)) {
            continue;
        }
        tracing::info!(volume = name, "a volume that was left over is removed");
        engine.remove_volume(&name).await?;
    }
    Ok(())
}

/// How often the artifact store is swept. What artifacts that were removed have left in it waits for that.
const ARTIFACTS_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Sweeps the artifact store at start and once a day, whoever else publishes to it meanwhile.
pub async fn artifacts(store: Arc<dyn ArtifactStore>, shutdown: CancellationToken) {
    let sweeping = async {
        loop {
            if let Err(error) = store.sweep().await {
                let cause = std::error::Error::source(&error);
                tracing::warn!(%error, ?cause, "the artifact store cannot be swept now");
            }
            tokio::time::sleep(ARTIFACTS_EVERY).await;
        }
    };
    shutdown.run_until_cancelled(sweeping).await;
}

/// Leaves out of a list what belongs to no attempt, such as the trials of this process.
pub fn only_of_attempts(mut left: Inventory) -> Inventory {
    left.sandboxes.retain(|(_, labels)| labels.contains_key(label::DEPLOYMENT));
    left.volumes.retain(|(_, labels)| labels.contains_key(label::DEPLOYMENT));
    left
}

/// Returns the name of the attempt that labels tell of.
fn attempt_of(labels: &BTreeMap<String, String>) -> String {
    let label = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
    format!("{}-{}", label(label::DEPLOYMENT), label(label::ATTEMPT))
}

async fn remove_directories(workspaces: &Path, go_on: &HashSet<String>) {
    let Ok(entries) = std::fs::read_dir(workspaces) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| go_on.contains(name)) {
            disk::remove_tree(&entry.path()).await;
        }
    }
}
