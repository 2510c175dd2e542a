//! Removes what a process that died has left: sandboxes, volumes, directories, unfinished artifacts.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use grapnel_artifacts::ArtifactStore;
use tokio_util::sync::CancellationToken;

use crate::{
    disk,
    engine::{Engine, EngineError, label},
};

/// Sweeps an executor's own things away. Only call it when none of its attempts runs.
///
/// # Errors
/// The engine does not answer; nothing is lost by sweeping later.
pub async fn sweep(engine: &dyn Engine, executor: &str, workspaces: &Path) -> Result<(), EngineError> {
    remove_directories(workspaces).await;
    let own = BTreeMap::from([(label::EXECUTOR.to_owned(), executor.to_owned())]);
    let left = engine.list(&own).await?;
    for (id, labels) in left.sandboxes {
        let deployment = labels.get(label::DEPLOYMENT).map(String::as_str).unwrap_or_default();
        tracing::info!(sandbox = id.0, deployment.id = deployment, "a sandbox that was left over is removed");
        engine.remove(&id).await?;
    }
    for (name, _) in left.volumes {
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

async fn remove_directories(workspaces: &Path) {
    let Ok(entries) = std::fs::read_dir(workspaces) else {
        return;
    };
    for entry in entries.flatten() {
        disk::remove_tree(&entry.path()).await;
    }
}
