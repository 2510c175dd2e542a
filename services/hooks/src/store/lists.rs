//! By what lists are read.
//!
//! A list takes the next rows of one index, the newest first, and looks at little more than it shows. Which index that is has
//! to be plain: SQLite has no statistics of what is stored, and of two indexes that would do it may take the wrong one and
//! read all that a team has. So one condition names the index, and whose the rows are is looked up row by row.
//!
//! Of a hook or a branch that has little in a project that has much, the project's index is read through, which knows both:
//! 0.1 s for a million deployments on SQLite, up to 0.3 s on PostgreSQL, where an index of its own would cost each trigger a page.

use chrono::{DateTime, TimeDelta, Utc};
use grapnel_domain::{
    deployment::State,
    id::{DeploymentId, HookId, ProjectId, TeamId, TriggerId},
};
use grapnel_runtime::clock::first_id_from;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, IdenStatic as _, Iterable as _, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Alias, Expr, ExprTrait as _, IntoColumnRef, Order, Query, SelectStatement, SimpleExpr},
};

use super::{
    deleting::visible,
    deployments::DeploymentFilter,
    entity::{deployment, project, trigger},
    ledger::TriggerFilter,
};

/// By how much the time in an id may differ from the time that is stored with it: a clock that was set back makes ids that go
/// on from where it was.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);

/// How many of the deployments that go on a watcher is told of, the newest first: as many as anybody looks at.
const WATCHED: u64 = 1_000;

/// Deployments, without what their triggers brought for their builds: as much as 64 KiB each.
pub(super) fn deployments() -> Select<deployment::Entity> {
    let shown = deployment::Column::iter().filter(|column| !matches!(column, deployment::Column::Body));
    deployment::Entity::find()
        .select_only()
        .columns(shown)
        .expr_as(Expr::val(None::<Vec<u8>>), deployment::Column::Body.as_str())
        .filter(visible())
        .order_by_desc(deployment::Column::Id)
}

/// The deployments of a team, or of one of its projects, that a filter lets pass.
pub(super) fn filtered_deployments(
    team: TeamId,
    project: Option<ProjectId>,
    filter: &DeploymentFilter,
    after: Option<DeploymentId>,
) -> Select<deployment::Entity> {
    use deployment::Column;
    let mut query = deployments().filter(of_deployment(team, project));
    query = match (filter.hook, project) {
        // The index of a project knows whose each row is. What goes on has an index by hook.
        (Some(hook), _) if filter.state.is_none_or(State::is_final) => {
            query.filter(Column::HookId.eq(hook.to_string())).filter(project_of(hook, project))
        }
        (Some(hook), _) => query.filter(Column::HookId.eq(hook.to_string())),
        // Of all projects together there is not much that goes on: the state says enough.
        _ if filter.state.is_some_and(|state| !state.is_final()) => query,
        (None, Some(project)) => query.filter(Column::ProjectId.eq(project.to_string())),
        (None, None) => query.filter(Column::TeamId.eq(team.to_string())),
    };
    if let Some(state) = filter.state {
        query = query.filter(Column::State.eq(state.as_str()));
        query = match state {
            State::Ready | State::Error => query.filter(came_to_its_end()),
            State::Canceled => query,
            State::Pending | State::Queued | State::Building => query.filter(Column::FinishedAt.is_null()),
        };
    }
    if let Some(branch) = &filter.branch {
        query = query.filter(Column::Branch.eq(branch.as_str()));
    }
    if let Some(until) = filter.until {
        query = query.filter(Column::CreatedAt.lt(until));
    }
    // What comes after a row of the list was made before the time too.
    let before = after.or(filter.until.map(|until| first_id_from(later(until))));
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before.to_string()));
    }
    query
}

/// Says of a deployment that it is of a hook's project, which is this one where it is known already.
fn project_of(hook: HookId, project: Option<ProjectId>) -> SimpleExpr {
    use crate::store::entity::hook::{Column, Entity};
    let of_row = Expr::col(deployment::Column::ProjectId);
    if let Some(project) = project {
        return of_row.eq(project.to_string());
    }
    let of_hook = Query::select()
        .column(Column::ProjectId)
        .from(Entity)
        .and_where(Expr::col(Column::Id).eq(hook.to_string()))
        .to_owned();
    of_row.eq(SimpleExpr::SubQuery(None, Box::new(of_hook.into())))
}

/// Says of a deployment that its build came to its end, good or bad. What was cancelled stands in no index of states: most of
/// what a burst of triggers comes to is superseded at once, and lists of it are read by project.
pub(super) fn came_to_its_end() -> Condition {
    Condition::all()
        .add(deployment::Column::FinishedAt.is_not_null())
        .add(deployment::Column::Canceled.is_null())
}

/// The deployments of a team, or of one of its projects, that have not ended.
pub(super) fn unfinished_deployments(team: TeamId, project: Option<ProjectId>) -> Select<deployment::Entity> {
    deployments()
        .filter(deployment::Column::TeamId.eq(team.to_string()))
        .filter(deployment::Column::FinishedAt.is_null())
        .filter(of_deployment(team, project))
        .limit(WATCHED)
}

/// Those of these deployments that are of a team, or of one of its projects.
pub(super) fn named_deployments(
    team: TeamId,
    project: Option<ProjectId>,
    ids: impl IntoIterator<Item = DeploymentId>,
) -> Select<deployment::Entity> {
    let ids = ids.into_iter().map(|id| id.to_string());
    deployments().filter(deployment::Column::Id.is_in(ids)).filter(of_deployment(team, project))
}

/// The newest deployment of each of these projects: one look into the index for each, however many there are.
pub(super) fn newest_deployments(team: TeamId, projects: &[ProjectId]) -> Select<deployment::Entity> {
    let newest = Alias::new("newest");
    let of = |column: deployment::Column| Expr::col((newest.clone(), column));
    let newest_of_project = Query::select()
        .expr(of(deployment::Column::Id))
        .from_as(deployment::Entity, newest.clone())
        .and_where(of(deployment::Column::ProjectId).eq(Expr::col((project::Entity, project::Column::Id))))
        .and_where(of(deployment::Column::DeletedAt).is_null())
        .order_by((newest.clone(), deployment::Column::Id), Order::Desc)
        .limit(1)
        .to_owned();
    let ids = Query::select()
        .expr(SimpleExpr::SubQuery(None, Box::new(newest_of_project.into())))
        .from(project::Entity)
        .and_where(Expr::col(project::Column::TeamId).eq(team.to_string()))
        .and_where(Expr::col(project::Column::Id).is_in(projects.iter().map(ToString::to_string)))
        .to_owned();
    deployments().filter(deployment::Column::Id.in_subquery(ids))
}

/// The triggers of a team's project that a filter lets pass.
pub(super) fn filtered_triggers(
    team: TeamId,
    project: ProjectId,
    filter: &TriggerFilter,
    after: Option<TriggerId>,
) -> Select<trigger::Entity> {
    use trigger::Column;
    let found_by = match filter.deployment {
        Some(deployment) => Column::DeploymentId.eq(deployment.to_string()),
        None => Column::ProjectId.eq(project.to_string()),
    };
    let of_project = lives((trigger::Entity, Column::ProjectId), team, Some(project));
    let mut query = trigger::Entity::find().filter(found_by).filter(of_project).order_by_desc(Column::Id);
    if let Some(hook) = filter.hook {
        // Not by the index of its idempotency keys.
        query = query.filter(Expr::col(Column::HookId).if_null("").eq(hook.to_string()));
    }
    if let Some(decision) = filter.decision {
        query = query.filter(Column::Decision.eq(decision.as_str()));
    }
    if let Some(since) = filter.since {
        let bound: TriggerId = first_id_from(earlier(since));
        query = query.filter(Column::At.gte(since)).filter(Column::Id.gte(bound.to_string()));
    }
    if let Some(until) = filter.until {
        query = query.filter(Column::At.lt(until));
    }
    let before = after.or(filter.until.map(|until| first_id_from(later(until))));
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before.to_string()));
    }
    query
}

/// The projects of a team whose names contain a text, in upper or lower case.
pub(super) fn named_like(search: &str) -> SimpleExpr {
    let mut pattern = String::from("%");
    for c in search.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    // Names are in lower case.
    project::Column::Name.like(sea_orm::sea_query::LikeExpr::new(pattern).escape('\\'))
}

fn of_deployment(team: TeamId, project: Option<ProjectId>) -> SimpleExpr {
    lives((deployment::Entity, deployment::Column::ProjectId), team, project)
}

/// Says of a row that its project is a team's, is this one where one is named, and was not deleted. It is said as what is not
/// so: of EXISTS SQLite makes a join, with another index to choose from, and PostgreSQL knows that few rows are left out.
fn lives(project_of_row: impl IntoColumnRef, team: TeamId, wanted: Option<ProjectId>) -> SimpleExpr {
    let of = |column: project::Column| Expr::col((project::Entity, column));
    let mut other = Condition::any()
        .add(of(project::Column::TeamId).ne(team.to_string()))
        .add(of(project::Column::DeletedAt).is_not_null());
    if let Some(wanted) = wanted {
        other = other.add(of(project::Column::Id).ne(wanted.to_string()));
    }
    let of_another: SelectStatement = Query::select()
        .expr(Expr::val(1))
        .from(project::Entity)
        .and_where(of(project::Column::Id).eq(Expr::col(project_of_row)))
        .cond_where(other)
        .to_owned();
    Expr::exists(of_another).not()
}

fn later(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_add_signed(CLOCKS_DIFFER).unwrap_or(at)
}

fn earlier(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_sub_signed(CLOCKS_DIFFER).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use grapnel_domain::{BranchName, trigger::Decision};
    use grapnel_runtime::Clock;
    use sea_orm::{ConnectionTrait as _, DbBackend, QueryTrait as _, Statement};

    use super::*;
    use crate::store::Store;

    /// The words of `EXPLAIN QUERY PLAN` for what takes longer the more there is.
    const SLOW: [&str; 3] = ["SCAN", "TEMP B-TREE", "AUTOMATIC"];

    async fn plan<E: EntityTrait>(store: &Store, query: Select<E>) -> Vec<String> {
        let Statement { sql, values, .. } = query.limit(51).build(DbBackend::Sqlite);
        let explain =
            Statement { sql: format!("EXPLAIN QUERY PLAN {sql}"), values, db_backend: DbBackend::Sqlite };
        let rows = store.reader.query_all_raw(explain).await.unwrap();
        rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect()
    }

    async fn store(directory: &tempfile::TempDir) -> Store {
        Store::open(&format!("sqlite://{}/grapnel.db", directory.path().display())).await.unwrap()
    }

    fn assert_quick(plan: &[String], index: &str) {
        let by_index = plan.iter().any(|line| line.contains(&format!("INDEX {index} ")));
        let slow = plan.iter().any(|line| SLOW.iter().any(|word| line.contains(word)));
        assert!(by_index && !slow, "not by {index}: {plan:#?}");
    }

    #[tokio::test]
    async fn every_list_of_deployments_is_read_in_the_order_of_one_index() {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = (store(&directory).await, Clock::system());
        let (team, project, after) = (clock.new_id(), clock.new_id(), Some(clock.new_id()));
        let branch = BranchName::parse("main").ok();
        let hook: Option<HookId> = Some(clock.new_id());
        let all = DeploymentFilter::default();
        let until = Some(clock.now());
        let (ready, builds, canceled) = (Some(State::Ready), Some(State::Building), Some(State::Canceled));
        for (project, filter, index) in [
            (Some(project), all.clone(), "deployment_project"),
            (Some(project), DeploymentFilter { until, ..all.clone() }, "deployment_project"),
            (Some(project), DeploymentFilter { state: ready, ..all.clone() }, "deployment_project_state"),
            (Some(project), DeploymentFilter { state: builds, ..all.clone() }, "deployment_unfinished"),
            (Some(project), DeploymentFilter { state: canceled, ..all.clone() }, "deployment_project"),
            (Some(project), DeploymentFilter { branch: branch.clone(), ..all.clone() }, "deployment_project"),
            (
                Some(project),
                DeploymentFilter { branch: branch.clone(), until, ..all.clone() },
                "deployment_project",
            ),
            (
                Some(project),
                DeploymentFilter { branch: branch.clone(), state: ready, ..all.clone() },
                "deployment_branch",
            ),
            (
                Some(project),
                DeploymentFilter { branch: branch.clone(), state: builds, ..all.clone() },
                "deployment_unfinished",
            ),
            (
                Some(project),
                DeploymentFilter { branch: branch.clone(), state: canceled, ..all.clone() },
                "deployment_project",
            ),
            (Some(project), DeploymentFilter { hook, ..all.clone() }, "deployment_project"),
            (Some(project), DeploymentFilter { hook, until, ..all.clone() }, "deployment_project"),
            (
                Some(project),
                DeploymentFilter { hook, state: ready, ..all.clone() },
                "deployment_project_state",
            ),
            (Some(project), DeploymentFilter { hook, state: canceled, ..all.clone() }, "deployment_project"),
            (
                Some(project),
                DeploymentFilter { hook, state: builds, ..all.clone() },
                "deployment_hook_unfinished",
            ),
            (Some(project), DeploymentFilter { hook, branch, ..all.clone() }, "deployment_project"),
            (None, DeploymentFilter { hook, ..all.clone() }, "deployment_project"),
            (None, DeploymentFilter { hook, state: builds, ..all.clone() }, "deployment_hook_unfinished"),
            (None, all.clone(), "deployment_team"),
            (None, DeploymentFilter { until, ..all.clone() }, "deployment_team"),
            (None, DeploymentFilter { state: ready, ..all.clone() }, "deployment_team"),
            (None, DeploymentFilter { state: builds, ..all }, "deployment_unfinished"),
        ] {
            for after in [None, after] {
                let query = filtered_deployments(team, project, &filter, after);
                assert_quick(&plan(&store, query).await, index);
            }
        }
        for project in [None, Some(project)] {
            let query = unfinished_deployments(team, project);
            assert_quick(&plan(&store, query).await, "deployment_team_unfinished");
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_by_ids_is_looked_up_and_not_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = (store(&directory).await, Clock::system());
        let (team, projects) = (clock.new_id(), [clock.new_id(), clock.new_id()]);
        // The order of a page is made of its own rows.
        let looks_up = |plan: Vec<String>, table: &str| {
            let first = plan.iter().find(|line| line.contains(table)).unwrap();
            assert!(
                first.starts_with(&format!("SEARCH {table} USING")) && first.contains("id=?"),
                "{plan:#?}"
            );
            assert!(
                !plan.iter().any(|line| line.contains("SCAN") || line.contains("AUTOMATIC")),
                "{plan:#?}"
            );
        };
        let newest = plan(&store, newest_deployments(team, &projects)).await;
        assert!(
            newest.iter().any(|line| line.contains("INDEX deployment_project (project_id=?)")),
            "{newest:#?}"
        );
        assert!(!newest.iter().any(|line| line.contains("RIGHT PART OF ORDER BY")), "{newest:#?}");
        looks_up(newest, "deployment");
        for project in [None, Some(projects[0])] {
            let named = named_deployments(team, project, [clock.new_id(), clock.new_id()]);
            looks_up(plan(&store, named).await, "deployment");
        }
    }

    #[tokio::test]
    async fn every_list_of_triggers_is_read_in_the_order_of_one_index() {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = (store(&directory).await, Clock::system());
        let (team, project) = (clock.new_id(), clock.new_id());
        let all = TriggerFilter::default();
        let (hook, deployment) = (Some(clock.new_id()), Some(clock.new_id()));
        let (since, until) = (Some(clock.now()), Some(clock.now()));
        let decision = Some(Decision::Merged);
        for (filter, index) in [
            (all, "trigger_project"),
            (TriggerFilter { decision, ..all }, "trigger_project"),
            (TriggerFilter { since, until, ..all }, "trigger_project"),
            (TriggerFilter { hook, ..all }, "trigger_project"),
            (TriggerFilter { hook, since, decision, ..all }, "trigger_project"),
            (TriggerFilter { deployment, ..all }, "trigger_deployment"),
            (TriggerFilter { deployment, hook, decision, ..all }, "trigger_deployment"),
            (TriggerFilter { deployment, since, until, ..all }, "trigger_deployment"),
        ] {
            for after in [None, Some(clock.new_id())] {
                let query = filtered_triggers(team, project, &filter, after);
                assert_quick(&plan(&store, query).await, index);
            }
        }
    }
}
