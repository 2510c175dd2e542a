//! Deployments that somebody deletes: marked here, and ended first where they go on. Log, artifact and, in the end, the row
//! itself go afterwards, with what is old ([`super::retention`]).

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::CancelReason,
    id::{DeploymentId, TeamId},
};
use grapnel_runtime::crash_point;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait};

use super::{
    Store, StoreError,
    again::again,
    entity::deployment,
    notices::Rings,
    retention::served_among,
    transitions::{CancelResult, cancel, locked},
};

impl Store {
    /// Deletes a team's deployment. Nobody finds it any more from now on, or from its end on where it runs. Deleting it again
    /// changes nothing.
    ///
    /// # Errors
    /// There is none, or an address serves it.
    pub async fn delete_deployment(
        &self,
        team: TeamId,
        id: DeploymentId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        again(|| self.mark_deleted(team, id, now)).await
    }

    async fn mark_deleted(
        &self,
        team: TeamId,
        id: DeploymentId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // Nobody lets an address serve it while it is locked, nor once it is marked.
        let row = locked(&transaction, id).await?;
        if row.team_id != team.to_string() {
            return Err(StoreError::NotFound);
        }
        if row.deleted_at.is_some() {
            return Ok(());
        }
        if !served_among(&transaction, std::slice::from_ref(&row.id)).await?.is_empty() {
            return Err(StoreError::Served);
        }
        let ended = cancel(&transaction, row, CancelReason::User, now).await? != CancelResult::Asked;
        let mark = deployment::ActiveModel {
            id: Set(id.to_string()),
            deleted_at: Set(Some(now)),
            // Of one that runs it goes with the end: whoever takes the build over needs it.
            body: if ended { Set(None) } else { Default::default() },
            ..Default::default()
        };
        deployment::Entity::update(mark).exec(&transaction).await?;
        self.commit(transaction, Rings::changed(vec![id])).await?;
        crash_point("store.deleted");
        self.wakeups.retention();
        Ok(())
    }
}

/// Says of deployments that callers find them: they were not deleted, or have not ended yet.
pub(super) fn visible() -> Condition {
    Condition::any()
        .add(deployment::Column::DeletedAt.is_null())
        .add(deployment::Column::FinishedAt.is_null())
}
