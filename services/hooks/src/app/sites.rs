//! Addresses of sites.

use grapnel_domain::{
    Error, Reason,
    id::{DeploymentId, TeamId},
    site::Site,
};

use super::App;
use crate::{
    model::{Address, AddressPlace, Page, Project, Promoted},
    store::projects::ProjectRef,
};

impl App {
    /// Finds the deployment behind the first label of a site's host name, and whether it will always be that one.
    ///
    /// # Errors
    /// `SITE_NOT_FOUND`, `ARTIFACT_REMOVED`.
    pub async fn resolve_site(&self, label: &str) -> Result<(DeploymentId, bool), Error> {
        let site = Site::parse(label)
            .ok_or_else(|| Error::new(Reason::SiteNotFound, "no site is served at this address"))?;
        let found = match &site {
            Site::Deployment(id) => self.store.ready_deployment(*id).await,
            Site::Project(project) => self.store.served_deployment(project, None).await,
            Site::Branch(project, branch) => self.store.served_deployment(project, Some(branch)).await,
            Site::Hashed(project, hash) => self.store.served_deployment_by_hash(project, hash, label).await,
        };
        let found = found.map_err(|error| error.into_error(Reason::SiteNotFound))?;
        Ok((found, matches!(site, Site::Deployment(_))))
    }

    /// Lists a project's addresses, the production branch's first.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_addresses(
        &self,
        team: TeamId,
        project: &ProjectRef,
        branch: Option<&str>,
        after: Option<AddressPlace>,
        limit: u64,
    ) -> Result<(Project, Page<Address>), Error> {
        let project = self.project(team, project).await?;
        let page = self.store.list_addresses(&project, branch, after, limit).await;
        Ok((project, page.map_err(|error| error.into_error(Reason::ProjectNotFound))?))
    }

    /// Lets a deployment's branch's address serve it, and holds it there unless it is the newest.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND`, `DEPLOYMENT_NOT_READY`, `ARTIFACT_REMOVED`.
    pub async fn promote_deployment(&self, team: TeamId, id: DeploymentId) -> Result<Promoted, Error> {
        let promoted = self.store.promote_deployment(team, id, self.clock.now()).await;
        let promoted = promoted.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
        let Promoted { project, address, .. } = &promoted;
        tracing::info!(
            deployment.id = %id, project.id = %project.id, branch = %address.branch, held = address.held,
            "a deployment was promoted by hand"
        );
        Ok(promoted)
    }
}
