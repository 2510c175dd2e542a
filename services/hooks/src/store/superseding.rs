//! Deployments of one hook that take each other's place, as the domain's rules say.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::{CancelReason, State},
    id::DeploymentId,
    trigger::{Fate, Waiting, when_resolved},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Alias, Expr, ExprTrait as _, Query, SimpleExpr},
};

use super::{
    StoreError,
    entity::{deployment, hook},
    rows, transitions,
};
use crate::model::Deployment;

/// A deployment's id, as no index has it: what of a hook has not ended is found by the index of that, and not by one of all that
/// the hook has ever had.
pub(super) fn id_of_few() -> SimpleExpr {
    Expr::col(deployment::Column::Id).if_null("")
}

/// Ends what a deployment takes the place of that was resolved just now, and returns their ids.
pub(super) async fn supersede_same_version(
    transaction: &DatabaseTransaction,
    resolved: &Deployment,
    commit: &str,
    now: DateTime<Utc>,
) -> Result<Vec<DeploymentId>, StoreError> {
    let Some((hook, _)) = &resolved.hook else {
        return Ok(Vec::new());
    };
    let hook = hook.to_string();
    let waiting = match hook::Entity::find_by_id(&hook).one(transaction).await? {
        Some(row) => rows::hook(&row, Vec::new())?.waiting,
        None => Waiting::default(),
    };
    let older = deployment::Entity::find()
        .filter(deployment::Column::HookId.eq(&hook))
        .filter(deployment::Column::CommitHash.eq(commit))
        .filter(deployment::Column::FinishedAt.is_null())
        .filter(id_of_few().lt(resolved.id.to_string()))
        .order_by_desc(id_of_few())
        .lock_exclusive()
        .all(transaction)
        .await?;
    let (mut since, mut count, mut ended) = (resolved.waiting_since, resolved.trigger_count, Vec::new());
    for row in older {
        let older = rows::deployment(row.clone(), false)?;
        if when_resolved(&older.unfinished(), resolved.id, commit, waiting, now) != Fate::Superseded {
            continue;
        }
        since = std::cmp::min(since, older.waiting_since);
        // One that was asked to end before has handed its triggers over already.
        if older.cancel_requested.is_none() {
            count += older.trigger_count;
        }
        transitions::cancel(transaction, row, CancelReason::Superseded { by: resolved.id }, now).await?;
        ended.push(older.id);
    }
    if !ended.is_empty() {
        let change = deployment::ActiveModel {
            id: Set(resolved.id.to_string()),
            waiting_since: Set(Some(since)),
            trigger_count: Set(i32::try_from(count).unwrap_or(i32::MAX)),
            ..Default::default()
        };
        deployment::Entity::update(change).exec(transaction).await?;
    }
    Ok(ended)
}

/// Hands the triggers of a deployment over to the newer one of the same hook and version that has not ended, if there is
/// one, and returns its id.
pub(super) async fn hand_over(
    transaction: &DatabaseTransaction,
    row: &deployment::Model,
) -> Result<Option<DeploymentId>, StoreError> {
    let (Some(hook), Some(commit)) = (&row.hook_id, &row.commit_hash) else {
        return Ok(None);
    };
    let newer = deployment::Entity::find()
        .filter(deployment::Column::HookId.eq(hook))
        .filter(deployment::Column::CommitHash.eq(commit))
        .filter(deployment::Column::FinishedAt.is_null())
        .filter(id_of_few().gt(row.id.as_str()))
        .order_by_asc(id_of_few())
        .lock_exclusive()
        .one(transaction)
        .await?;
    let Some(newer) = newer else {
        return Ok(None);
    };
    let since = |row: &deployment::Model| row.waiting_since.unwrap_or(row.created_at);
    let change = deployment::ActiveModel {
        id: Set(newer.id.clone()),
        trigger_count: Set(newer.trigger_count + row.trigger_count),
        waiting_since: Set(Some(std::cmp::min(since(&newer), since(row)))),
        ..Default::default()
    };
    let newer = deployment::Entity::update(change).exec(transaction).await?;
    Ok(Some(rows::deployment(newer, false)?.id))
}

/// Says of a QUEUED deployment that no build of its hook and version runs that is let finish first.
pub(super) fn may_start() -> Condition {
    let older = Alias::new("older");
    let of = |column: deployment::Column| Expr::col((older.clone(), column));
    let own = |column: deployment::Column| SimpleExpr::from(Expr::col((deployment::Entity, column)));
    let running = Query::select()
        .expr(Expr::val(1))
        .from_as(deployment::Entity, older.clone())
        .and_where(of(deployment::Column::HookId).eq(own(deployment::Column::HookId)))
        .and_where(of(deployment::Column::CommitHash).eq(own(deployment::Column::CommitHash)))
        .and_where(of(deployment::Column::State).eq(State::Building.as_str()))
        .and_where(of(deployment::Column::FinishedAt).is_null())
        .and_where(of(deployment::Column::CancelRequested).is_null())
        .and_where(of(deployment::Column::Id).lt(own(deployment::Column::Id)))
        .to_owned();
    Condition::all().add(Expr::exists(running).not())
}
