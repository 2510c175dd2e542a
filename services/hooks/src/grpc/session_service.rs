//! The calls of `grapnel.hooks.v1.SessionService`.

use grapnel_proto::{
    convert::time::timestamp,
    hooks::v1::{session_service_server::SessionService, *},
};
use tonic::Request;

use super::{Answer, auth::Auth};
use crate::app::{App, Profile};

/// The handlers.
pub struct SessionHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl SessionService for SessionHandlers {
    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Answer<CreateSessionResponse> {
        answer!({
            let asker = self.auth.asker(&request).await?;
            let (profile, secret) = self.app.create_session(asker).await?;
            Ok(CreateSessionResponse { session: Some(session(profile)), secret: secret.expose().to_owned() })
        })
    }

    async fn get_session(&self, request: Request<GetSessionRequest>) -> Answer<GetSessionResponse> {
        answer!({
            let asker = self.auth.asker(&request).await?;
            let profile = self.app.profile(asker).await?;
            Ok(GetSessionResponse { session: Some(session(profile)) })
        })
    }

    async fn delete_session(&self, request: Request<DeleteSessionRequest>) -> Answer<DeleteSessionResponse> {
        answer!({
            let asker = self.auth.asker(&request).await?;
            self.app.delete_session(asker).await?;
            Ok(DeleteSessionResponse {})
        })
    }
}

fn session(Profile { team, asker }: Profile) -> Session {
    let key = asker.key;
    Session {
        team_id: team.id.to_string(),
        team_name: team.name,
        plan: team.plan.to_string(),
        key_id: key.id.to_string(),
        key_name: key.name,
        key_last_four: key.last_four,
        scopes: key.scopes.iter().map(|scope| scope.to_string()).collect(),
        team_created_at: Some(timestamp(team.created_at)),
        created_at: asker.session.as_ref().map(|session| timestamp(session.created_at)),
        expires_at: asker.session.as_ref().map(|session| timestamp(session.expires_at)),
    }
}
