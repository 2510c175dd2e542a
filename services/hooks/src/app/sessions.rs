//! Sessions of people who sign in with an API key.

use grapnel_domain::{Error, Reason, secret_token::SessionSecret};

use super::App;
use crate::model::{Asker, Session, TeamProfile};

/// Who is asking, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The team.
    pub team: TeamProfile,
    /// The key, and the session.
    pub asker: Asker,
}

impl App {
    /// Opens a session of a key. The answer alone holds its secret.
    ///
    /// # Errors
    /// `KEY_INVALID` where a session was shown, or the key was revoked meanwhile.
    pub async fn create_session(&self, asker: Asker) -> Result<(Profile, SessionSecret), Error> {
        if asker.session.is_some() {
            let message =
                "a session opens no other one: show the API key itself, `authorization: Bearer gra_…`";
            return Err(Error::new(Reason::KeyInvalid, message));
        }
        let now = self.clock.now();
        let session = Session {
            id: self.clock.new_id(),
            team_id: asker.key.team_id,
            key_id: asker.key.id,
            created_at: now,
            expires_at: now + self.session_lifetime,
        };
        let secret = SessionSecret::generate(&mut rand::rng());
        let stored = self.store.create_session(&session, &secret).await;
        stored.map_err(|error| error.into_error(Reason::KeyInvalid))?;
        tracing::info!(session.id = %session.id, key.id = %session.key_id, "a session was opened");
        let profile = self.profile(Asker { session: Some(session), ..asker }).await?;
        Ok((profile, secret))
    }

    /// Says for whom a key or a session stands.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn profile(&self, asker: Asker) -> Result<Profile, Error> {
        let team = self.store.team_profile(asker.key.team_id).await;
        let team = team.map_err(|error| error.into_error(Reason::KeyInvalid))?;
        Ok(Profile { team, asker })
    }

    /// Ends the session that was shown.
    ///
    /// # Errors
    /// `KEY_INVALID` where a key was shown.
    pub async fn delete_session(&self, asker: Asker) -> Result<(), Error> {
        let Some(session) = asker.session else {
            let message = "a key was shown, and only a session is ended so; a key is revoked by RevokeKey";
            return Err(Error::new(Reason::KeyInvalid, message));
        };
        let ended = self.store.delete_session(session.team_id, session.id).await;
        ended.map_err(|error| error.into_error(Reason::KeyInvalid))?;
        tracing::info!(session.id = %session.id, "a session was ended");
        Ok(())
    }
}
