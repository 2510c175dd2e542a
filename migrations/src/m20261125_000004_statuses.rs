//! What git hosts are told about commits: how each project wants it, and what is to be told.

use sea_orm_migration::{prelude::*, schema::*};

use crate::tables::{create, drop, index, references};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000004_statuses"
    }
}

const TABLES: [&str; 2] = ["status_setting", "commit_status"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, [status_setting(), commit_status()], indexes()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, &TABLES).await
    }
}

/// How a project wants it. A project without a row has what is usual. `id` owns the sealed token, which goes only to
/// `token_base`; `wait_until` is when the host wants to hear of us again.
fn status_setting() -> TableCreateStatement {
    Table::create()
        .table("status_setting")
        .col(string_len("project_id", 40).primary_key())
        .col(string_len("id", 40).unique_key())
        .col(string_len("mode", 16))
        .col(string_len_null("host", 16))
        .col(string_len_null("api_base", 512))
        .col(string_len_null("token_base", 512))
        .col(string_len("last_four", 8))
        .col(timestamp_with_time_zone_null("wait_until"))
        .col(timestamp_with_time_zone("updated_at"))
        .foreign_key(&mut references("status_setting", "project_id", "project"))
        .to_owned()
}

/// What is to be told of one deployment. Those of one project, commit and context are a lane: they are told one after the
/// other, and only the newest deployment's. `next_try_at` is empty where there is nothing to tell.
fn commit_status() -> TableCreateStatement {
    Table::create()
        .table("commit_status")
        .col(string_len("id", 40).primary_key())
        .col(string_len("deployment_id", 40).unique_key())
        .col(string_len("project_id", 40))
        .col(string_len("commit_hash", 64))
        .col(string_len("context", 160))
        .col(string_len("state", 16))
        .col(text("description"))
        .col(big_integer("revision"))
        .col(big_integer("delivered_revision"))
        .col(integer("tries"))
        .col(timestamp_with_time_zone_null("next_try_at"))
        .col(string_len_null("lease_owner", 64))
        .col(timestamp_with_time_zone_null("lease_expires_at"))
        .col(boolean("ambiguous"))
        .col(boolean("repeating"))
        .col(text("last_error"))
        .col(timestamp_with_time_zone_null("gave_up_at"))
        .col(timestamp_with_time_zone_null("delivered_at"))
        .col(timestamp_with_time_zone("wanted_at"))
        .col(timestamp_with_time_zone("updated_at"))
        .foreign_key(&mut references("commit_status", "deployment_id", "deployment"))
        .to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name| index(name, "commit_status");
    vec![
        index("commit_status_lane").col("project_id").col("commit_hash").col("context").col("id").to_owned(),
        index("commit_status_due")
            .col("next_try_at")
            .and_where(Expr::col("next_try_at").is_not_null())
            .to_owned(),
    ]
}
