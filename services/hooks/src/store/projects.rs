//! Projects.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::CancelReason,
    id::{ProjectId, TeamId},
    name::ProjectName,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};

use super::{
    Store, StoreError,
    again::again,
    entity::{deployment, hook, project},
    lists,
    notices::Rings,
    rows,
};
use crate::model::{Page, Project};

/// How a caller names a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectRef {
    /// By its id.
    Id(ProjectId),
    /// By its name.
    Name(ProjectName),
}

/// Which projects to list.
#[derive(Clone, Debug, Default)]
pub struct ProjectFilter {
    /// Only those whose names contain this; empty is all.
    pub search: String,
    /// Only those that were made before this time.
    pub until: Option<DateTime<Utc>>,
}

impl Store {
    /// Stores a new project.
    ///
    /// # Errors
    /// Another project has the name.
    pub async fn create_project(&self, project: &Project) -> Result<(), StoreError> {
        let row = project::ActiveModel {
            team_id: Set(project.team_id.to_string()),
            created_at: Set(project.created_at),
            deleted_at: Set(None),
            ..changed(project)?
        };
        project::Entity::insert(row)
            .exec_without_returning(&self.writer)
            .await
            .map_err(StoreError::name_taken)?;
        Ok(())
    }

    /// Reads a project of a team.
    ///
    /// # Errors
    /// There is none.
    pub async fn project(&self, team: TeamId, wanted: &ProjectRef) -> Result<Project, StoreError> {
        let named = match wanted {
            ProjectRef::Id(id) => project::Column::Id.eq(id.to_string()),
            ProjectRef::Name(name) => project::Column::Name.eq(name.as_str()),
        };
        let row = project::Entity::find().filter(live_of(team)).filter(named).one(&self.reader).await?;
        rows::project(&row.ok_or(StoreError::NotFound)?)
    }

    /// Lists a team's projects.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_projects(
        &self,
        team: TeamId,
        filter: &ProjectFilter,
        after: Option<ProjectId>,
        limit: u64,
    ) -> Result<Page<Project>, StoreError> {
        let mut query =
            project::Entity::find().filter(live_of(team)).order_by_desc(project::Column::Id).limit(limit + 1);
        if !filter.search.is_empty() {
            query = query.filter(lists::named_like(&filter.search));
        }
        if let Some(until) = filter.until {
            query = query.filter(project::Column::CreatedAt.lt(until));
        }
        if let Some(after) = after {
            query = query.filter(project::Column::Id.lt(after.to_string()));
        }
        let found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        let items = found.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(rows::project);
        Ok(Page { items: items.collect::<Result<_, _>>()?, more })
    }

    /// Stores what was changed of a project.
    ///
    /// # Errors
    /// It is gone, or another project has the name.
    pub async fn update_project(&self, project: &Project) -> Result<(), StoreError> {
        let updated = project::Entity::update_many()
            .set(changed(project)?)
            .filter(live_of(project.team_id))
            .filter(project::Column::Id.eq(project.id.to_string()))
            .exec(&self.writer)
            .await
            .map_err(StoreError::name_taken)?;
        if updated.rows_affected == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }

    /// Deletes a project: its hooks are revoked, its endpoints deleted, its waiting deployments end, and those that run are
    /// asked to.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_project(
        &self,
        team: TeamId,
        id: ProjectId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        again(|| self.delete(team, id, now)).await
    }

    async fn delete(&self, team: TeamId, id: ProjectId, now: DateTime<Utc>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let deleted = project::Entity::update_many()
            .col_expr(project::Column::DeletedAt, Expr::value(now))
            .filter(live_of(team))
            .filter(project::Column::Id.eq(id.to_string()))
            .exec(&transaction)
            .await?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::NotFound);
        }
        hook::Entity::update_many()
            .col_expr(hook::Column::RevokedAt, Expr::value(now))
            .filter(hook::Column::ProjectId.eq(id.to_string()))
            .filter(hook::Column::RevokedAt.is_null())
            .exec(&transaction)
            .await?;
        let unfinished = Condition::all()
            .add(deployment::Column::ProjectId.eq(id.to_string()))
            .add(deployment::Column::FinishedAt.is_null());
        let ended =
            super::transitions::cancel_all(&transaction, unfinished, CancelReason::ProjectDeleted, now)
                .await?;
        super::variables::remove_all(&transaction, id).await?;
        super::credentials::remove_all(&transaction, id).await?;
        super::endpoints::delete_of_project(&transaction, id).await?;
        self.commit(transaction, Rings::changed(ended)).await?;
        self.wakeups.retention();
        Ok(())
    }
}

fn live_of(team: TeamId) -> Condition {
    Condition::all()
        .add(project::Column::TeamId.eq(team.to_string()))
        .add(project::Column::DeletedAt.is_null())
}

fn changed(project: &Project) -> Result<project::ActiveModel, StoreError> {
    Ok(project::ActiveModel {
        id: Set(project.id.to_string()),
        name: Set(project.name.to_string()),
        repository_url: Set(project.repository.to_string()),
        production_branch: Set(project.production_branch.to_string()),
        settings: Set(rows::to_json(&project.settings)?),
        updated_at: Set(project.updated_at),
        ..Default::default()
    })
}
