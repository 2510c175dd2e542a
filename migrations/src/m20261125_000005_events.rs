//! Endpoints, the events that are sent to them, and the ledger of every try.

use sea_orm_migration::{prelude::*, schema::*};

use crate::tables::{create, drop, index, references};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000005_events"
    }
}

const TABLES: [&str; 4] = ["endpoint", "endpoint_secret", "outgoing_event", "delivery"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, [endpoint(), endpoint_secret(), outgoing_event(), delivery()], indexes()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, &TABLES).await
    }
}

/// An address that hears of a team's deployments, or of one project's. `types` are separated by commas; empty is all.
fn endpoint() -> TableCreateStatement {
    Table::create()
        .table("endpoint")
        .col(string_len("id", 40).primary_key())
        .col(string_len("team_id", 40))
        .col(string_len_null("project_id", 40))
        .col(text("url"))
        .col(string_len("types", 255))
        .col(text("description"))
        .col(timestamp_with_time_zone_null("disabled_at"))
        .col(string_len_null("disabled_reason", 16))
        .col(timestamp_with_time_zone_null("failing_since"))
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone("updated_at"))
        .foreign_key(&mut references("endpoint", "team_id", "team"))
        .foreign_key(&mut references("endpoint", "project_id", "project"))
        .to_owned()
}

/// A secret that signs; what it is stands sealed below its id.
fn endpoint_secret() -> TableCreateStatement {
    Table::create()
        .table("endpoint_secret")
        .col(string_len("id", 40).primary_key())
        .col(string_len("endpoint_id", 40))
        .col(string_len("last_four", 8))
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone_null("expires_at"))
        .foreign_key(&mut references("endpoint_secret", "endpoint_id", "endpoint"))
        .to_owned()
}

/// One event for one endpoint. What it names may be gone by now, so that nothing is a reference. `position` is its place in
/// the deployment's history; `body` is what is sent, the same at every try, and stands from the first one on.
/// `tries_before` counts the tries before it was asked to be sent again: the schedule begins anew after them.
fn outgoing_event() -> TableCreateStatement {
    Table::create()
        .table("outgoing_event")
        .col(string_len("id", 40).primary_key())
        .col(string_len("team_id", 40))
        .col(string_len("endpoint_id", 40))
        .col(string_len_null("deployment_id", 40))
        .col(big_integer("position"))
        .col(string_len("kind", 32))
        .col(text("facts"))
        .col(text_null("body"))
        .col(string_len("state", 16))
        .col(integer("tries"))
        .col(integer("tries_before"))
        .col(timestamp_with_time_zone("next_try_at"))
        .col(string_len_null("lease_owner", 64))
        .col(timestamp_with_time_zone_null("lease_expires_at"))
        .col(timestamp_with_time_zone("created_at"))
        .to_owned()
}

/// One try at an event.
fn delivery() -> TableCreateStatement {
    Table::create()
        .table("delivery")
        .col(string_len("id", 40).primary_key())
        .col(string_len("team_id", 40))
        .col(string_len("endpoint_id", 40))
        .col(string_len("event_id", 40))
        .col(timestamp_with_time_zone("at"))
        .col(string_len("outcome", 16))
        .col(integer_null("status"))
        .col(big_integer("took_ms"))
        .col(text("error"))
        .col(text("answer"))
        .foreign_key(&mut references("delivery", "event_id", "outgoing_event"))
        .to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index("endpoint_team", "endpoint").col("team_id").to_owned(),
        index("endpoint_secret_endpoint", "endpoint_secret").col("endpoint_id").to_owned(),
        index("outgoing_event_due", "outgoing_event")
            .col("next_try_at")
            .and_where(Expr::col("state").eq("WAITING"))
            .to_owned(),
        index("outgoing_event_team", "outgoing_event").col("team_id").col("id").to_owned(),
        index("outgoing_event_endpoint", "outgoing_event")
            .col("endpoint_id")
            .col("deployment_id")
            .col("position")
            .to_owned(),
        index("outgoing_event_created", "outgoing_event").col("created_at").to_owned(),
        index("delivery_event", "delivery").col("event_id").to_owned(),
        index("delivery_team", "delivery").col("team_id").col("id").to_owned(),
        index("delivery_at", "delivery").col("at").to_owned(),
    ]
}
