//! Addresses of sites.

use grapnel_domain::{Error, Reason, id::DeploymentId, name::ProjectName};

use super::App;

impl App {
    /// Finds the deployment behind the first label of a site's host name, and whether it will always be that one.
    ///
    /// # Errors
    /// `SITE_NOT_FOUND`, `ARTIFACT_REMOVED`.
    pub async fn resolve_site(&self, label: &str) -> Result<(DeploymentId, bool), Error> {
        let found = match label.parse::<DeploymentId>() {
            Ok(id) => self.store.ready_deployment(id).await.map(|id| (id, true)),
            Err(_) => {
                let name: ProjectName = label.parse().map_err(|_| no_site())?;
                self.store.promoted_deployment(&name).await.map(|id| (id, false))
            }
        };
        found.map_err(|error| error.into_error(Reason::SiteNotFound))
    }
}

fn no_site() -> Error {
    Error::new(Reason::SiteNotFound, "no site is served at this address")
}
