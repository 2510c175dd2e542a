//! Who may change which deployment an address serves, and delete deployments.

use std::time::Duration;

use grapnel_domain::{BranchName, event::Outcome};
use grapnel_hooks::store::Claim;
use grapnel_proto::hooks::v1::*;
use prost::Message;
use tonic::Code;

use super::{DEPLOY, Method, READ, Things, WRITE};
use crate::support::Service;

impl Things {
    /// Lets a deployment of a branch get READY that is not the production branch.
    pub(super) async fn ready(service: &Service) -> String {
        const OWNER: &str = "authorisation";
        let Service { app, team, project, .. } = service;
        let (store, now, lease) = (&app.store, app.clock.now(), Duration::from_secs(30));
        let branch = Some(BranchName::parse("ready").unwrap());
        let asked = app.trigger_deployment(team.id, project, branch, true).await.unwrap();
        store.claim(Claim::Pending, OWNER, lease, 1, now).await.unwrap();
        store.resolved(asked.id, OWNER, &"0".repeat(40), "", now).await.unwrap();
        let claimed = store.claim(Claim::Queued, OWNER, lease, 1, now).await.unwrap().remove(0);
        store.started(claimed.spec.id, OWNER, now).await.unwrap();
        let ready = Outcome::Ready { files: 1, bytes: 1 };
        store.finished(claimed.spec.id, OWNER, ready, now).await.unwrap();
        asked.id.to_string()
    }

    /// Lists the methods of addresses, and the one that deletes.
    pub(super) fn of_addresses(&self) -> Vec<Method> {
        let list = ListAddressesRequest { project: self.project.clone(), ..Default::default() };
        let promote = PromoteDeploymentRequest { deployment_id: self.ready.clone() };
        let delete = DeleteDeploymentRequest { deployment_id: self.deployment.clone() };
        let method = |path, needs, request| Method { path, needs, request, stranger: Code::NotFound };
        vec![
            method("AddressService/ListAddresses", READ, list.encode_to_vec()),
            method("AddressService/PromoteDeployment", DEPLOY, promote.encode_to_vec()),
            method("HookService/DeleteDeployment", WRITE, delete.encode_to_vec()),
        ]
    }
}
