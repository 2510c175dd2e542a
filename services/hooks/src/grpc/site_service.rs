//! The calls of `grapnel.hooks.v1.SiteService`.

use std::time::Duration;

use grapnel_proto::hooks::v1::{
    ReadStatusRequest, ReadStatusResponse, ResolveSiteRequest, ResolveSiteResponse,
    site_service_server::SiteService,
};
use tonic::Request;

use super::{Answer, auth::Auth, convert};
use crate::app::App;

/// The longest that anybody is let wait for a deployment's end, in seconds.
const LONGEST_WAIT: u32 = 300;

/// The handlers.
pub struct SiteHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl SiteService for SiteHandlers {
    async fn resolve_site(&self, request: Request<ResolveSiteRequest>) -> Answer<ResolveSiteResponse> {
        answer!({
            self.auth.gateway(&request).await?;
            let (deployment, immutable) = self.app.resolve_site(&request.into_inner().label).await?;
            Ok(ResolveSiteResponse { deployment_id: deployment.to_string(), immutable })
        })
    }

    async fn read_status(&self, request: Request<ReadStatusRequest>) -> Answer<ReadStatusResponse> {
        answer!({
            self.auth.gateway(&request).await?;
            let request = request.into_inner();
            let id = convert::deployment_id(&request.deployment_id)?;
            let wait = Duration::from_secs(request.wait_seconds.min(LONGEST_WAIT).into());
            let deployment = self.app.read_status(id, &request.status_token, wait).await?;
            let status = convert::status(&deployment, &self.app.addresses);
            Ok(ReadStatusResponse { deployment: Some(status) })
        })
    }
}
