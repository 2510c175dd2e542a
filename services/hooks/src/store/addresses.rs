//! Which deployment the address of a branch serves.
//!
//! By itself an address moves to what is newer, and to nothing else. A person moves it to whichever is READY; where that is
//! not the newest, it is held there until the newest is promoted.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::State,
    id::{DeploymentId, TeamId},
    site::BranchHash,
};
use grapnel_runtime::crash_point;
use sea_orm::{
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, PaginatorTrait as _, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};

use super::{
    Store, StoreError,
    again::again,
    entity::{branch_address, deployment, project},
    lists::came_to_its_end,
    notices::Rings,
    rows,
    transitions::locked,
};
use crate::model::{Address, AddressPlace, Deployment, Page, Project, Promoted};

impl Store {
    /// Lists a project's addresses: the production branch's first, the others by when they changed, the latest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_addresses(
        &self,
        project: &Project,
        branch: Option<&str>,
        after: Option<AddressPlace>,
        limit: u64,
    ) -> Result<Page<Address>, StoreError> {
        use branch_address::Column::{Branch, ProjectId, UpdatedAt};
        let production = Branch.eq(project.production_branch.as_str());
        let mut query = branch_address::Entity::find()
            .filter(ProjectId.eq(project.id.to_string()))
            .order_by_desc(production.clone())
            .order_by_desc(UpdatedAt)
            .order_by_asc(Branch)
            .limit(limit + 1);
        if let Some(branch) = branch {
            query = query.filter(Branch.eq(branch));
        }
        if let Some(AddressPlace { updated_at, branch }) = after {
            query = query.filter(production.not());
            if branch != project.production_branch {
                let later = UpdatedAt.eq(updated_at).and(Branch.gt(branch.as_str()));
                query = query.filter(UpdatedAt.lt(updated_at).or(later));
            }
        }
        let mut found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page { items: found.iter().map(rows::address).collect::<Result<_, _>>()?, more })
    }

    /// Lets a deployment's branch's address serve it, whichever it serves, and holds it there unless it is the newest that
    /// could be served.
    ///
    /// # Errors
    /// There is no such deployment, it is not READY, or its artifact was removed.
    pub async fn promote_deployment(
        &self,
        team: TeamId,
        id: DeploymentId,
        now: DateTime<Utc>,
    ) -> Result<Promoted, StoreError> {
        again(|| self.promote(team, id, now)).await
    }

    async fn promote(
        &self,
        team: TeamId,
        id: DeploymentId,
        now: DateTime<Utc>,
    ) -> Result<Promoted, StoreError> {
        let transaction = self.begin().await?;
        // Locked in the order of everybody: the deployment, then the address. Whoever removes artifacts passes over it from now
        // on, and whoever gets READY waits with the address until this is stored.
        let row = locked(&transaction, id).await?;
        let project = project::Entity::find_by_id(&row.project_id)
            .filter(project::Column::DeletedAt.is_null())
            .one(&transaction)
            .await?
            .filter(|project| project.team_id == team.to_string())
            .ok_or(StoreError::NotFound)?;
        let project = rows::project(&project)?;
        servable(&row)?;
        let before = branch_address::Entity::find_by_id((row.project_id.clone(), row.branch.clone()))
            .lock_exclusive()
            .one(&transaction)
            .await?;
        let held = is_followed(&transaction, &row).await?;
        let served = before.as_ref().map(|before| before.deployment_id.clone());
        if let Some(before) = before.filter(|before| before.deployment_id == row.id && before.held == held) {
            let address = rows::address(&before)?;
            return Ok(Promoted { project, address, previous: Some(id) });
        }
        let deployment = rows::deployment(row, true)?;
        let address = address_of(&deployment, held, now);
        branch_address::Entity::insert(branch_address::ActiveModel::from(address.clone()))
            .on_conflict(on_conflict().to_owned())
            .exec_without_returning(&transaction)
            .await?;
        let previous = served.map(|served| rows::parse("branch_address", &served)).transpose()?;
        let changed = [Some(id), previous].into_iter().flatten().collect();
        self.commit(transaction, Rings { deployments: changed, changed: true, ..Rings::default() }).await?;
        crash_point("store.promoted");
        Ok(Promoted { project, address: rows::address(&address)?, previous })
    }
}

/// Lets the branch's address serve a deployment that got READY, if it is not held and serves none that is newer.
pub(super) async fn serve_newer(
    transaction: &DatabaseTransaction,
    deployment: &Deployment,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let row = branch_address::ActiveModel::from(address_of(deployment, false, now));
    // Ids sort by time, so the statement itself never moves an address back.
    let of = |column: branch_address::Column| Expr::col((branch_address::Entity, column));
    let newer = of(branch_address::Column::DeploymentId).lt(deployment.id.to_string());
    let free = of(branch_address::Column::Held).eq(false);
    let moved = branch_address::Entity::insert(row)
        .on_conflict(on_conflict().action_and_where(newer.and(free)).to_owned())
        .exec_without_returning(transaction)
        .await?;
    Ok(moved > 0)
}

/// Says why an address cannot serve a deployment.
fn servable(row: &deployment::Model) -> Result<(), StoreError> {
    match rows::parse("deployment", &row.state)? {
        _ if row.deleted_at.is_some() => Err(StoreError::NotFound),
        State::Ready if row.artifact_removed_at.is_some() => Err(StoreError::ArtifactRemoved),
        State::Ready => Ok(()),
        state => Err(StoreError::NotReady(state)),
    }
}

/// Tells whether the branch has a newer deployment that could be served.
async fn is_followed(transaction: &DatabaseTransaction, row: &deployment::Model) -> Result<bool, StoreError> {
    let newer = Condition::all()
        .add(deployment::Column::ProjectId.eq(&row.project_id))
        .add(deployment::Column::Branch.eq(&row.branch))
        .add(deployment::Column::State.eq(State::Ready.as_str()))
        .add(came_to_its_end())
        .add(deployment::Column::Id.gt(&row.id))
        .add(deployment::Column::DeletedAt.is_null())
        .add(deployment::Column::ArtifactRemovedAt.is_null());
    Ok(deployment::Entity::find().filter(newer).limit(1).count(transaction).await? > 0)
}

fn address_of(deployment: &Deployment, held: bool, now: DateTime<Utc>) -> branch_address::Model {
    branch_address::Model {
        project_id: deployment.project_id.to_string(),
        branch: deployment.branch.to_string(),
        deployment_id: deployment.id.to_string(),
        updated_at: now,
        held,
        branch_hash: BranchHash::of(&deployment.branch).to_string(),
    }
}

/// What is stored of an address that there is already.
fn on_conflict() -> OnConflict {
    use branch_address::Column::{Branch, BranchHash, DeploymentId, Held, ProjectId, UpdatedAt};
    let mut on_conflict = OnConflict::columns([ProjectId, Branch]);
    on_conflict.update_columns([DeploymentId, UpdatedAt, Held, BranchHash]);
    on_conflict
}
