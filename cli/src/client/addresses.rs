//! `grapnel address`, and what changes which deployment an address serves.

use std::process::ExitCode;

use grapnel_proto::hooks::v1::{
    ListAddressesRequest, ListAddressesResponse, PromoteDeploymentRequest, PromoteDeploymentResponse,
};

use super::{Client, paged};
use crate::{args::AddressCommand, exit::Failure};

impl Client {
    pub(super) async fn address(&mut self, command: AddressCommand) -> Result<ExitCode, Failure> {
        let AddressCommand::List { project, branch } = command;
        let branch = branch.unwrap_or_default();
        let (addresses, next_page_token) = paged(u32::MAX, async |page_size, page_token| {
            let (project, branch) = (project.clone(), branch.clone());
            let request = ListAddressesRequest { project, branch, page_size, page_token };
            let page = self.answer(self.addresses.clone().list_addresses(request)).await?;
            Ok((page.addresses, page.next_page_token))
        })
        .await?;
        let all = ListAddressesResponse { addresses, next_page_token };
        self.printer.message("grapnel.hooks.v1.ListAddressesResponse", &all, |printer| {
            printer.addresses(&all.addresses)
        })?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn promote(&self, deployment_id: String) -> Result<ExitCode, Failure> {
        let request = PromoteDeploymentRequest { deployment_id };
        let answer = self.answer(self.addresses.clone().promote_deployment(request)).await?;
        self.printer.message("grapnel.hooks.v1.PromoteDeploymentResponse", &answer, |_| promoted(&answer))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Says what is served now, and how to go back.
fn promoted(answer: &PromoteDeploymentResponse) -> String {
    let address = answer.address.clone().unwrap_or_default();
    let url = if address.project_url.is_empty() { &address.url } else { &address.project_url };
    let now = &address.deployment_id;
    let mut said = match answer.previous_deployment_id.as_str() {
        before if before == now => format!("{url} serves {now}, as before."),
        "" => format!("{url} serves {now} now."),
        before => format!(
            "{url} serves {now} now, and no longer {before}.\n`grapnel deployment promote {before}` goes back."
        ),
    };
    if address.held {
        said += "\nIt stays so while newer deployments get READY, until the newest is promoted.";
    }
    said
}
