//! What hooks services ask about the artifacts of this executor's store.

use std::collections::HashSet;

use grapnel_artifacts::{ArtifactError, ArtifactStore, Published};
use grapnel_domain::{Error, id::DeploymentId};
use grapnel_proto::{
    convert::{Violations, time::timestamp},
    executor::v1::{
        ListArtifactsRequest, ListArtifactsResponse, PublishedArtifact, RemoveArtifactsRequest,
        RemoveArtifactsResponse,
    },
};

/// How many artifacts are told of, or removed, in one call.
const AT_ONCE: usize = 1_000;

/// Lists a page of artifacts.
///
/// # Errors
/// The page token is none, or the store fails.
pub async fn list(
    store: &dyn ArtifactStore,
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
    // One more than is told, to know whether there is another page.
    let mut page = store.list(after, size + 1).await.map_err(unreadable)?;
    let more = page.len() > size;
    page.truncate(size);
    Ok(ListArtifactsResponse {
        next_page_token: page.last().filter(|_| more).map(|it| it.deployment.to_string()).unwrap_or_default(),
        artifacts: page.into_iter().map(published).collect(),
    })
}

/// Removes artifacts, but for those of deployments in `running`: what they are about to publish is not ours to remove.
///
/// # Errors
/// An id is none, there are too many, or the store fails; what was removed before that is removed.
pub async fn remove(
    store: &dyn ArtifactStore,
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
    let mut removed = 0;
    for id in ids.into_iter().filter(|id| !running.contains(id)) {
        // One whose manifest cannot be read is removed too.
        if matches!(store.open(id).await, Err(ArtifactError::NotFound(_))) {
            continue;
        }
        store.remove(id).await.map_err(unreadable)?;
        removed += 1;
    }
    if removed > 0 {
        tracing::info!(removed, "artifacts that no deployment has any more were removed");
    }
    Ok(RemoveArtifactsResponse { removed })
}

fn published(Published { deployment, at }: Published) -> PublishedArtifact {
    PublishedArtifact { deployment_id: deployment.to_string(), published_at: Some(timestamp(at)) }
}

fn unreadable(error: ArtifactError) -> Error {
    Error::internal(error)
}
