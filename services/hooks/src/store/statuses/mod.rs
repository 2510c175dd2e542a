//! What is to be told to git hosts: written in the transaction in which the state changes, told later.

mod outbox;
mod settings;

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    commit_status::{Report, ReportState, context},
    deployment::{CancelReason, State},
    id::{DeploymentId, StatusId},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    sea_query::{Alias, Expr, ExprTrait as _, Query, SimpleExpr},
};

use super::{
    Store, StoreError,
    entity::{commit_status, project},
    rows,
};
use crate::model::{CommitStatus, Deployment};

pub use outbox::{Next, NotTold};
pub use settings::{GivenToken, NewStatusSetting, setting_owner};

impl Store {
    /// Reads how it stands with what is told of a deployment; `None` where nothing is. The caller has made sure that the
    /// deployment may be seen.
    ///
    /// # Errors
    /// The database fails.
    pub async fn commit_status(&self, id: DeploymentId) -> Result<Option<CommitStatus>, StoreError> {
        let Some(row) = of_deployment(&self.reader, id).await? else {
            return Ok(None);
        };
        let newest = commit_status::Entity::find_by_id(&row.id).filter(is_newest()).one(&self.reader).await?;
        rows::commit_status(row, newest.is_none()).map(Some)
    }
}

/// Writes down what is to be told of a deployment that has just changed. Where nothing new is to be told, or nothing at
/// all of its project, nothing is written.
pub(super) async fn record(
    transaction: &DatabaseTransaction,
    deployment: &Deployment,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let Some(commit) = &deployment.commit else {
        return Ok(());
    };
    let known = of_deployment(transaction, deployment.id).await?;
    match (known, report(deployment)) {
        (Some(row), Some(report)) => change(transaction, &row, &report, now).await,
        (Some(row), None) => superseded(transaction, &row, deployment.canceled, now).await,
        // Nobody has heard of it, so nobody has to hear that it came to nothing.
        (None, Some(_)) if deployment.state == State::Canceled => Ok(()),
        (None, Some(report)) => insert(transaction, deployment, commit, report, now).await,
        (None, None) => Ok(()),
    }
}

async fn of_deployment(
    database: &impl ConnectionTrait,
    id: DeploymentId,
) -> Result<Option<commit_status::Model>, StoreError> {
    let found = commit_status::Entity::find().filter(commit_status::Column::DeploymentId.eq(id.to_string()));
    Ok(found.one(database).await?)
}

/// Leaves the word to the deployment that took another's place. Where it speaks under another name, since its hook was
/// renamed, or not at all, what was begun under the old one is ended.
async fn superseded(
    transaction: &DatabaseTransaction,
    row: &commit_status::Model,
    canceled: Option<CancelReason>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let Some(CancelReason::Superseded { by }) = canceled else {
        return Ok(());
    };
    let successor = of_deployment(transaction, by).await?;
    if successor.is_some_and(|successor| successor.context == row.context) {
        return Ok(());
    }
    let description = "Nothing was deployed: a newer deployment took its place".to_owned();
    change(transaction, row, &Report { state: ReportState::Success, description }, now).await
}

fn report(deployment: &Deployment) -> Option<Report> {
    let took: Option<Duration> = match (deployment.building_at, deployment.finished_at) {
        (Some(begun), Some(ended)) => (ended - begun).to_std().ok(),
        _ => None,
    };
    let Deployment { state, attempt, failure, canceled, .. } = deployment;
    Report::of(*state, *attempt, took, failure.as_ref(), *canceled)
}

async fn change(
    transaction: &DatabaseTransaction,
    row: &commit_status::Model,
    report: &Report,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if row.state == report.state.as_str() && row.description == report.description {
        return Ok(());
    }
    let change = commit_status::ActiveModel {
        state: Set(report.state.to_string()),
        description: Set(report.description.clone()),
        tries: Set(0),
        next_try_at: Set(Some(now)),
        repeating: Set(false),
        last_error: Set(String::new()),
        gave_up_at: Set(None),
        wanted_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    commit_status::Entity::update_many()
        .set(change)
        .col_expr(commit_status::Column::Revision, Expr::col(commit_status::Column::Revision).add(1))
        .filter(commit_status::Column::Id.eq(&row.id))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn insert(
    transaction: &DatabaseTransaction,
    deployment: &Deployment,
    commit: &str,
    report: Report,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = project::Entity::find_by_id(deployment.project_id.to_string()).one(transaction).await?;
    let row = row.ok_or(StoreError::NotFound)?;
    if settings::plan(transaction, &row).await?.silence().is_some() {
        return Ok(());
    }
    let project = rows::project(&row)?;
    let row = commit_status::Model {
        id: status_id(deployment.id).to_string(),
        deployment_id: deployment.id.to_string(),
        project_id: project.id.to_string(),
        commit_hash: commit.to_owned(),
        context: context(&project.name, deployment.hook.as_ref().map(|(_, name)| name)),
        state: report.state.to_string(),
        description: report.description,
        revision: 1,
        delivered_revision: 0,
        tries: 0,
        next_try_at: Some(now),
        lease_owner: None,
        lease_expires_at: None,
        ambiguous: false,
        repeating: false,
        last_error: String::new(),
        gave_up_at: None,
        delivered_at: None,
        wanted_at: now,
        updated_at: now,
    };
    commit_status::Entity::insert(commit_status::ActiveModel::from(row))
        .exec_without_returning(transaction)
        .await?;
    Ok(())
}

/// Returns the id of what is told of a deployment: there is one, and it sorts as the deployment does.
fn status_id(deployment: DeploymentId) -> StatusId {
    StatusId::from_uuid(deployment.uuid())
}

/// Says of a status that no newer deployment of its lane has one.
fn is_newest() -> Condition {
    let other = Alias::new("newer");
    let newer = in_lane(&other)
        .and_where(
            Expr::col((other.clone(), commit_status::Column::Id))
                .gt(SimpleExpr::from(Expr::col((commit_status::Entity, commit_status::Column::Id)))),
        )
        .to_owned();
    Condition::all().add(Expr::exists(newer).not())
}

/// Selects the statuses of the lane that the outer query's status is in.
fn in_lane(other: &Alias) -> sea_orm::sea_query::SelectStatement {
    use commit_status::Column::{CommitHash, Context, ProjectId};
    let same = |column: commit_status::Column| {
        Expr::col((other.clone(), column)).eq(SimpleExpr::from(Expr::col((commit_status::Entity, column))))
    };
    Query::select()
        .expr(Expr::val(1))
        .from_as(commit_status::Entity, other.clone())
        .and_where(same(ProjectId))
        .and_where(same(CommitHash))
        .and_where(same(Context))
        .to_owned()
}
