//! Which deployment an address serves.

use grapnel_domain::{deployment::State, id::DeploymentId, name::ProjectName};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::{
    Store, StoreError,
    entity::{branch_address, deployment, project},
};

impl Store {
    /// Tells whether a deployment is READY.
    ///
    /// # Errors
    /// There is no such deployment, it is not READY, or its artifact was removed.
    pub async fn ready_deployment(&self, id: DeploymentId) -> Result<DeploymentId, StoreError> {
        let row = deployment::Entity::find_by_id(id.to_string())
            .filter(deployment::Column::State.eq(State::Ready.as_str()))
            .one(&self.reader)
            .await?;
        match row {
            Some(row) if row.artifact_removed_at.is_some() => Err(StoreError::ArtifactRemoved),
            Some(_) => Ok(id),
            None => Err(StoreError::NotFound),
        }
    }

    /// Finds the deployment that a project's address serves: the newest of its production branch that was promoted.
    ///
    /// # Errors
    /// There is no such project, or nothing was promoted yet.
    pub async fn promoted_deployment(&self, name: &ProjectName) -> Result<DeploymentId, StoreError> {
        let project = project::Entity::find()
            .filter(project::Column::Name.eq(name.as_str()))
            .filter(project::Column::DeletedAt.is_null())
            .one(&self.reader)
            .await?
            .ok_or(StoreError::NotFound)?;
        let address = branch_address::Entity::find_by_id((project.id, project.production_branch))
            .one(&self.reader)
            .await?
            .ok_or(StoreError::NotFound)?;
        address
            .deployment_id
            .parse()
            .map_err(|_| StoreError::Row { table: "branch_address", what: address.deployment_id })
    }
}
