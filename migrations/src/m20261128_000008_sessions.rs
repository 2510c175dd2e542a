//! Sessions of people who signed in with an API key.

use sea_orm_migration::{prelude::*, schema::*};

use crate::tables::{create, drop, index, references};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261128_000008_sessions"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, [session()], indexes()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, &["session"]).await
    }
}

/// A session that is open, by the hash of its secret. One that was ended has no row.
fn session() -> TableCreateStatement {
    Table::create()
        .table("session")
        .col(string_len("id", 40).primary_key())
        .col(string_len("team_id", 40))
        .col(string_len("key_id", 40))
        .col(string_len("hash", 64).unique_key())
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone("expires_at"))
        .foreign_key(&mut references("session", "team_id", "team"))
        .foreign_key(&mut references("session", "key_id", "api_key"))
        .to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index("session_key", "session").col("key_id").col("id").to_owned(),
        index("session_expires", "session").col("expires_at").to_owned(),
    ]
}
