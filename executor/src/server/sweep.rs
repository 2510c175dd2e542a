//! Removes what a process that died has left: sandboxes, volumes, directories.

use std::{collections::BTreeMap, path::Path};

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

async fn remove_directories(workspaces: &Path) {
    let Ok(entries) = std::fs::read_dir(workspaces) else {
        return;
    };
    for entry in entries.flatten() {
        disk::remove_tree(&entry.path()).await;
    }
}
