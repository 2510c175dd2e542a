//! What lists are read by, so that none of them has to look at more than it shows.

use sea_orm_migration::prelude::*;

use crate::tables::index;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261128_000010_lists"
    }
}

/// The indexes with their tables: a team's deployments, those of them that go on, a branch's, those in one state, and the
/// triggers that a deployment answers; each in the order in which they are listed.
fn indexes() -> [(&'static str, &'static str, IndexCreateStatement); 5] {
    let going_on = Expr::col("finished_at").is_null();
    let answered = Expr::col("deployment_id").is_not_null();
    let of_deployments = |name, columns| ("deployment", name, by("deployment", name, columns));
    let mut team_unfinished = by("deployment", "deployment_team_unfinished", &["team_id", "id"]);
    let mut trigger = by("trigger", "trigger_deployment", &["deployment_id", "id"]);
    [
        of_deployments("deployment_team", &["team_id", "id"]),
        ("deployment", "deployment_team_unfinished", team_unfinished.and_where(going_on).to_owned()),
        of_deployments("deployment_project_branch", &["project_id", "branch", "id"]),
        of_deployments("deployment_project_state", &["project_id", "state", "id"]),
        ("trigger", "trigger_deployment", trigger.and_where(answered).to_owned()),
    ]
}

fn by(table: &'static str, name: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    columns.iter().fold(index(name, table), |mut index, column| index.col(*column).to_owned())
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (_, _, index) in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name, _) in indexes() {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        Ok(())
    }
}
