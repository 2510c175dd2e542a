//! Teams, keys, projects, hooks with their tokens, deployments with their events, the addresses of branches.

use sea_orm_migration::{prelude::*, schema::*};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261124_000001_first"
    }
}

/// Tables in the order of their making; they are dropped in the other.
const TABLES: [&str; 8] =
    ["team", "api_key", "project", "hook", "hook_token", "deployment", "deployment_event", "branch_address"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            team(),
            api_key(),
            project(),
            hook(),
            hook_token(),
            deployment(),
            deployment_event(),
            branch_address(),
        ] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES.iter().rev() {
            manager.drop_table(Table::drop().table(*table).to_owned()).await?;
        }
        Ok(())
    }
}

fn id(name: &'static str) -> ColumnDef {
    string_len(name, 40)
}

fn key(name: &'static str) -> ColumnDef {
    id(name).primary_key().to_owned()
}

fn moment(name: &'static str) -> ColumnDef {
    timestamp_with_time_zone(name)
}

fn moment_null(name: &'static str) -> ColumnDef {
    timestamp_with_time_zone_null(name)
}

fn reference(table: &'static str, column: &'static str, to: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().from(table, column).to(to, "id").on_delete(ForeignKeyAction::Cascade).to_owned()
}

fn team() -> TableCreateStatement {
    Table::create()
        .table("team")
        .col(key("id"))
        .col(string("name"))
        .col(string_len("plan", 16))
        .col(moment("created_at"))
        .to_owned()
}

fn api_key() -> TableCreateStatement {
    Table::create()
        .table("api_key")
        .col(key("id"))
        .col(id("team_id"))
        .col(string("name"))
        .col(string_len("hash", 64).unique_key())
        .col(string_len("last_four", 4))
        .col(string("scopes"))
        .col(moment("created_at"))
        .col(moment_null("revoked_at"))
        .foreign_key(&mut reference("api_key", "team_id", "team"))
        .to_owned()
}

fn project() -> TableCreateStatement {
    Table::create()
        .table("project")
        .col(key("id"))
        .col(id("team_id"))
        .col(string("name"))
        .col(text("repository_url"))
        .col(string("production_branch"))
        .col(text("settings"))
        .col(moment("created_at"))
        .col(moment("updated_at"))
        .col(moment_null("deleted_at"))
        .foreign_key(&mut reference("project", "team_id", "team"))
        .to_owned()
}

fn hook() -> TableCreateStatement {
    Table::create()
        .table("hook")
        .col(key("id"))
        .col(id("team_id"))
        .col(id("project_id"))
        .col(string("name"))
        .col(string("branch"))
        .col(boolean("paused"))
        .col(boolean("build_cache"))
        .col(moment("created_at"))
        .col(moment("updated_at"))
        .col(moment_null("revoked_at"))
        .foreign_key(&mut reference("hook", "team_id", "team"))
        .foreign_key(&mut reference("hook", "project_id", "project"))
        .to_owned()
}

fn hook_token() -> TableCreateStatement {
    Table::create()
        .table("hook_token")
        .col(key("id"))
        .col(id("hook_id"))
        .col(string_len("hash", 64).unique_key())
        .col(string_len("last_four", 4))
        .col(moment("created_at"))
        .col(moment_null("expires_at"))
        .foreign_key(&mut reference("hook_token", "hook_id", "hook"))
        .to_owned()
}

/// `revision` is raised by every change and compared before it. The lease columns say which process works on the
/// deployment, and until when nobody else may.
fn deployment() -> TableCreateStatement {
    Table::create()
        .table("deployment")
        .col(key("id"))
        .col(id("team_id"))
        .col(id("project_id"))
        .col(string_len_null("hook_id", 40))
        .col(string("hook_name"))
        .col(string("branch"))
        .col(string_len_null("commit_hash", 64))
        .col(text("commit_message"))
        .col(string_len("state", 16))
        .col(big_integer("revision"))
        .col(integer("attempt"))
        .col(integer("resolve_attempts"))
        .col(string_null("lease_owner"))
        .col(moment_null("lease_expires_at"))
        .col(moment("not_before"))
        .col(boolean("use_cache"))
        .col(integer("trigger_count"))
        .col(text_null("cancel_requested"))
        .col(text_null("canceled"))
        .col(text_null("failure"))
        .col(big_integer_null("artifact_files"))
        .col(big_integer_null("artifact_bytes"))
        .col(big_integer("last_position"))
        .col(moment("created_at"))
        .col(moment_null("queued_at"))
        .col(moment_null("building_at"))
        .col(moment_null("finished_at"))
        .foreign_key(&mut reference("deployment", "team_id", "team"))
        .foreign_key(&mut reference("deployment", "project_id", "project"))
        .to_owned()
}

fn deployment_event() -> TableCreateStatement {
    Table::create()
        .table("deployment_event")
        .col(id("deployment_id"))
        .col(big_integer("position"))
        .col(integer_null("attempt"))
        .col(big_integer_null("sequence"))
        .col(text("payload"))
        .col(moment("at"))
        .primary_key(Index::create().col("deployment_id").col("position"))
        .foreign_key(&mut reference("deployment_event", "deployment_id", "deployment"))
        .to_owned()
}

fn branch_address() -> TableCreateStatement {
    Table::create()
        .table("branch_address")
        .col(id("project_id"))
        .col(string("branch"))
        .col(id("deployment_id"))
        .col(moment("updated_at"))
        .primary_key(Index::create().col("project_id").col("branch"))
        .foreign_key(&mut reference("branch_address", "project_id", "project"))
        .foreign_key(&mut reference("branch_address", "deployment_id", "deployment"))
        .to_owned()
}

/// Names are unique among what lives; what is gone keeps its row, so that its tokens can be answered.
fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &'static str, table: &'static str| Index::create().name(name).table(table).to_owned();
    vec![
        index("project_name", "project")
            .col("name")
            .unique()
            .and_where(Expr::col("deleted_at").is_null())
            .to_owned(),
        index("project_team", "project").col("team_id").col("id").to_owned(),
        index("hook_name", "hook")
            .col("project_id")
            .col("name")
            .unique()
            .and_where(Expr::col("revoked_at").is_null())
            .to_owned(),
        index("hook_token_hook", "hook_token").col("hook_id").to_owned(),
        index("api_key_team", "api_key").col("team_id").to_owned(),
        index("deployment_project", "deployment").col("project_id").col("id").to_owned(),
        index("deployment_hook", "deployment").col("hook_id").col("id").to_owned(),
        index("deployment_unfinished", "deployment")
            .col("state")
            .col("id")
            .and_where(Expr::col("finished_at").is_null())
            .to_owned(),
        index("deployment_event_sequence", "deployment_event")
            .col("deployment_id")
            .col("attempt")
            .col("sequence")
            .unique()
            .to_owned(),
    ]
}
