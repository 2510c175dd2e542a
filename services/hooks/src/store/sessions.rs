//! Sessions of people who signed in. A row is a session that was not ended; whether it works is its key's and its time's.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    id::{SessionId, TeamId},
    secret_token::{SecretHash, SessionSecret},
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    Store, StoreError,
    entity::{api_key, session, team},
    retention::Step,
    rows,
};
use crate::model::{Asker, Session, TeamProfile};

/// How many sessions of one key are open at once: many people may share a key, and a program that opens one a minute and
/// ends none fills nothing. The oldest goes.
pub const SESSIONS_LIMIT: u64 = 100;

/// How many sessions one transaction prunes.
const PRUNED_AT_ONCE: u64 = 1_000;

impl Store {
    /// Stores a session by its secret's hash. Of its key's sessions those that are over go, and the oldest of those that
    /// would be too many.
    ///
    /// # Errors
    /// The key was revoked, or the database fails.
    pub async fn create_session(&self, new: &Session, secret: &SessionSecret) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // Locked, so that a session and the revocation of its key come one after the other, and so do two sessions.
        api_key::Entity::find_by_id(new.key_id.to_string())
            .filter(api_key::Column::TeamId.eq(new.team_id.to_string()))
            .filter(api_key::Column::RevokedAt.is_null())
            .lock_exclusive()
            .one(&transaction)
            .await?
            .ok_or(StoreError::NotFound)?;
        make_room(&transaction, new).await?;
        let row = session::Model {
            id: new.id.to_string(),
            team_id: new.team_id.to_string(),
            key_id: new.key_id.to_string(),
            hash: secret.hash().as_str().to_owned(),
            created_at: new.created_at,
            expires_at: new.expires_at,
        };
        session::Entity::insert(session::ActiveModel::from(row)).exec_without_returning(&transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Finds the session with this hash, with its key, if both work at `now`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn session_by_hash(
        &self,
        hash: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<Asker>, StoreError> {
        let found = session::Entity::find()
            .filter(session::Column::Hash.eq(hash.as_str()))
            .filter(session::Column::ExpiresAt.gt(now))
            .one(&self.reader)
            .await?;
        let Some(row) = found else {
            return Ok(None);
        };
        // Read after the session: a key that is revoked in between is not found.
        let key = api_key::Entity::find_by_id(row.key_id.clone())
            .filter(api_key::Column::TeamId.eq(row.team_id.clone()))
            .filter(api_key::Column::RevokedAt.is_null())
            .one(&self.reader)
            .await?;
        let Some(key) = key else {
            return Ok(None);
        };
        Ok(Some(Asker { key: rows::key(key)?, session: Some(rows::session(&row)?) }))
    }

    /// Ends a session. Nothing of it is kept; one that has ended meanwhile is no error.
    ///
    /// # Errors
    /// The database fails.
    pub async fn delete_session(&self, team: TeamId, id: SessionId) -> Result<(), StoreError> {
        session::Entity::delete_many()
            .filter(session::Column::Id.eq(id.to_string()))
            .filter(session::Column::TeamId.eq(team.to_string()))
            .exec(&self.writer)
            .await?;
        Ok(())
    }

    /// Removes sessions that are over at `now`, the oldest first, at most 1,000.
    ///
    /// # Errors
    /// The database fails.
    pub async fn prune_sessions(&self, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let over: Vec<String> = session::Entity::find()
            .select_only()
            .column(session::Column::Id)
            .filter(session::Column::ExpiresAt.lte(now))
            .order_by_asc(session::Column::ExpiresAt)
            .limit(PRUNED_AT_ONCE)
            .into_tuple()
            .all(&self.reader)
            .await?;
        let more = over.len() as u64 == PRUNED_AT_ONCE;
        let done =
            session::Entity::delete_many().filter(session::Column::Id.is_in(over)).exec(&self.writer).await?;
        Ok(Step { removed: done.rows_affected, more })
    }

    /// Reads what people see of their team.
    ///
    /// # Errors
    /// The database fails.
    pub async fn team_profile(&self, id: TeamId) -> Result<TeamProfile, StoreError> {
        let row = team::Entity::find_by_id(id.to_string()).one(&self.reader).await?;
        let row = row.ok_or(StoreError::NotFound)?;
        Ok(TeamProfile {
            id,
            plan: rows::parse("team", &row.plan)?,
            name: row.name,
            created_at: row.created_at,
        })
    }
}

/// Removes of a key's sessions what is over, and the oldest of the others that leave no room for one more.
async fn make_room(transaction: &DatabaseTransaction, new: &Session) -> Result<(), StoreError> {
    let of_key = session::Column::KeyId.eq(new.key_id.to_string());
    session::Entity::delete_many()
        .filter(of_key.clone())
        .filter(session::Column::ExpiresAt.lte(new.created_at))
        .exec(transaction)
        .await?;
    let too_many: Vec<String> = session::Entity::find()
        .select_only()
        .column(session::Column::Id)
        .filter(of_key)
        .order_by_desc(session::Column::CreatedAt)
        .order_by_desc(session::Column::Id)
        .offset(SESSIONS_LIMIT - 1)
        // SQLite has no offset without a limit.
        .limit(PRUNED_AT_ONCE)
        .into_tuple()
        .all(transaction)
        .await?;
    if !too_many.is_empty() {
        session::Entity::delete_many().filter(session::Column::Id.is_in(too_many)).exec(transaction).await?;
    }
    Ok(())
}
