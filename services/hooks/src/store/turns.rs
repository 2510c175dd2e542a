//! Whose turn it is, and on which executor a build would best run.

use grapnel_domain::deployment::State;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, JoinType, QueryFilter, QuerySelect,
    sea_query::{Alias, Expr, ExprTrait as _, Func, Order, Query, WindowStatement},
};

use super::{
    StoreError,
    entity::{branch_address, deployment, project},
};

/// The executors that a build would rather run on, or not, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The best first: where its attempt may have begun already, then where its cache is.
    pub prefer: Vec<String>,
    /// Where its last attempt was lost.
    pub avoid: Option<String>,
}

/// Finds deployments in fair turns, and returns their ids. Nothing is locked: whoever takes one looks at it again.
///
/// Each project's first one comes before any project's second one, those that are being built counted; within a turn the
/// oldest comes first. So a project with a thousand of them is built by whatever slots the others leave, and holds up
/// nobody.
pub async fn in_turn(
    database: &impl ConnectionTrait,
    eligible: Condition,
    limit: u64,
) -> Result<Vec<String>, DbErr> {
    let own = |column: deployment::Column| Expr::col((deployment::Entity, column));
    let (places, busy) = (Alias::new("places"), Alias::new("busy"));
    let window = WindowStatement::partition_by((deployment::Entity, deployment::Column::ProjectId))
        .order_by((deployment::Entity, deployment::Column::Id), Order::Asc)
        .take();
    let numbered = Query::select()
        .expr_as(own(deployment::Column::Id), Alias::new("id"))
        .expr_as(own(deployment::Column::ProjectId), Alias::new("project_id"))
        .expr_window_as(Func::cust(Alias::new("ROW_NUMBER")), window, Alias::new("place"))
        .from(deployment::Entity)
        .cond_where(eligible)
        .to_owned();
    let running = Query::select()
        .column(deployment::Column::ProjectId)
        .expr_as(Expr::col(deployment::Column::Id).count(), Alias::new("running"))
        .from(deployment::Entity)
        .and_where(deployment::Column::State.eq(State::Building.as_str()))
        .and_where(deployment::Column::FinishedAt.is_null())
        .group_by_col(deployment::Column::ProjectId)
        .to_owned();
    let place = |name: &'static str| Expr::col((places.clone(), Alias::new(name)));
    let count = Func::coalesce([Expr::col((busy.clone(), Alias::new("running"))), Expr::value(0)]);
    let turns = Query::select()
        .expr(place("id"))
        .from_subquery(numbered, places.clone())
        .join_subquery(
            JoinType::LeftJoin,
            running,
            busy.clone(),
            Expr::col((busy, deployment::Column::ProjectId)).eq(place("project_id")),
        )
        .order_by_expr(place("place").add(count), Order::Asc)
        .order_by_expr(place("id"), Order::Asc)
        .limit(limit)
        .to_owned();
    database.query_all(&turns).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Finds out where a deployment would best be built: a branch's cache is where what its address serves was built, and a
/// branch that has none begins with the production branch's.
pub async fn affinity(
    database: &impl ConnectionTrait,
    row: &deployment::Model,
    project: &project::Model,
) -> Result<Affinity, StoreError> {
    let served: Vec<(String, Option<String>)> = branch_address::Entity::find()
        .select_only()
        .column(branch_address::Column::Branch)
        .column(deployment::Column::Executor)
        .join(
            JoinType::InnerJoin,
            branch_address::Entity::belongs_to(deployment::Entity)
                .from(branch_address::Column::DeploymentId)
                .to(deployment::Column::Id)
                .into(),
        )
        .filter(branch_address::Column::ProjectId.eq(&row.project_id))
        .filter(branch_address::Column::Branch.is_in([&row.branch, &project.production_branch]))
        .into_tuple()
        .all(database)
        .await?;
    let built = |branch: &str| {
        let found = served.iter().find(|(served, _)| served == branch);
        found.and_then(|(_, executor)| executor.clone())
    };
    let begun = row.executor.clone().filter(|_| row.attempt == 0 || row.state == State::Building.as_str());
    let avoid = row.executor.clone().filter(|_| begun.is_none());
    let mut prefer: Vec<_> =
        [begun, built(&row.branch), built(&project.production_branch)].into_iter().flatten().collect();
    prefer.dedup();
    prefer.retain(|name| Some(name) != avoid.as_ref());
    Ok(Affinity { prefer, avoid })
}
