//! Teams and their keys.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    id::{KeyId, TeamId},
    plan::Plan,
    scope::{Scope, Scopes},
    secret_token::{ApiKey, SecretHash},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    Store, StoreError,
    entity::{api_key, session, team},
    rows,
};
use crate::model::{Key, Page, Team};

impl Store {
    /// Returns the installation's first team, after making it if there is none; its plan becomes `plan`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn first_team(&self, id: TeamId, plan: Plan, now: DateTime<Utc>) -> Result<Team, StoreError> {
        let transaction = self.begin().await?;
        let found = team::Entity::find().order_by_asc(team::Column::Id).one(&transaction).await?;
        let row = match found {
            Some(row) => {
                let change = team::ActiveModel {
                    id: Set(row.id.clone()),
                    plan: Set(plan.to_string()),
                    ..Default::default()
                };
                team::Entity::update(change).exec(&transaction).await?
            }
            None => {
                let row = team::Model {
                    id: id.to_string(),
                    name: "default".to_owned(),
                    plan: plan.to_string(),
                    created_at: now,
                };
                team::Entity::insert(team::ActiveModel::from(row)).exec_with_returning(&transaction).await?
            }
        };
        transaction.commit().await?;
        rows::team(&row)
    }

    /// Makes another team.
    ///
    /// # Errors
    /// The database fails.
    pub async fn create_team(&self, team: &Team, name: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let row = team::Model {
            id: team.id.to_string(),
            name: name.to_owned(),
            plan: team.plan.to_string(),
            created_at: now,
        };
        team::Entity::insert(team::ActiveModel::from(row)).exec_without_returning(&self.writer).await?;
        Ok(())
    }

    /// Reads a team's plan.
    ///
    /// # Errors
    /// The database fails.
    pub async fn team(&self, id: TeamId) -> Result<Team, StoreError> {
        let row = team::Entity::find_by_id(id.to_string()).one(&self.reader).await?;
        rows::team(&row.ok_or(StoreError::NotFound)?)
    }

    /// Stores a key by its hash.
    ///
    /// # Errors
    /// The database fails.
    pub async fn create_key(&self, key: &Key, secret: &ApiKey) -> Result<(), StoreError> {
        let row = api_key::Model {
            id: key.id.to_string(),
            team_id: key.team_id.to_string(),
            name: key.name.clone(),
            hash: secret.hash().as_str().to_owned(),
            last_four: key.last_four.clone(),
            scopes: text_of(&key.scopes),
            created_at: key.created_at,
            revoked_at: None,
        };
        api_key::Entity::insert(api_key::ActiveModel::from(row)).exec_without_returning(&self.writer).await?;
        Ok(())
    }

    /// Finds the key with this hash, if it works.
    ///
    /// # Errors
    /// The database fails.
    pub async fn key_by_hash(&self, hash: &SecretHash) -> Result<Option<Key>, StoreError> {
        let row = api_key::Entity::find()
            .filter(api_key::Column::Hash.eq(hash.as_str()))
            .filter(api_key::Column::RevokedAt.is_null())
            .one(&self.reader)
            .await?;
        row.map(rows::key).transpose()
    }

    /// Lists a team's keys that work.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_keys(
        &self,
        team: TeamId,
        after: Option<KeyId>,
        limit: u64,
    ) -> Result<Page<Key>, StoreError> {
        let mut query = api_key::Entity::find()
            .filter(api_key::Column::TeamId.eq(team.to_string()))
            .filter(api_key::Column::RevokedAt.is_null())
            .order_by_desc(api_key::Column::Id)
            .limit(limit + 1);
        if let Some(after) = after {
            query = query.filter(api_key::Column::Id.lt(after.to_string()));
        }
        let found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        let items = found.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(rows::key);
        Ok(Page { items: items.collect::<Result<_, _>>()?, more })
    }

    /// Revokes a key, and ends its sessions. The last one that can make keys stays.
    ///
    /// # Errors
    /// There is no such key, or it is the last.
    pub async fn revoke_key(&self, team: TeamId, id: KeyId, now: DateTime<Utc>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // All keys of the team are locked, so that two revocations cannot each leave the other's key as the last.
        let live = api_key::Entity::find()
            .filter(api_key::Column::TeamId.eq(team.to_string()))
            .filter(api_key::Column::RevokedAt.is_null())
            .order_by_asc(api_key::Column::Id)
            .lock_exclusive()
            .all(&transaction)
            .await?;
        let keys = live.into_iter().map(rows::key).collect::<Result<Vec<_>, _>>()?;
        let key = keys.iter().find(|key| key.id == id).ok_or(StoreError::NotFound)?;
        let admins = keys.iter().filter(|key| key.scopes.allow(Scope::Admin)).count();
        if admins == 1 && key.scopes.allow(Scope::Admin) {
            return Err(StoreError::LastAdminKey);
        }
        let change = api_key::ActiveModel {
            id: Set(id.to_string()),
            revoked_at: Set(Some(now)),
            ..Default::default()
        };
        api_key::Entity::update(change).exec(&transaction).await?;
        session::Entity::delete_many()
            .filter(session::Column::KeyId.eq(id.to_string()))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Tells whether a team has any key that works.
    ///
    /// # Errors
    /// The database fails.
    pub async fn has_keys(&self, team: TeamId) -> Result<bool, StoreError> {
        Ok(!self.list_keys(team, None, 1).await?.items.is_empty())
    }
}

fn text_of(scopes: &Scopes) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(",")
}
