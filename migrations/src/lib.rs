//! The schema of the Grapnel database, for SQLite and PostgreSQL.
//!
//! One file a migration, named by date. A migration runs whole or not at all, on both databases, up and down.
//! Ids are TypeIDs in text; times are UTC with microseconds; booleans, integers and text are the rest. JSON is kept
//! as text and never looked into by the database.

mod lock;
mod m20261124_000001_first;
mod m20261124_000002_triggers;
mod m20261124_000003_sources;
mod m20261125_000004_statuses;
mod m20261125_000005_events;
mod m20261125_000006_executors;
mod m20261125_000007_retention;
mod m20261128_000008_sessions;
mod m20261128_000009_addresses;
mod m20261128_000010_lists;
mod m20261128_000011_writes;
mod schema;
mod tables;

pub use lock::{LockError, migrate};
pub use schema::{Schema, schema};
use sea_orm_migration::prelude::*;

/// Returns the names of all migrations, oldest first.
pub fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_first::Migration),
            Box::new(m20261124_000002_triggers::Migration),
            Box::new(m20261124_000003_sources::Migration),
            Box::new(m20261125_000004_statuses::Migration),
            Box::new(m20261125_000005_events::Migration),
            Box::new(m20261125_000006_executors::Migration),
            Box::new(m20261125_000007_retention::Migration),
            Box::new(m20261128_000008_sessions::Migration),
            Box::new(m20261128_000009_addresses::Migration),
            Box::new(m20261128_000010_lists::Migration),
            Box::new(m20261128_000011_writes::Migration),
        ]
    }
}
