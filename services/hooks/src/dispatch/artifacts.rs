//! What an executor's store holds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{Error, Reason, id::DeploymentId};
use grapnel_proto::{
    convert::time::datetime,
    error::from_status,
    executor::v1::{ListArtifactsRequest, RemoveArtifactsRequest},
};
use tokio::time::timeout;

use super::executor::{Executor, away};

/// How long an executor may take to list a page of its artifacts, or to remove some.
const PAGE: Duration = Duration::from_secs(60);

impl Executor {
    /// Lists all artifacts, and when each was published.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn artifacts(&self) -> Result<Vec<(DeploymentId, DateTime<Utc>)>, Error> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let mut client = self.client.clone();
            let request = ListArtifactsRequest { page_size: 0, page_token };
            let answer = timeout(PAGE, client.list_artifacts(request)).await.map_err(|_| away())?;
            let page =
                answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner();
            for artifact in page.artifacts {
                let id = artifact.deployment_id.parse();
                let id =
                    id.map_err(|_| Error::internal("the executor lists an artifact of no deployment"))?;
                let at = datetime(artifact.published_at.as_ref());
                all.push((
                    id,
                    at.ok_or_else(|| Error::internal("the executor lists an artifact without its time"))?,
                ));
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Removes artifacts; returns how many were there.
    ///
    /// # Errors
    /// The executor does not answer.
    pub async fn remove_artifacts(&self, ids: &[DeploymentId]) -> Result<u32, Error> {
        let mut client = self.client.clone();
        let request =
            RemoveArtifactsRequest { deployment_ids: ids.iter().map(ToString::to_string).collect() };
        let answer = timeout(PAGE, client.remove_artifacts(request)).await.map_err(|_| away())?;
        Ok(answer.map_err(|status| from_status(&status, Reason::ExecutorUnavailable))?.into_inner().removed)
    }
}
