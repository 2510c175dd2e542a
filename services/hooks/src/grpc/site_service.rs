//! The calls of `grapnel.hooks.v1.SiteService`.

use grapnel_domain::Error;
use grapnel_proto::hooks::v1::{ResolveSiteRequest, ResolveSiteResponse, site_service_server::SiteService};
use tonic::{Request, Response, Status};

use super::{auth::Auth, convert::refuse};
use crate::app::App;

/// The handlers.
pub struct SiteHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl SiteService for SiteHandlers {
    async fn resolve_site(
        &self,
        request: Request<ResolveSiteRequest>,
    ) -> Result<Response<ResolveSiteResponse>, Status> {
        let answered: Result<_, Error> = async move {
            self.auth.gateway(&request).await?;
            let (deployment, immutable) = self.app.resolve_site(&request.into_inner().label).await?;
            Ok(ResolveSiteResponse { deployment_id: deployment.to_string(), immutable })
        }
        .await;
        answered.map(Response::new).map_err(refuse)
    }
}
