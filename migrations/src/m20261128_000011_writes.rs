//! Indexes that cost every trigger something and are read by few, for others by which a burst of triggers finds what it looks
//! for. Each index of another order is a page that each trigger changes, of each hook another one.

use sea_orm_migration::prelude::*;

use crate::tables::index;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261128_000011_writes"
    }
}

/// Which index goes for which: of events only those of attempts are found by their numbers, only what has ended by when, and only
/// what came to its end by its state. A project's indexes know branch and hook, so that neither needs one of its own.
fn replaced() -> [(&'static str, &'static str, IndexCreateStatement, IndexCreateStatement); 7] {
    let deployments = || index("deployment_project", "deployment").col("project_id").col("id").to_owned();
    let triggers = || index("trigger_project", "trigger").col("project_id").col("id").to_owned();
    let sequence = || {
        let mut index = index("deployment_event_sequence", "deployment_event");
        index.col("deployment_id").col("attempt").col("sequence").unique().to_owned()
    };
    let finished = || index("deployment_finished", "deployment").col("finished_at").to_owned();
    let log = || index("deployment_log", "deployment").col("log_emptied").col("finished_at").to_owned();
    let of_branch = || {
        let mut index = index("deployment_branch", "deployment");
        index.col("project_id").col("branch").col("state").col("id").to_owned()
    };
    let of_project = || {
        let mut index = index("deployment_project_state", "deployment");
        index.col("project_id").col("state").col("id").to_owned()
    };
    let of_attempts = Expr::col("attempt").is_not_null();
    let ended = || Expr::col("finished_at").is_not_null();
    let came_to_its_end = || ended().and(Expr::col("canceled").is_null());
    [
        (
            "deployment",
            "deployment_project",
            deployments(),
            deployments().col("branch").col("hook_id").to_owned(),
        ),
        ("trigger", "trigger_project", triggers(), triggers().col("hook_id").to_owned()),
        ("deployment", "deployment_branch", of_branch(), of_branch().and_where(came_to_its_end()).to_owned()),
        (
            "deployment",
            "deployment_project_state",
            of_project(),
            of_project().and_where(came_to_its_end()).to_owned(),
        ),
        (
            "deployment_event",
            "deployment_event_sequence",
            sequence(),
            sequence().and_where(of_attempts).to_owned(),
        ),
        ("deployment", "deployment_finished", finished(), finished().and_where(ended()).to_owned()),
        ("deployment", "deployment_log", log(), log().and_where(ended()).to_owned()),
    ]
}

/// What of a hook has not ended: one row or two, however many there were before.
fn unfinished() -> IndexCreateStatement {
    index("deployment_hook_unfinished", "deployment")
        .col("hook_id")
        .col("state")
        .col("id")
        .and_where(Expr::col("finished_at").is_null())
        .to_owned()
}

/// What goes for nothing: old rows of the ledger are found by their ids, which sort by time, and what is of a hook or of a branch
/// by its project.
fn dropped() -> [(&'static str, &'static str, IndexCreateStatement); 4] {
    let of = |name: &'static str, table: &'static str, columns: &[&'static str]| {
        let mut index = index(name, table);
        for column in columns {
            index.col(*column);
        }
        (table, name, index)
    };
    [
        of("trigger_at", "trigger", &["at"]),
        of("trigger_hook", "trigger", &["hook_id", "id"]),
        of("deployment_hook", "deployment", &["hook_id", "id"]),
        of("deployment_project_branch", "deployment", &["project_id", "branch", "id"]),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name, _, new) in replaced() {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
            manager.create_index(new).await?;
        }
        manager.create_index(unfinished()).await?;
        for (table, name, _) in dropped() {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (_, _, old) in dropped() {
            manager.create_index(old).await?;
        }
        let name = "deployment_hook_unfinished";
        manager.drop_index(Index::drop().name(name).table("deployment").to_owned()).await?;
        for (table, name, old, _) in replaced() {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
            manager.create_index(old).await?;
        }
        Ok(())
    }
}
