//! What a database's schema is made of.

use std::collections::BTreeMap;

use sea_orm::{DatabaseConnection, DbErr};
use sea_orm_migration::{MigratorTrait, SchemaManager};

use crate::Migrator;

/// The migrations of a database, beside those that this release has. Names sort by age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Those that were applied, with when, in seconds since 1970.
    pub applied: Vec<(String, i64)>,
    /// Those that this release would apply.
    pub pending: Vec<String>,
    /// Those that were applied by a newer release.
    pub unknown: Vec<String>,
}

impl Schema {
    /// Returns the schema of a database that is not there yet.
    pub fn none() -> Self {
        Self { pending: known(), ..Self::default() }
    }

    /// Returns the newest migration of this release.
    pub fn newest_known() -> String {
        known().pop().unwrap_or_default()
    }
}

/// Reads which migrations a database has; it changes nothing.
///
/// # Errors
/// The database refuses.
pub async fn schema(database: &DatabaseConnection) -> Result<Schema, DbErr> {
    let table = "seaql_migrations";
    if !SchemaManager::new(database).has_table(table).await? {
        return Ok(Schema::none());
    }
    let models = Migrator::get_migration_models(database).await?;
    let applied: BTreeMap<String, i64> =
        models.into_iter().map(|model| (model.version, model.applied_at)).collect();
    let known = known();
    Ok(Schema {
        pending: known.iter().filter(|name| !applied.contains_key(*name)).cloned().collect(),
        unknown: applied.keys().filter(|name| !known.contains(name)).cloned().collect(),
        applied: applied.into_iter().collect(),
    })
}

fn known() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}
