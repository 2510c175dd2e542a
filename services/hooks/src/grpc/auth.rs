//! Who is asking, and what they may do.

use grapnel_domain::{
    Error, Reason,
    id::TeamId,
    scope::{Scope, Scopes},
    secret_token::ApiKey,
};
use grapnel_runtime::grpc::{bearer_of, shows_key};
use tonic::Request;

use crate::store::Store;

/// Recognises callers by their keys. Every handler asks it first.
#[derive(Clone, Debug)]
pub struct Auth {
    store: Store,
    gateway_key: ApiKey,
}

/// Who is asking.
#[derive(Clone, Debug)]
enum Principal {
    Team { team: TeamId, scopes: Scopes },
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
    /// Takes the key by which gateways are recognised.
    pub fn new(store: Store, gateway_key: ApiKey) -> Self {
        Self { store, gateway_key }
    }

    /// Returns the team of the key that the request shows.
    ///
    /// # Errors
    /// `KEY_MISSING`, `KEY_INVALID`, `SCOPE_MISSING`.
    pub async fn team<T>(&self, request: &Request<T>, scope: Scope) -> Result<TeamId, Error> {
        match self.principal(request).await? {
            Principal::Team { team, scopes } if scopes.allow(scope) => Ok(team),
            Principal::Team { .. } | Principal::Gateway => Err(scope_missing(scope)),
        }
    }

    /// Returns who triggers a hook.
    ///
    /// # Errors
    /// As [`Auth::team`] with scope `deploy`.
    pub async fn triggering<T>(&self, request: &Request<T>) -> Result<Triggering, Error> {
        match self.principal(request).await? {
            Principal::Gateway => Ok(Triggering::Gateway),
            Principal::Team { team, scopes } if scopes.allow(Scope::Deploy) => Ok(Triggering::Team(team)),
            Principal::Team { .. } => Err(scope_missing(Scope::Deploy)),
        }
    }

    /// Makes sure that a gateway is asking.
    ///
    /// # Errors
    /// `KEY_MISSING`, `KEY_INVALID`, `SERVICE_KEY_REQUIRED`.
    pub async fn gateway<T>(&self, request: &Request<T>) -> Result<(), Error> {
        match self.principal(request).await? {
            Principal::Gateway => Ok(()),
            Principal::Team { .. } => Err(Error::new(
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
        let invalid = || Error::new(Reason::KeyInvalid, "the key is not known, or was revoked");
        let key = ApiKey::parse(shown).map_err(|_| invalid())?;
        let found = self.store.key_by_hash(&key.hash()).await;
        let found = found.map_err(|error| error.into_error(Reason::KeyInvalid))?.ok_or_else(invalid)?;
        Ok(Principal::Team { team: found.team_id, scopes: found.scopes })
    }
}

fn scope_missing(scope: Scope) -> Error {
    Error::new(Reason::ScopeMissing, format!("the key lacks the scope `{scope}`")).with_fact("scope", scope)
}
