//! Which deployment a site's host name leads to.

use grapnel_domain::{
    BranchName,
    deployment::State,
    id::DeploymentId,
    name::ProjectName,
    site::{BranchHash, branch_label},
};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter};

use super::{
    Store, StoreError,
    entity::{branch_address, deployment, project},
    rows,
};

impl Store {
    /// Tells whether a deployment is READY.
    ///
    /// # Errors
    /// There is no such deployment, it is not READY, or it or its artifact was removed.
    pub async fn ready_deployment(&self, id: DeploymentId) -> Result<DeploymentId, StoreError> {
        let there = Condition::any()
            .add(deployment::Column::State.eq(State::Ready.as_str()))
            .add(deployment::Column::DeletedAt.is_not_null());
        let row = deployment::Entity::find_by_id(id.to_string()).filter(there).one(&self.reader).await?;
        match row {
            Some(row) if row.artifact_removed_at.is_some() || row.deleted_at.is_some() => {
                Err(StoreError::ArtifactRemoved)
            }
            Some(_) => Ok(id),
            None => Err(StoreError::NotFound),
        }
    }

    /// Finds the deployment that a branch's address serves; no branch is the project's production branch.
    ///
    /// # Errors
    /// There is no such project, or nothing of the branch was promoted yet.
    pub async fn served_deployment(
        &self,
        project: &ProjectName,
        branch: Option<&BranchName>,
    ) -> Result<DeploymentId, StoreError> {
        let project = self.project_of_site(project).await?;
        let branch = branch.map_or(project.production_branch, ToString::to_string);
        let address = branch_address::Entity::find_by_id((project.id, branch)).one(&self.reader).await?;
        rows::parse("branch_address", &address.ok_or(StoreError::NotFound)?.deployment_id)
    }

    /// Finds the deployment that the address of a branch with this hash serves, where `label` is that branch's.
    ///
    /// # Errors
    /// There is no such project, or nothing of such a branch was promoted yet.
    pub async fn served_deployment_by_hash(
        &self,
        project: &ProjectName,
        hash: &BranchHash,
        label: &str,
    ) -> Result<DeploymentId, StoreError> {
        let row = self.project_of_site(project).await?;
        let found = branch_address::Entity::find()
            .filter(branch_address::Column::ProjectId.eq(row.id))
            .filter(branch_address::Column::BranchHash.eq(hash.as_str()))
            .all(&self.reader)
            .await?;
        for address in found.iter().map(rows::address) {
            let address = address?;
            if branch_label(project, &address.branch) == label {
                return Ok(address.deployment);
            }
        }
        Err(StoreError::NotFound)
    }

    async fn project_of_site(&self, name: &ProjectName) -> Result<project::Model, StoreError> {
        let project = project::Entity::find()
            .filter(project::Column::Name.eq(name.as_str()))
            .filter(project::Column::DeletedAt.is_null())
            .one(&self.reader)
            .await?;
        project.ok_or(StoreError::NotFound)
    }
}
