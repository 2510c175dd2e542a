//! Who is asking, and what they may do.

use grapnel_domain::{
    Error, Reason,
    id::TeamId,
    scope::Scope,
    secret_token::{ApiKey, SecretKind as _, SessionSecret, SessionSecretKind},
};
use grapnel_runtime::{
    Clock,
    grpc::{bearer_of, shows_key},
};
use tonic::Request;

use crate::{
    model::Asker,
    store::{Store, StoreError},
};

/// Recognises callers by their keys, and by the sessions that were opened with them. Every handler asks it first.
#[derive(Clone, Debug)]
pub struct Auth {
    store: Store,
    clock: Clock,
    gateway_key: ApiKey,
}

/// Who is asking.
#[derive(Clone, Debug)]
enum Principal {
    Team(Asker),
    Gateway,
}

/// Who triggers a hook by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triggering {
    /// A team, for its own hooks.
    Team(TeamId),
    /// A gateway, for everybody's.
    Gateway,
}

impl Auth {
    /// Takes the key by which gateways are recognised, and the clock by which sessions end.
    pub fn new(store: Store, clock: Clock, gateway_key: ApiKey) -> Self {
        Self { store, clock, gateway_key }
    }

    /// Returns the team's key that the request shows, or the session, whatever its scopes.
    ///
    /// # Errors
    /// `KEY_MISSING`, `KEY_INVALID`; `SCOPE_MISSING` for a gateway, which is no team's.
    pub async fn asker<T>(&self, request: &Request<T>) -> Result<Asker, Error> {
        match self.principal(request).await? {
            Principal::Team(asker) => Ok(asker),
            Principal::Gateway => Err(Error::new(
                Reason::ScopeMissing,
                "a gateway's service key is no team's: show a team's key",
            )),
        }
    }

    /// Returns the team of the key that the request shows.
    ///
    /// # Errors
    /// `KEY_MISSING`, `KEY_INVALID`, `SCOPE_MISSING`.
    pub async fn team<T>(&self, request: &Request<T>, scope: Scope) -> Result<TeamId, Error> {
        match self.principal(request).await? {
            Principal::Team(asker) if asker.key.scopes.allow(scope) => Ok(asker.key.team_id),
            Principal::Team(_) | Principal::Gateway => Err(scope_missing(scope)),
        }
    }

    /// Returns who triggers a hook.
    ///
    /// # Errors
    /// As [`Auth::team`] with scope `deploy`.
    pub async fn triggering<T>(&self, request: &Request<T>) -> Result<Triggering, Error> {
        match self.principal(request).await? {
            Principal::Gateway => Ok(Triggering::Gateway),
            Principal::Team(asker) if asker.key.scopes.allow(Scope::Deploy) => {
                Ok(Triggering::Team(asker.key.team_id))
            }
            Principal::Team(_) => Err(scope_missing(Scope::Deploy)),
        }
    }

    /// Makes sure that a gateway is asking.
    ///
    /// # Errors
    /// `KEY_MISSING`, `KEY_INVALID`, `SERVICE_KEY_REQUIRED`.
    pub async fn gateway<T>(&self, request: &Request<T>) -> Result<(), Error> {
        match self.principal(request).await? {
            Principal::Gateway => Ok(()),
            Principal::Team(_) => Err(Error::new(
                Reason::ServiceKeyRequired,
                "this method is for gateways, with the gateway's service key",
            )),
        }
    }

    async fn principal<T>(&self, request: &Request<T>) -> Result<Principal, Error> {
        let headers = request.metadata().as_ref();
        if shows_key(headers, &self.gateway_key) {
            return Ok(Principal::Gateway);
        }
        let Some(shown) = bearer_of(headers) else {
            let message = "a key is needed: send the header `authorization: Bearer gra_…`";
            return Err(Error::new(Reason::KeyMissing, message));
        };
        let found = if shown.starts_with(SessionSecretKind::PREFIX) {
            self.by_session(shown).await
        } else {
            self.by_key(shown).await
        };
        found.map(Principal::Team)
    }

    async fn by_key(&self, shown: &str) -> Result<Asker, Error> {
        let invalid = || Error::new(Reason::KeyInvalid, "the key is not known, or was revoked");
        let key = ApiKey::parse(shown).map_err(|_| invalid())?;
        let found = self.store.key_by_hash(&key.hash()).await.map_err(unread)?;
        Ok(Asker { key: found.ok_or_else(invalid)?, session: None })
    }

    async fn by_session(&self, shown: &str) -> Result<Asker, Error> {
        let invalid = || {
            Error::new(Reason::KeyInvalid, "the session is not known, or has ended: sign in with a key again")
        };
        let secret = SessionSecret::parse(shown).map_err(|_| invalid())?;
        let found = self.store.session_by_hash(&secret.hash(), self.clock.now()).await.map_err(unread)?;
        found.ok_or_else(invalid)
    }
}

fn unread(error: StoreError) -> Error {
    error.into_error(Reason::KeyInvalid)
}

fn scope_missing(scope: Scope) -> Error {
    Error::new(Reason::ScopeMissing, format!("the key lacks the scope `{scope}`")).with_fact("scope", scope)
}
