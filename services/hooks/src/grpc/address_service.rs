//! The calls of `grapnel.hooks.v1.AddressService`.

use grapnel_domain::{BranchName, Error, scope::Scope, site::branch_label};
use grapnel_proto::{
    convert::time::timestamp,
    hooks::v1::{address_service_server::AddressService, *},
};
use tonic::Request;

use super::{
    Answer,
    auth::Auth,
    convert::{deployment_id, project_ref},
    page,
};
use crate::{
    app::{Addresses, App},
    model::{self, AddressPlace, Project},
};

/// The handlers.
pub struct AddressHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl AddressService for AddressHandlers {
    async fn list_addresses(&self, request: Request<ListAddressesRequest>) -> Answer<ListAddressesResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let list = format!("addresses {} {}", request.project, request.branch);
            let after = page::after(&list, &request.page_token)?;
            let size = page::size(request.page_size)?;
            let branch = branch_or_all(&request.branch)?;
            let project = project_ref(&request.project)?;
            let (project, page) = self.app.list_addresses(team, &project, branch, after, size).await?;
            Ok(ListAddressesResponse {
                next_page_token: page::next(&list, page.items.last().map(AddressPlace::from), page.more),
                addresses: page.items.iter().map(|it| address(&project, it, &self.app.addresses)).collect(),
            })
        })
    }

    async fn promote_deployment(
        &self,
        request: Request<PromoteDeploymentRequest>,
    ) -> Answer<PromoteDeploymentResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Deploy).await?;
            let id = deployment_id(&request.into_inner().deployment_id)?;
            let promoted = self.app.promote_deployment(team, id).await?;
            let previous = promoted.previous.map(|id| id.to_string());
            Ok(PromoteDeploymentResponse {
                address: Some(address(&promoted.project, &promoted.address, &self.app.addresses)),
                previous_deployment_id: previous.unwrap_or_default(),
            })
        })
    }
}

fn branch_or_all(text: &str) -> Result<Option<&str>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    BranchName::parse(text).map_err(|error| Error::invalid_field("branch", error))?;
    Ok(Some(text))
}

fn address(project: &Project, address: &model::Address, addresses: &Addresses) -> Address {
    let production = address.branch == project.production_branch;
    Address {
        branch: address.branch.to_string(),
        url: addresses.site_url(branch_label(&project.name, &address.branch)),
        project_url: if production { addresses.site_url(&project.name) } else { String::new() },
        deployment_id: address.deployment.to_string(),
        held: address.held,
        updated_at: Some(timestamp(address.updated_at)),
    }
}
