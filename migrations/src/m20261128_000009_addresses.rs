//! Addresses that are held, and found by the hash of their branch; deployments that were deleted.

use sea_orm::{ConnectionTrait as _, ExprTrait as _};
use sea_orm_migration::{prelude::*, schema::*};
use sha2::{Digest as _, Sha256};

use crate::tables::index;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261128_000009_addresses"
    }
}

/// The columns that are added: whether an address stays with its deployment while newer ones get READY, eight digits of the
/// hash of its branch's name, and since when a deployment is deleted.
fn columns() -> [(&'static str, ColumnDef); 3] {
    [
        ("branch_address", boolean("held").default(false).to_owned()),
        ("branch_address", string_len("branch_hash", 8).default("").to_owned()),
        ("deployment", timestamp_with_time_zone_null("deleted_at")),
    ]
}

/// Which branch has a hash, what serves a deployment, and what was deleted.
fn indexes() -> [(&'static str, IndexCreateStatement); 3] {
    [
        (
            "branch_address",
            index("branch_address_hash", "branch_address").col("project_id").col("branch_hash").to_owned(),
        ),
        (
            "branch_address",
            index("branch_address_deployment", "branch_address").col("deployment_id").to_owned(),
        ),
        (
            "deployment",
            index("deployment_deleted", "deployment")
                .col("deleted_at")
                .and_where(Expr::col("deleted_at").is_not_null())
                .to_owned(),
        ),
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
        hash_branches(manager).await?;
        for (_, index) in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, index) in indexes() {
            let name = index.get_index_spec().get_name().unwrap_or_default().to_owned();
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        for (table, column) in columns().into_iter().rev() {
            let name = column.get_column_name();
            manager.alter_table(Table::alter().table(table).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}

/// Gives the branches that have an address already the hash by which they are found.
async fn hash_branches(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let database = manager.get_connection();
    let branches = Query::select().distinct().column("branch").from("branch_address").to_owned();
    for row in database.query_all(&branches).await? {
        let branch: String = row.try_get("", "branch")?;
        let hash = Query::update()
            .table("branch_address")
            .value("branch_hash", hash_of(&branch))
            .and_where(Expr::col("branch").eq(branch))
            .to_owned();
        database.execute(&hash).await?;
    }
    Ok(())
}

/// As `BranchHash` of the domain had it when this was written: the first eight digits in a row that are not all decimal.
fn hash_of(branch: &str) -> String {
    let digest = hex::encode(Sha256::digest(branch));
    let mut runs = (0..=digest.len() - 8).map(|from| &digest[from..from + 8]);
    let found = runs.find(|run| run.bytes().any(|b| !b.is_ascii_digit()));
    found.unwrap_or(&digest[..8]).to_owned()
}
