//! API keys.

use std::{
    io,
    path::{Path, PathBuf},
};

use grapnel_domain::{
    Error, Reason,
    id::{KeyId, TeamId},
    plan::Plan,
    scope::{Scope, Scopes},
    secret_token::ApiKey,
};

use super::App;
use crate::{
    model::{Key, Page},
    private_file,
    store::StoreError,
};

/// Why the first key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FirstKey {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("the admin key cannot be written to {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

impl App {
    /// Makes a key. The answer alone holds it.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn create_key(
        &self,
        team: TeamId,
        name: String,
        scopes: Scopes,
    ) -> Result<(Key, ApiKey), Error> {
        let secret = ApiKey::generate(&mut rand::rng());
        let key = self.describe_key(&secret, team, name, scopes);
        self.store.create_key(&key, &secret).await.map_err(|error| error.into_error(Reason::KeyNotFound))?;
        tracing::info!(key.id = %key.id, "a key was created");
        Ok((key, secret))
    }

    /// Lists a team's keys.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn list_keys(
        &self,
        team: TeamId,
        after: Option<KeyId>,
        limit: u64,
    ) -> Result<Page<Key>, Error> {
        self.store.list_keys(team, after, limit).await.map_err(|error| error.into_error(Reason::KeyNotFound))
    }

    /// Revokes a key for good.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`, `LAST_ADMIN_KEY`.
    pub async fn revoke_key(&self, team: TeamId, id: KeyId) -> Result<(), Error> {
        self.store.revoke_key(team, id, self.clock.now()).await.map_err(|error| match error {
            StoreError::LastAdminKey => Error::new(
                Reason::LastAdminKey,
                "it is the team's last key with scope admin; create another one before revoking it",
            ),
            other => other.into_error(Reason::KeyNotFound),
        })?;
        tracing::info!(key.id = %id, "a key was revoked");
        Ok(())
    }

    /// Makes the first team and its admin key, where there are none. The key is the one that the operator has given, or it is
    /// made and left in `file`, for its owner alone.
    ///
    /// # Errors
    /// The store fails, or the file cannot be written; then no key is stored either.
    pub async fn ensure_first_key(
        &self,
        plan: Plan,
        given: Option<&ApiKey>,
        file: &Path,
    ) -> Result<(), FirstKey> {
        let team = self.store.first_team(self.clock.new_id(), plan, self.clock.now()).await?;
        if self.store.has_keys(team.id).await? {
            return Ok(());
        }
        let scopes = [Scope::Admin].into_iter().collect();
        let name = "first start".to_owned();
        if let Some(given) = given {
            let key = self.describe_key(given, team.id, name, scopes);
            return match self.store.create_key(&key, given).await {
                // Another process was given the same one, and was first.
                Err(_) if self.store.key_by_hash(&given.hash()).await?.is_some() => Ok(()),
                stored => Ok(stored?),
            };
        }
        let secret = ApiKey::generate(&mut rand::rng());
        let key = self.describe_key(&secret, team.id, name, scopes);
        private_file::write(file, &format!("{}\n", secret.expose()))
            .map_err(|cause| FirstKey::File { path: file.to_owned(), cause })?;
        self.store.create_key(&key, &secret).await?;
        tracing::info!(file = %file.display(), "an admin key was made");
        Ok(())
    }

    fn describe_key(&self, secret: &ApiKey, team: TeamId, name: String, scopes: Scopes) -> Key {
        Key {
            id: self.clock.new_id(),
            team_id: team,
            name,
            scopes,
            last_four: secret.last_four().to_owned(),
            created_at: self.clock.now(),
        }
    }
}
