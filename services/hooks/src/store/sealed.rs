//! Sealed values. What is in them is nobody's business here: they go in and out as they are.

use std::collections::HashMap;

use grapnel_domain::id::SealedId;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::{Store, StoreError, entity::sealed_value};
use crate::sealing::Sealed;

/// A sealed value with the row that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedOf {
    /// The id of the row.
    pub owner: String,
    /// The value.
    pub sealed: Sealed,
}

impl Store {
    /// Returns the ids of all keys under which something is sealed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sealing_keys(&self) -> Result<Vec<String>, StoreError> {
        let keys = sealed_value::Entity::find()
            .select_only()
            .column(sealed_value::Column::KeyId)
            .distinct()
            .order_by_asc(sealed_value::Column::KeyId)
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(keys)
    }

    /// Returns some of the values that are sealed under another key than this one.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sealed_under_others(&self, key: &str, limit: u64) -> Result<Vec<SealedOf>, StoreError> {
        let rows = sealed_value::Entity::find()
            .filter(sealed_value::Column::KeyId.ne(key))
            .order_by_asc(sealed_value::Column::Id)
            .limit(limit)
            // What the writer has just written has to be seen.
            .all(&self.writer)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| SealedOf { owner: row.owner_id.clone(), sealed: sealed(row) })
            .collect())
    }

    /// Puts a value in the place of another, unless somebody has changed or removed that meanwhile.
    ///
    /// # Errors
    /// The database fails.
    pub async fn reseal(&self, owner: &str, from: &Sealed, to: &Sealed) -> Result<(), StoreError> {
        let change = sealed_value::ActiveModel {
            key_id: Set(to.key_id.clone()),
            sealed: Set(to.text.clone()),
            ..Default::default()
        };
        sealed_value::Entity::update_many()
            .set(change)
            .filter(sealed_value::Column::OwnerId.eq(owner))
            .filter(sealed_value::Column::Sealed.eq(&from.text))
            .exec(&self.writer)
            .await?;
        Ok(())
    }
}

/// Stores a value of a row, in the place of the one that it had.
pub(super) async fn put(
    transaction: &DatabaseTransaction,
    owner: &str,
    id: SealedId,
    value: &Sealed,
) -> Result<(), StoreError> {
    remove(transaction, [owner.to_owned()]).await?;
    let row = sealed_value::Model {
        id: id.to_string(),
        owner_id: owner.to_owned(),
        key_id: value.key_id.clone(),
        sealed: value.text.clone(),
    };
    sealed_value::Entity::insert(sealed_value::ActiveModel::from(row))
        .exec_without_returning(transaction)
        .await?;
    Ok(())
}

/// Removes the values of rows.
pub(super) async fn remove(
    transaction: &DatabaseTransaction,
    owners: impl IntoIterator<Item = String>,
) -> Result<(), StoreError> {
    sealed_value::Entity::delete_many()
        .filter(sealed_value::Column::OwnerId.is_in(owners))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Reads the values of rows, by row.
pub(super) async fn of(
    database: &impl ConnectionTrait,
    owners: impl IntoIterator<Item = String>,
) -> Result<HashMap<String, Sealed>, StoreError> {
    let rows = sealed_value::Entity::find()
        .filter(sealed_value::Column::OwnerId.is_in(owners))
        .all(database)
        .await?;
    Ok(rows.into_iter().map(|row| (row.owner_id.clone(), sealed(row))).collect())
}

fn sealed(row: sealed_value::Model) -> Sealed {
    Sealed { key_id: row.key_id, text: row.sealed }
}
