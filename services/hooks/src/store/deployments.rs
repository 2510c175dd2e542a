//! Deployments, as they are stored and read.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    BranchName,
    deployment::State,
    id::{DeploymentId, HookId, ProjectId, TeamId},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};

use super::{
    Store, StoreError,
    deleting::visible,
    entity::{branch_address, deployment},
    lists,
    notices::Rings,
    rows, transitions,
};
use crate::model::{Deployment, DeploymentRequest, Page, Project};

/// Which deployments to list.
#[derive(Clone, Debug, Default)]
pub struct DeploymentFilter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those that this hook asked for.
    pub hook: Option<HookId>,
    /// Only those of this branch.
    pub branch: Option<BranchName>,
    /// Only those that were made before this time.
    pub until: Option<DateTime<Utc>>,
}

/// A deployment that is about to be stored.
pub(super) struct NewDeployment {
    pub id: String,
    pub team_id: String,
    pub project_id: String,
    pub hook: Option<(String, String)>,
    pub branch: String,
    pub use_cache: bool,
    pub trigger_count: u32,
    pub title: String,
    pub body: Vec<u8>,
    pub wanted_commit: Option<String>,
    pub created_at: DateTime<Utc>,
    pub waiting_since: DateTime<Utc>,
    pub not_before: DateTime<Utc>,
}

impl NewDeployment {
    /// Returns the row of it, in its first state.
    pub fn row(self) -> deployment::Model {
        let (hook_id, hook_name) = self.hook.map_or((None, String::new()), |(id, name)| (Some(id), name));
        deployment::Model {
            id: self.id,
            team_id: self.team_id,
            project_id: self.project_id,
            hook_id,
            hook_name,
            branch: self.branch,
            commit_hash: None,
            commit_message: String::new(),
            state: State::Pending.to_string(),
            revision: 1,
            attempt: 0,
            resolve_attempts: 0,
            lease_owner: None,
            lease_expires_at: None,
            not_before: self.not_before,
            use_cache: self.use_cache,
            trigger_count: i32::try_from(self.trigger_count).unwrap_or(i32::MAX),
            cancel_requested: None,
            canceled: None,
            failure: None,
            artifact_files: None,
            artifact_bytes: None,
            last_position: 1,
            created_at: self.created_at,
            queued_at: None,
            building_at: None,
            finished_at: None,
            waiting_since: Some(self.waiting_since),
            title: Some(self.title).filter(|title| !title.is_empty()),
            body: Some(self.body).filter(|body| !body.is_empty()),
            wanted_commit: self.wanted_commit,
            executor: None,
            log_removed_at: None,
            log_emptied: false,
            artifact_removed_at: None,
            deleted_at: None,
        }
    }
}

impl Store {
    /// Stores a deployment that no hook asked for.
    ///
    /// # Errors
    /// The database fails.
    pub async fn create_deployment(
        &self,
        project: &Project,
        asked: DeploymentRequest,
        id: DeploymentId,
        now: DateTime<Utc>,
    ) -> Result<Deployment, StoreError> {
        let transaction = self.begin().await?;
        let new = NewDeployment {
            id: id.to_string(),
            team_id: project.team_id.to_string(),
            project_id: project.id.to_string(),
            hook: None,
            branch: asked.branch.as_ref().unwrap_or(&project.production_branch).to_string(),
            use_cache: asked.build_cache,
            trigger_count: 1,
            title: asked.title,
            body: Vec::new(),
            wanted_commit: asked.commit,
            created_at: now,
            waiting_since: now,
            not_before: now,
        };
        let row = new.row();
        let event = transitions::first_event(&row)?;
        transitions::insert_all(&transaction, std::slice::from_ref(&row), &[event]).await?;
        let deployment = rows::deployment(row, false)?;
        self.commit(transaction, Rings::changed(vec![id])).await?;
        Ok(deployment)
    }

    /// Reads a deployment of a team.
    ///
    /// # Errors
    /// There is none.
    pub async fn deployment(&self, team: TeamId, id: DeploymentId) -> Result<Deployment, StoreError> {
        let row = deployment::Entity::find_by_id(id.to_string())
            .filter(deployment::Column::TeamId.eq(team.to_string()))
            .filter(visible())
            .one(&self.reader)
            .await?;
        let found = with_promotion(&self.reader, row.into_iter().collect()).await?;
        found.into_iter().next().ok_or(StoreError::NotFound)
    }

    /// Reads a deployment of whichever team. The caller has made sure that it may be seen.
    ///
    /// # Errors
    /// There is none.
    pub async fn any_deployment(&self, id: DeploymentId) -> Result<Deployment, StoreError> {
        let row = deployment::Entity::find_by_id(id.to_string()).filter(visible()).one(&self.reader).await?;
        rows::deployment(row.ok_or(StoreError::NotFound)?, false)
    }

    /// Returns the position of the last event of a deployment's history so far, and whether it has ended. One that is not there has
    /// ended. All events up to the position can be read by then: they are stored with it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn end_of_history(&self, id: DeploymentId) -> Result<(u64, bool), StoreError> {
        use deployment::Column::{FinishedAt, LastPosition};
        let row: Option<(i64, Option<DateTime<Utc>>)> = deployment::Entity::find_by_id(id.to_string())
            .select_only()
            .columns([LastPosition, FinishedAt])
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(row.map_or((0, true), |(last, at)| (u64::try_from(last).unwrap_or_default(), at.is_some())))
    }

    /// Lists a team's deployments, or those of one of its projects.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_deployments(
        &self,
        team: TeamId,
        project: Option<ProjectId>,
        filter: &DeploymentFilter,
        after: Option<DeploymentId>,
        limit: u64,
    ) -> Result<Page<Deployment>, StoreError> {
        let query = lists::filtered_deployments(team, project, filter, after).limit(limit + 1);
        let mut found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page { items: with_promotion(&self.reader, found).await?, more })
    }

    /// Reads the newest deployment of each of these projects that has one, in no order.
    ///
    /// # Errors
    /// The database fails.
    pub async fn newest_deployments(
        &self,
        team: TeamId,
        projects: &[ProjectId],
    ) -> Result<Vec<Deployment>, StoreError> {
        let found = lists::newest_deployments(team, projects).all(&self.reader).await?;
        with_promotion(&self.reader, found).await
    }
}

/// Tells for all these deployments, with one query, whether their branches' addresses serve them.
pub(super) async fn with_promotion(
    database: &impl ConnectionTrait,
    found: Vec<deployment::Model>,
) -> Result<Vec<Deployment>, StoreError> {
    let ids = found.iter().map(|row| row.id.clone());
    let promoted: HashSet<String> = branch_address::Entity::find()
        .filter(branch_address::Column::DeploymentId.is_in(ids))
        .all(database)
        .await?
        .into_iter()
        .map(|address| address.deployment_id)
        .collect();
    found
        .into_iter()
        .map(|row| {
            let promoted = promoted.contains(&row.id);
            rows::deployment(row, promoted)
        })
        .collect()
}
