//! Environment variables of projects.

use grapnel_domain::{
    id::{ProjectId, TeamId},
    variable::{BranchPattern, VALUES_LIMIT, VARIABLES_LIMIT, VariableName},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel as _, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::{
    Store, StoreError,
    entity::{project, variable},
    rows, sealed,
};
use crate::model::{Kept, Variable};

impl Store {
    /// Stores variables of a team's project, all or none. One of the same name for the same branches gets the new value
    /// and keeps when it was made.
    ///
    /// # Errors
    /// The project is gone, it would have too many variables, or their values would be too long together.
    pub async fn set_variables(
        &self,
        team: TeamId,
        project: ProjectId,
        new: &[Variable],
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // The project's row is the lock that makes counting and inserting one thing.
        let found = project::Entity::find_by_id(project.to_string())
            .filter(project::Column::DeletedAt.is_null())
            .filter(project::Column::TeamId.eq(team.to_string()))
            .lock_exclusive()
            .one(&transaction)
            .await?;
        found.ok_or(StoreError::NotFound)?;
        for variable in new {
            put(&transaction, team, project, variable).await?;
        }
        within_limits(&all(&transaction, team, project).await?)?;
        transaction.commit().await?;
        Ok(())
    }

    /// Reads a team's project's variables by name, then by branches.
    ///
    /// # Errors
    /// The database fails.
    pub async fn variables(&self, team: TeamId, project: ProjectId) -> Result<Vec<Variable>, StoreError> {
        all(&self.reader, team, project).await
    }

    /// Removes a variable of a team's project.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_variable(
        &self,
        team: TeamId,
        project: ProjectId,
        name: &VariableName,
        branches: &BranchPattern,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let row = named(&transaction, project, name, branches).await?;
        let row = row.filter(|row| row.team_id == team.to_string()).ok_or(StoreError::NotFound)?;
        sealed::remove(&transaction, [row.id.clone()]).await?;
        variable::Entity::delete_by_id(row.id).exec(&transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Removes all variables of a project.
pub(super) async fn remove_all(
    transaction: &DatabaseTransaction,
    project: ProjectId,
) -> Result<(), StoreError> {
    let rows = variable::Entity::find()
        .filter(variable::Column::ProjectId.eq(project.to_string()))
        .all(transaction)
        .await?;
    sealed::remove(transaction, rows.into_iter().map(|row| row.id)).await?;
    variable::Entity::delete_many()
        .filter(variable::Column::ProjectId.eq(project.to_string()))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn put(
    transaction: &DatabaseTransaction,
    team: TeamId,
    project: ProjectId,
    variable: &Variable,
) -> Result<(), StoreError> {
    let id = variable.id.to_string();
    let mut created_at = variable.created_at;
    if let Some(before) = named(transaction, project, &variable.name, &variable.branches).await? {
        created_at = before.created_at;
        sealed::remove(transaction, [before.id.clone()]).await?;
        variable::Entity::delete_by_id(before.id).exec(transaction).await?;
    }
    let value = match &variable.value {
        Kept::Plain(value) => Some(value.clone()),
        Kept::Sealed(_) => None,
    };
    let row = variable::Model {
        id: id.clone(),
        team_id: team.to_string(),
        project_id: project.to_string(),
        name: variable.name.to_string(),
        branches: variable.branches.as_str().to_owned(),
        secret: value.is_none(),
        value,
        created_at,
        updated_at: variable.updated_at,
    };
    variable::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;
    match &variable.value {
        Kept::Sealed(value) => sealed::put(transaction, &id, value).await,
        Kept::Plain(_) => Ok(()),
    }
}

async fn named(
    database: &impl ConnectionTrait,
    project: ProjectId,
    name: &VariableName,
    branches: &BranchPattern,
) -> Result<Option<variable::Model>, StoreError> {
    let found = variable::Entity::find()
        .filter(variable::Column::ProjectId.eq(project.to_string()))
        .filter(variable::Column::Name.eq(name.as_str()))
        .filter(variable::Column::Branches.eq(branches.as_str()))
        .one(database)
        .await?;
    Ok(found)
}

async fn all(
    database: &impl ConnectionTrait,
    team: TeamId,
    project: ProjectId,
) -> Result<Vec<Variable>, StoreError> {
    let found = variable::Entity::find()
        .filter(variable::Column::TeamId.eq(team.to_string()))
        .filter(variable::Column::ProjectId.eq(project.to_string()))
        .order_by_asc(variable::Column::Name)
        .order_by_asc(variable::Column::Branches)
        .all(database)
        .await?;
    let secret = found.iter().filter(|row| row.secret).map(|row| row.id.clone()).collect::<Vec<_>>();
    let mut sealed = sealed::of(database, secret).await?;
    found
        .into_iter()
        .map(|row| {
            let value = sealed.remove(&row.id);
            rows::variable(row, value)
        })
        .collect()
}

fn within_limits(variables: &[Variable]) -> Result<(), StoreError> {
    if variables.len() > VARIABLES_LIMIT {
        return Err(StoreError::TooManyVariables);
    }
    let bytes: usize = variables.iter().map(|variable| variable.value.bytes()).sum();
    if bytes > VALUES_LIMIT { Err(StoreError::ValuesTooLong) } else { Ok(()) }
}
