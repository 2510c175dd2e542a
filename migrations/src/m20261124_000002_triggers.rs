//! The ledger of triggers, what a hook waits for, and what a trigger brings along.

use sea_orm_migration::{prelude::*, schema::*};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261124_000002_triggers"
    }
}

/// The columns that are added, by table.
fn columns() -> Vec<(&'static str, ColumnDef)> {
    let count = |name: &'static str| big_integer(name).default(0).to_owned();
    vec![
        ("hook", big_integer("quiet_period_ms").default(0).to_owned()),
        ("hook", big_integer("max_wait_ms").default(900_000).to_owned()),
        ("hook", string_len("methods", 16).default("GET,POST").to_owned()),
        ("hook", timestamp_with_time_zone_null("last_triggered_at")),
        ("hook", count("trigger_count")),
        ("hook_token", timestamp_with_time_zone_null("last_used_at")),
        ("hook_token", count("use_count")),
        ("deployment", timestamp_with_time_zone_null("waiting_since")),
        ("deployment", text_null("title")),
        ("deployment", blob_null("body")),
        ("deployment", string_len_null("wanted_commit", 64)),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in columns() {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).to_owned()).await?;
        }
        manager.create_table(trigger()).await?;
        manager.create_table(installation()).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("installation").to_owned()).await?;
        manager.drop_table(Table::drop().table("trigger").to_owned()).await?;
        for (table, column) in columns().into_iter().rev() {
            let name = column.get_column_name();
            manager.alter_table(Table::alter().table(table).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}

/// One request to a hook's URL, whatever came of it. What it names may be gone by now, so nothing but the project is a
/// reference.
fn trigger() -> TableCreateStatement {
    Table::create()
        .table("trigger")
        .col(string_len("id", 40).primary_key())
        .col(string_len("team_id", 40))
        .col(string_len("project_id", 40))
        .col(string_len_null("hook_id", 40))
        .col(string_len_null("token_id", 40))
        .col(string_len("method", 16))
        .col(string_len("client_address", 64))
        .col(string_len("user_agent", 256))
        .col(big_integer("body_bytes"))
        .col(string_len("body_digest", 64))
        .col(string_len("title", 256))
        .col(string_len_null("idempotency_key", 64))
        .col(string_len("decision", 24))
        .col(text("reason"))
        .col(string_len_null("deployment_id", 40))
        .col(timestamp_with_time_zone("at"))
        .foreign_key(
            &mut ForeignKey::create()
                .from("trigger", "project_id")
                .to("project", "id")
                .on_delete(ForeignKeyAction::Cascade)
                .to_owned(),
        )
        .to_owned()
}

/// What an installation has one of, such as the secret behind the addresses of deployments' states.
fn installation() -> TableCreateStatement {
    Table::create()
        .table("installation")
        .col(string_len("name", 40).primary_key())
        .col(string("value"))
        .to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &'static str| Index::create().name(name).table("trigger").to_owned();
    vec![
        index("trigger_project").col("project_id").col("id").to_owned(),
        index("trigger_hook").col("hook_id").col("id").to_owned(),
        index("trigger_at").col("at").to_owned(),
        index("trigger_idempotency")
            .col("hook_id")
            .col("idempotency_key")
            .and_where(Expr::col("idempotency_key").is_not_null())
            .to_owned(),
    ]
}
