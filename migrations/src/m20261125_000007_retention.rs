//! What is removed of deployments before the deployments themselves.

use sea_orm_migration::{prelude::*, schema::*};

use crate::tables::index;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000007_retention"
    }
}

/// The columns that are added to a deployment: since when its log is removed, whether the last row of it is gone, and since
/// when its artifact is.
fn columns() -> [ColumnDef; 3] {
    [
        timestamp_with_time_zone_null("log_removed_at"),
        boolean("log_emptied").default(false).to_owned(),
        timestamp_with_time_zone_null("artifact_removed_at"),
    ]
}

/// What is old, what is old and has its log, and which deployments of a branch are newer than one.
fn indexes() -> [IndexCreateStatement; 3] {
    [
        index("deployment_finished", "deployment").col("finished_at").to_owned(),
        index("deployment_log", "deployment").col("log_emptied").col("finished_at").to_owned(),
        index("deployment_branch", "deployment")
            .col("project_id")
            .col("branch")
            .col("state")
            .col("id")
            .to_owned(),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for mut column in columns() {
            manager
                .alter_table(Table::alter().table("deployment").add_column(&mut column).to_owned())
                .await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["deployment_finished", "deployment_log", "deployment_branch"] {
            manager.drop_index(Index::drop().name(name).table("deployment").to_owned()).await?;
        }
        for column in columns().into_iter().rev() {
            let name = column.get_column_name();
            manager.alter_table(Table::alter().table("deployment").drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
