//! The keys under which secrets are sealed.

use grapnel_domain::{Error, Reason};

use super::App;
use crate::{
    sealing::OpenError,
    store::{StoreError, sealed::SealedOf},
};

/// How many secrets are sealed anew before the next are read.
const BATCH: u64 = 100;

/// What came of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The id of the key that seals now.
    pub key: String,
    /// How many secrets were sealed anew.
    pub sealed: u64,
    /// The ids of keys that are in the file still, and seal nothing.
    pub unused: Vec<String>,
}

impl App {
    /// Makes a new key, seals every secret under it and drops the others. Where the file has a key above the one that
    /// seals, that one is taken and the others are left to whoever put it there. Called again after it broke off, it
    /// goes on.
    ///
    /// # Errors
    /// `SECRET_KEY_MISSING`, `SECRET_KEY_FILE_READ_ONLY`, `STORE_UNAVAILABLE`. Every secret still opens then.
    pub async fn rotate_secret_key(&self) -> Result<Rotated, Error> {
        self.sealer.read_again();
        let sealing = self.store.sealing_key().await.map_err(failed)?;
        let in_use = self.store.sealing_keys_in_use().await.map_err(failed)?;
        // An operator has put it there, or a rotation broke off.
        let is_new = |key: &String| {
            sealing.as_ref().is_some_and(|sealing| sealing != key) || in_use.iter().any(|used| used != key)
        };
        let made = !is_new(&self.sealer.current());
        if made {
            self.sealer.add_key().map_err(|error| {
                Error::new(
                    Reason::SecretKeyFileReadOnly,
                    format!("{error}; put a new key above the others in it yourself, then rotate again"),
                )
            })?;
        }
        let key = self.sealer.current();
        self.store.seal_under(&key).await.map_err(failed)?;
        let sealed = self.seal_all_anew(&key).await?;
        // What somebody else has put into the file, on other machines perhaps, is theirs to take out.
        if made && let Err(error) = self.sealer.drop_old_keys() {
            tracing::warn!(%error, "the old keys of secrets stay in their file");
        }
        let unused = self.sealer.key_ids().into_iter().filter(|id| *id != key).collect();
        tracing::info!(key, sealed, "all secrets are sealed under a new key");
        Ok(Rotated { key, sealed, unused })
    }

    async fn seal_all_anew(&self, key: &str) -> Result<u64, Error> {
        let mut count = 0;
        loop {
            let others = self.store.sealed_under_others(key, BATCH).await.map_err(failed)?;
            if others.is_empty() {
                return Ok(count);
            }
            for SealedOf { owner, sealed } in others {
                let opened = self
                    .sealer
                    .unseal(&owner, &sealed)
                    .map_err(|cause| does_not_open(&owner, &sealed.key_id, cause))?;
                let anew = self.sealer.seal(&owner, &opened);
                self.store.reseal(&owner, &sealed, &anew).await.map_err(failed)?;
                count += 1;
            }
        }
    }

    /// Tells whether something was not stored because another process has named a new key, and reads that one: sealed
    /// again, it can be stored.
    pub(super) fn has_a_new_key<T>(&self, stored: &Result<T, StoreError>) -> bool {
        let stale = matches!(stored, Err(StoreError::StaleKey));
        if stale {
            self.sealer.read_again();
        }
        stale
    }
}

fn failed(error: StoreError) -> Error {
    error.into_error(Reason::Internal)
}

fn does_not_open(owner: &str, key: &str, cause: OpenError) -> Error {
    let message = match cause {
        OpenError::UnknownKey => {
            format!(
                "the secret of {owner} is sealed under the key {key}, which is not in the secret key file: put it back, or set that secret anew"
            )
        }
        OpenError::Changed => {
            format!(
                "the secret of {owner} was changed in the database since it was sealed: set it anew, or remove it"
            )
        }
    };
    Error::new(Reason::SecretKeyMissing, message).with_fact("owner", owner).with_fact("key", key)
}
