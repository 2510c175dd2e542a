//! What an installation has one of.

use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};

use super::{Store, StoreError, entity::installation};

impl Store {
    /// Reads a value; the first who asks makes it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn installation_value(
        &self,
        name: &'static str,
        fresh: impl FnOnce() -> String,
    ) -> Result<String, StoreError> {
        if let Some(known) = self.installation.get(name) {
            return Ok(known);
        }
        if let Some(row) = installation::Entity::find_by_id(name).one(&self.reader).await? {
            return Ok(self.installation.keep(name, row.value));
        }
        // Two may make it at once: the one that is stored counts.
        let row = installation::ActiveModel { name: Set(name.to_owned()), value: Set(fresh()) };
        installation::Entity::insert(row)
            .on_conflict(OnConflict::column(installation::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&self.writer)
            .await?;
        let row = installation::Entity::find_by_id(name).one(&self.writer).await?;
        Ok(self.installation.keep(name, row.ok_or(StoreError::NotFound)?.value))
    }
}
