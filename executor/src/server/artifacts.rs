//! What hooks services ask about the artifacts of this executor's store.

use std::{collections::HashSet, time::SystemTime};

use grapnel_artifacts::{ArtifactError, ArtifactStore};
use grapnel_domain::{Error, id::DeploymentId};
use grapnel_proto::{
    convert::{Violations, time::timestamp},
    executor::v1::{
        ListArtifactsRequest, ListArtifactsResponse, PublishedArtifact, RemoveArtifactsRequest,
        RemoveArtifactsResponse,
    },
};
use tokio::task::spawn_blocking;

/// How many artifacts are told of, or removed, in one call.
const AT_ONCE: usize = 1_000;

/// Lists a page of artifacts.
///
/// # Errors
/// The page token is none, or the store fails.
pub async fn list(
    store: ArtifactStore,
    request: ListArtifactsRequest,
) -> Result<ListArtifactsResponse, Error> {
    let mut violations = Violations::default();
    let after: Option<DeploymentId> = match request.page_token.as_str() {
        "" => None,
        token => violations.check("page_token", token.parse()),
    };
    violations.finish()?;
    let size = match request.page_size as usize {
        0 => AT_ONCE,
        size => size.min(AT_ONCE),
    };
    let all = spawn_blocking(move || store.list()).await.map_err(Error::internal)?.map_err(unreadable)?;
    let mut rest = all.into_iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let more = rest.next().is_some();
    Ok(ListArtifactsResponse {
        next_page_token: page.last().filter(|_| more).map(|(id, _)| id.to_string()).unwrap_or_default(),
        artifacts: page.into_iter().map(published).collect(),
    })
}

/// Removes artifacts, but for those of deployments in `running`: what they are about to publish is not ours to remove.
///
/// # Errors
/// An id is none, there are too many, or the store fails; what was removed before that is removed.
pub async fn remove(
    store: ArtifactStore,
    request: RemoveArtifactsRequest,
    running: &HashSet<DeploymentId>,
) -> Result<RemoveArtifactsResponse, Error> {
    let mut violations = Violations::default();
    if request.deployment_ids.len() > AT_ONCE {
        violations.add("deployment_ids", format!("must be at most {AT_ONCE}"));
    }
    let mut ids: Vec<DeploymentId> = Vec::new();
    for id in &request.deployment_ids {
        ids.extend(violations.check("deployment_ids", id.parse::<DeploymentId>()));
    }
    violations.finish()?;
    ids.retain(|id| !running.contains(id));
    let removed = spawn_blocking(move || {
        let there: HashSet<_> = store.list()?.into_iter().map(|(id, _)| id).collect();
        let mut removed = 0;
        for id in ids.into_iter().filter(|id| there.contains(id)) {
            store.remove(id)?;
            removed += 1;
        }
        Ok(removed)
    });
    let removed = removed.await.map_err(Error::internal)?.map_err(unreadable)?;
    if removed > 0 {
        tracing::info!(removed, "artifacts that no deployment has any more were removed");
    }
    Ok(RemoveArtifactsResponse { removed })
}

fn published((id, at): (DeploymentId, SystemTime)) -> PublishedArtifact {
    PublishedArtifact { deployment_id: id.to_string(), published_at: Some(timestamp(at.into())) }
}

fn unreadable(error: ArtifactError) -> Error {
    Error::internal(error)
}
