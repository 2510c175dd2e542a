//! What somebody sees who watches all deployments of a project or of a team.

use std::collections::HashSet;

use grapnel_domain::id::{DeploymentId, ProjectId, TeamId};
use sea_orm::QuerySelect as _;

use super::{
    Store, StoreError,
    deployments::{DeploymentFilter, with_promotion},
    lists,
};
use crate::model::Deployment;

/// How many of the newest deployments are watched, ended or not: a page of them.
const NEWEST: u64 = 50;

/// Deployments as they are.
#[derive(Debug, Default)]
pub struct Watched {
    /// The newest, and those that go on; the newest first.
    pub listed: Vec<Deployment>,
    /// Those that were named and are not among them.
    pub named: Vec<Deployment>,
}

impl Store {
    /// Reads the newest deployments of a team, or of one of its projects, those that go on, and those of these ids.
    ///
    /// # Errors
    /// The database fails.
    pub async fn watched_deployments(
        &self,
        team: TeamId,
        project: Option<ProjectId>,
        mut ids: HashSet<DeploymentId>,
    ) -> Result<Watched, StoreError> {
        let all = DeploymentFilter::default();
        let newest = lists::filtered_deployments(team, project, &all, None).limit(NEWEST);
        let mut rows = newest.all(&self.reader).await?;
        rows.extend(lists::unfinished_deployments(team, project).all(&self.reader).await?);
        rows.sort_by(|a, b| b.id.cmp(&a.id));
        rows.dedup_by(|a, b| a.id == b.id);
        let listed = with_promotion(&self.reader, rows).await?;
        for deployment in &listed {
            ids.remove(&deployment.id);
        }
        if ids.is_empty() {
            return Ok(Watched { listed, named: Vec::new() });
        }
        let rows = lists::named_deployments(team, project, ids).all(&self.reader).await?;
        Ok(Watched { listed, named: with_promotion(&self.reader, rows).await? })
    }
}
