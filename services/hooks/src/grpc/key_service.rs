//! The calls of `grapnel.hooks.v1.KeyService`.

use grapnel_domain::{
    Error, Reason,
    scope::{Scope, Scopes},
};
use grapnel_proto::{
    convert::{Violations, checked},
    hooks::v1::{key_service_server::KeyService, *},
};
use tonic::Request;

use super::{
    Answer,
    auth::Auth,
    convert::{self},
    page,
};
use crate::app::App;

/// The handlers.
pub struct KeyHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl KeyService for KeyHandlers {
    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Answer<CreateKeyResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Admin).await?;
            let request = request.into_inner();
            let mut violations = Violations::default();
            // The same rules as for hooks: a name of 1 to 100 printable characters.
            let name = violations.check("name", request.name.parse::<grapnel_domain::name::HookName>());
            let scopes = violations.check("scopes", scopes(&request.scopes));
            violations.finish()?;
            let (key, secret) =
                self.app.create_key(team, checked(name)?.to_string(), checked(scopes)?).await?;
            Ok(CreateKeyResponse { key: Some(convert::key(&key)), secret: secret.expose().to_owned() })
        })
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Answer<ListKeysResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Admin).await?;
            let request = request.into_inner();
            let after = page::after("keys", &request.page_token)?;
            let page = self.app.list_keys(team, after, page::size(request.page_size)?).await?;
            Ok(ListKeysResponse {
                next_page_token: page::next("keys", page.items.last().map(|key| key.id), page.more),
                keys: page.items.iter().map(convert::key).collect(),
            })
        })
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Answer<RevokeKeyResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Admin).await?;
            let id = request.into_inner().key_id.parse();
            let id = id.map_err(|_| Error::new(Reason::KeyNotFound, "there is no such key"))?;
            self.app.revoke_key(team, id).await?;
            Ok(RevokeKeyResponse {})
        })
    }
}

fn scopes(names: &[String]) -> Result<Scopes, String> {
    if names.is_empty() {
        return Err("must name at least one of read, write, deploy, admin".to_owned());
    }
    names.iter().map(|name| name.parse::<Scope>()).collect()
}
