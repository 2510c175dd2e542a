//! Sealed values. What is in them is nobody's business here: they go in and out as they are.
//!
//! The installation says under which key values are sealed now. A value that was sealed under another one is refused, so
//! that a process which has not heard of a new key stores nothing that nobody can open once the old one is dropped.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::OnConflict,
};

use super::{
    Store, StoreError,
    entity::{installation, sealed_value},
};
use crate::sealing::Sealed;

/// The name under which the installation keeps the id of the key that seals.
const KEY: &str = "sealing_key";

/// A sealed value with the row that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedOf {
    /// The id of the row.
    pub owner: String,
    /// The value.
    pub sealed: Sealed,
}

impl Store {
    /// Returns the id of the key that seals; `None` where none was named yet.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sealing_key(&self) -> Result<Option<String>, StoreError> {
        let row = installation::Entity::find_by_id(KEY).one(&self.writer).await?;
        Ok(row.map(|row| row.value))
    }

    /// Names the key that seals from now on. When this returns, whatever was being stored under another is stored.
    ///
    /// # Errors
    /// The database fails.
    pub async fn seal_under(&self, key: &str) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let row = installation::ActiveModel { name: Set(KEY.to_owned()), value: Set(key.to_owned()) };
        installation::Entity::insert(row)
            .on_conflict(
                OnConflict::column(installation::Column::Name)
                    .update_column(installation::Column::Value)
                    .to_owned(),
            )
            .exec_without_returning(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the ids of all keys under which something is sealed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sealing_keys_in_use(&self) -> Result<Vec<String>, StoreError> {
        let keys = sealed_value::Entity::find()
            .select_only()
            .column(sealed_value::Column::KeyId)
            .distinct()
            .order_by_asc(sealed_value::Column::KeyId)
            .into_tuple()
            .all(&self.writer)
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
            .order_by_asc(sealed_value::Column::OwnerId)
            .limit(limit)
            // What has just been written has to be seen.
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
///
/// Fails with [`StoreError::StaleKey`] where values are sealed under another key by now.
pub(super) async fn put(
    transaction: &DatabaseTransaction,
    owner: &str,
    value: &Sealed,
) -> Result<(), StoreError> {
    // Locked, so that no other key is named before this is committed.
    let key = installation::Entity::find_by_id(KEY).lock_shared().one(transaction).await?;
    if key.is_some_and(|key| key.value != value.key_id) {
        return Err(StoreError::StaleKey);
    }
    let row = sealed_value::Model {
        owner_id: owner.to_owned(),
        key_id: value.key_id.clone(),
        sealed: value.text.clone(),
    };
    let columns = [sealed_value::Column::KeyId, sealed_value::Column::Sealed];
    sealed_value::Entity::insert(sealed_value::ActiveModel::from(row))
        .on_conflict(OnConflict::column(sealed_value::Column::OwnerId).update_columns(columns).to_owned())
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
