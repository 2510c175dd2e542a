//! Whose turn it is, and on which executor a build would best run.

use grapnel_domain::deployment::State;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QuerySelect,
    sea_query::{
        Alias, Expr, ExprTrait as _, Func, LockBehavior, LockType, Order, Query, SelectStatement,
        WindowStatement,
    },
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

/// Selects deployments in fair turns and locks them; those that somebody else has locked are passed over.
///
/// Each project's first one comes before any project's second one, those that are being built counted; within a turn the
/// oldest comes first. So a project with a thousand of them is built by whatever slots the others leave, and holds up
/// nobody.
pub fn in_turn(eligible: Condition, limit: u64) -> sea_orm::Select<deployment::Entity> {
    let turns = Alias::new("turns");
    let turn = |name: &'static str| Expr::col((turns.clone(), Alias::new(name)));
    let mut select = deployment::Entity::find();
    let query = QuerySelect::query(&mut select);
    query
        .join_subquery(
            JoinType::InnerJoin,
            numbered(eligible.clone()),
            turns.clone(),
            turn("id").eq(Expr::col((deployment::Entity, deployment::Column::Id))),
        )
        .cond_where(eligible)
        .order_by_expr(turn("turn"), Order::Asc)
        .order_by((deployment::Entity, deployment::Column::Id), Order::Asc)
        .limit(limit)
        .lock_with_tables_behavior(LockType::Update, [deployment::Entity], LockBehavior::SkipLocked);
    select
}

/// Numbers what is eligible within its project, on from how many builds of the project run.
fn numbered(eligible: Condition) -> SelectStatement {
    let own = |column: deployment::Column| Expr::col((deployment::Entity, column));
    let busy = Alias::new("busy");
    let number = Func::cust(Alias::new("ROW_NUMBER"));
    let window = WindowStatement::partition_by((deployment::Entity, deployment::Column::ProjectId))
        .order_by((deployment::Entity, deployment::Column::Id), Order::Asc)
        .take();
    let running = Query::select()
        .column(deployment::Column::ProjectId)
        .expr_as(Expr::col(deployment::Column::Id).count(), Alias::new("running"))
        .from(deployment::Entity)
        .and_where(deployment::Column::State.eq(State::Building.as_str()))
        .and_where(deployment::Column::FinishedAt.is_null())
        .group_by_col(deployment::Column::ProjectId)
        .to_owned();
    let places = Query::select()
        .expr_as(own(deployment::Column::Id), Alias::new("id"))
        .expr_as(own(deployment::Column::ProjectId), Alias::new("project_id"))
        .expr_window_as(number, window, Alias::new("place"))
        .from(deployment::Entity)
        .cond_where(eligible)
        .to_owned();
    let numbered = Alias::new("numbered");
    let count = Func::coalesce([Expr::col((busy.clone(), Alias::new("running"))), Expr::value(0)]);
    Query::select()
        .expr_as(Expr::col((numbered.clone(), Alias::new("id"))), Alias::new("id"))
        .expr_as(Expr::col((numbered.clone(), Alias::new("place"))).add(count), Alias::new("turn"))
        .from_subquery(places, numbered.clone())
        .join_subquery(
            JoinType::LeftJoin,
            running,
            busy.clone(),
            Expr::col((busy.clone(), deployment::Column::ProjectId))
                .equals((numbered, Alias::new("project_id"))),
        )
        .to_owned()
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
