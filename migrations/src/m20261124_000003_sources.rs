//! What real repositories need: variables, credentials, trusted hosts, and the sealed values behind them.

use sea_orm_migration::{prelude::*, schema::*};

use crate::tables::{create, drop, index, references};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261124_000003_sources"
    }
}

const TABLES: [&str; 4] = ["sealed_value", "variable", "credential", "trusted_host"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, [sealed_value(), variable(), credential(), trusted_host()], indexes()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, &TABLES).await
    }
}

/// A value that only the holder of the secret key can read. `owner_id` names the row that it belongs to, and is sealed
/// with it: put below another row it does not open.
fn sealed_value() -> TableCreateStatement {
    Table::create()
        .table("sealed_value")
        .col(string_len("owner_id", 40).primary_key())
        .col(string_len("key_id", 16))
        .col(text("sealed"))
        .to_owned()
}

/// An environment variable; its value is here in clear, or sealed.
fn variable() -> TableCreateStatement {
    Table::create()
        .table("variable")
        .col(string_len("id", 40).primary_key())
        .col(string_len("team_id", 40))
        .col(string_len("project_id", 40))
        .col(string_len("name", 128))
        .col(string_len("branches", 255))
        .col(boolean("secret"))
        .col(text_null("value"))
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone("updated_at"))
        .foreign_key(&mut references("variable", "project_id", "project"))
        .to_owned()
}

/// What is shown to a git host, by a team or by one project of it.
fn credential() -> TableCreateStatement {
    Table::create()
        .table("credential")
        .col(string_len("id", 40).primary_key())
        .col(string_len("team_id", 40))
        .col(string_len_null("project_id", 40))
        .col(string_len("origin", 300))
        .col(string_len("kind", 16))
        .col(string_len("user_name", 128))
        .col(string_len("last_four", 8))
        .col(text("public_key"))
        .col(timestamp_with_time_zone("created_at"))
        .foreign_key(&mut references("credential", "team_id", "team"))
        .foreign_key(&mut references("credential", "project_id", "project"))
        .to_owned()
}

/// An SSH host that a team trusts, with its keys, one a line.
fn trusted_host() -> TableCreateStatement {
    Table::create()
        .table("trusted_host")
        .col(string_len("team_id", 40))
        .col(string_len("host", 255))
        .col(integer("port"))
        .col(text("host_keys"))
        .col(timestamp_with_time_zone("created_at"))
        .primary_key(Index::create().col("team_id").col("host").col("port"))
        .foreign_key(&mut references("trusted_host", "team_id", "team"))
        .to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index("sealed_value_key", "sealed_value").col("key_id").to_owned(),
        index("variable_name", "variable").col("project_id").col("name").col("branches").unique().to_owned(),
        // One for a project and an origin, and one for a team and an origin.
        index("credential_project", "credential")
            .col("project_id")
            .col("origin")
            .unique()
            .and_where(Expr::col("project_id").is_not_null())
            .to_owned(),
        index("credential_team", "credential")
            .col("team_id")
            .col("origin")
            .unique()
            .and_where(Expr::col("project_id").is_null())
            .to_owned(),
    ]
}
