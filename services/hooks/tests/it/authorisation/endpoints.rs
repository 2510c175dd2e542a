//! Who may do what with endpoints and their events.

use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::*;
use prost::Message;
use prost_types::FieldMask;
use tonic::Code;

use super::{Method, READ, Things, WRITE, bearer, full};
use crate::support::Service;

impl Things {
    /// Lists the methods about endpoints, the one that destroys last.
    pub(super) fn of_endpoints(&self) -> Vec<Method> {
        let method = |path, needs, request: Vec<u8>, stranger| Method { path, needs, request, stranger };
        let project = || self.project.clone();
        let endpoint = || self.endpoint.clone();
        let new_endpoint = CreateEndpointRequest {
            project: project(),
            url: "https://example.org/more".into(),
            ..Default::default()
        };
        let get_endpoint = GetEndpointRequest { endpoint_id: endpoint() };
        let list_endpoints = ListEndpointsRequest { project: project(), ..Default::default() };
        let change_endpoint = UpdateEndpointRequest {
            endpoint_id: endpoint(),
            changes: Some(EndpointChanges { description: "for us".into(), ..Default::default() }),
            update_mask: Some(FieldMask { paths: vec!["description".into()] }),
        };
        let rotate_secret = RotateEndpointSecretRequest { endpoint_id: endpoint(), ..Default::default() };
        let list_events = ListEventsRequest { endpoint_id: endpoint(), ..Default::default() };
        let list_deliveries = ListDeliveriesRequest { event_id: self.event.clone(), ..Default::default() };
        let redeliver = RedeliverEventRequest { event_id: self.event.clone() };
        let send_test = SendTestEventRequest { endpoint_id: endpoint() };
        let delete_endpoint = DeleteEndpointRequest { endpoint_id: endpoint() };
        let none = Code::NotFound;
        vec![
            method("EndpointService/CreateEndpoint", WRITE, new_endpoint.encode_to_vec(), none),
            method("EndpointService/GetEndpoint", READ, get_endpoint.encode_to_vec(), none),
            method("EndpointService/ListEndpoints", READ, list_endpoints.encode_to_vec(), none),
            method("EndpointService/UpdateEndpoint", WRITE, change_endpoint.encode_to_vec(), none),
            method("EndpointService/RotateEndpointSecret", WRITE, rotate_secret.encode_to_vec(), none),
            method("EndpointService/ListEvents", READ, list_events.encode_to_vec(), none),
            method("EndpointService/ListDeliveries", READ, list_deliveries.encode_to_vec(), none),
            method("EndpointService/RedeliverEvent", WRITE, redeliver.encode_to_vec(), none),
            method("EndpointService/SendTestEvent", WRITE, send_test.encode_to_vec(), none),
            method("EndpointService/DeleteEndpoint", WRITE, delete_endpoint.encode_to_vec(), none),
        ]
    }
}

#[tokio::test]
async fn what_the_team_itself_hears_is_for_an_admin_to_change() {
    let service = Service::start().await;
    let create = CreateEndpointRequest { url: "https://example.org/all".into(), ..Default::default() };
    let write = bearer(&service.key(&service.team, &[Scope::Read, Scope::Write]).await);
    let admin = bearer(&service.key(&service.team, &[Scope::Admin]).await);
    let ask = async |key: &str, path: &str, request: Vec<u8>| {
        service.call(&full(&format!("EndpointService/{path}")), Some(key), &request).await
    };
    let refused = ask(&write, "CreateEndpoint", create.encode_to_vec()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let made = ask(&admin, "CreateEndpoint", create.encode_to_vec()).await.unwrap();
    let endpoint_id = CreateEndpointResponse::decode(made).unwrap().endpoint.unwrap().id;
    let update = UpdateEndpointRequest {
        endpoint_id: endpoint_id.clone(),
        changes: Some(EndpointChanges { disabled: true, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["disabled".into()] }),
    };
    let rotate = RotateEndpointSecretRequest { endpoint_id: endpoint_id.clone(), ..Default::default() };
    let read = GetEndpointRequest { endpoint_id: endpoint_id.clone() };
    ask(&write, "GetEndpoint", read.encode_to_vec()).await.unwrap();
    for (path, request) in [
        ("UpdateEndpoint", update.encode_to_vec()),
        ("RotateEndpointSecret", rotate.encode_to_vec()),
        ("DeleteEndpoint", DeleteEndpointRequest { endpoint_id }.encode_to_vec()),
    ] {
        let refused = ask(&write, path, request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{path}");
        ask(&admin, path, request).await.unwrap();
    }
}
