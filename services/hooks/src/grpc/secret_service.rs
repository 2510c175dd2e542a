//! The calls of `grapnel.hooks.v1.SecretService`.

use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{secret_service_server::SecretService, *};
use tonic::Request;

use super::{Answer, auth::Auth};
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
    ) -> Answer<RotateSecretKeyResponse> {
        answer!({
            self.auth.team(&request, Scope::Admin).await?;
            let rotated = self.app.rotate_secret_key().await?;
            Ok(RotateSecretKeyResponse {
                key_id: rotated.key,
                sealed: rotated.sealed,
                unused_key_ids: rotated.unused,
            })
        })
    }
}
