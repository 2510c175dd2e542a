//! The state of one deployment, for whoever has the token that the answer to its trigger holds.
//!
//! The token is a keyed hash of the deployment's id, so it is the same in every answer and stands nowhere. It opens the
//! state of this one deployment and nothing else.

use std::time::Duration;

use grapnel_domain::{Error, Reason, id::DeploymentId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use sha2::Sha256;
use tokio::time::{Instant, timeout_at};

use super::App;
use crate::model::Deployment;

/// The name under which the installation keeps the secret behind the tokens.
const SECRET: &str = "status_secret";

/// How many bytes of the hash make a token.
const TOKEN: usize = 16;

/// How long a waiter relies on being rung.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl App {
    /// Returns the token that opens a deployment's state.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn status_token(&self, id: DeploymentId) -> Result<String, Error> {
        let code = self.status_code(id).await?.finalize().into_bytes();
        Ok(hex::encode(&code[..TOKEN]))
    }

    /// Reads a deployment by its token, at once or, if it ends within `wait`, at its end.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND`, for a wrong token too.
    pub async fn read_status(
        &self,
        id: DeploymentId,
        token: &str,
        wait: Duration,
    ) -> Result<Deployment, Error> {
        let unknown = || Error::new(Reason::DeploymentNotFound, "there is no such deployment");
        let token = hex::decode(token).ok().filter(|token| token.len() == TOKEN).ok_or_else(unknown)?;
        // In a time that does not depend on where they differ.
        self.status_code(id).await?.verify_truncated_left(&token).map_err(|_| unknown())?;
        let until = Instant::now() + wait;
        // Registered before the first reading, so that no end is missed.
        let mut bell = self.store.wakeups.watch(id);
        loop {
            bell.mark_unchanged();
            let deployment = self.store.any_deployment(id).await;
            let deployment = deployment.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
            if deployment.state.is_final() || Instant::now() >= until {
                return Ok(deployment);
            }
            let _ = timeout_at(until.min(Instant::now() + LOOK_AGAIN), bell.changed()).await;
        }
    }

    async fn status_code(&self, id: DeploymentId) -> Result<Hmac<Sha256>, Error> {
        let fresh = || {
            let secret: [u8; 32] = rand::rng().random();
            hex::encode(secret)
        };
        let secret = self.store.installation_value(SECRET, fresh).await;
        let secret = secret.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
        let mut code = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(Error::internal)?;
        code.update(id.to_string().as_bytes());
        Ok(code)
    }
}
