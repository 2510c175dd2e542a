//! The calls of `grapnel.hooks.v1.SecretService`.

use grapnel_domain::{Error, scope::Scope};
use grapnel_proto::hooks::v1::{secret_service_server::SecretService, *};
use tonic::{Request, Response, Status};

use super::{auth::Auth, convert::refuse};
use crate::app::App;

/// The handlers.
pub struct SecretHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl SecretService for SecretHandlers {
    async fn rotate_secret_key(
        &self,
        request: Request<RotateSecretKeyRequest>,
    ) -> Result<Response<RotateSecretKeyResponse>, Status> {
        self.rotate(request).await.map(Response::new).map_err(refuse)
    }
}

impl SecretHandlers {
    async fn rotate(
        &self,
        request: Request<RotateSecretKeyRequest>,
    ) -> Result<RotateSecretKeyResponse, Error> {
        self.auth.team(&request, Scope::Admin).await?;
        let rotated = self.app.rotate_secret_key().await?;
        Ok(RotateSecretKeyResponse {
            key_id: rotated.key,
            sealed: rotated.sealed,
            unused_key_ids: rotated.unused,
        })
    }
}
