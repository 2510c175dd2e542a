//! Addresses and deletion over gRPC.

use grapnel_domain::{Reason, scope::Scope, secret_token::ApiKey};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{address_service_client::AddressServiceClient, hook_service_client::HookServiceClient, *},
};
use grapnel_runtime::{Clock, grpc::Bearer};

use super::House;
use crate::support::Service;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_told_with_their_urls_and_what_is_refused_says_why() {
    let service = Service::start().await;
    let house = House {
        app: service.app.clone(),
        team: service.team.clone(),
        project: service.project.clone(),
        hand: Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap()).1,
    };
    let key = Bearer::new(&ApiKey::parse(&service.key(&service.team, &[Scope::Admin]).await).unwrap());
    let mut addresses = AddressServiceClient::with_interceptor(service.channel(), key.clone());
    let mut hooks = HookServiceClient::with_interceptor(service.channel(), key);

    let list = |branch: &str, page_token: String| ListAddressesRequest {
        project: "site".into(),
        branch: branch.into(),
        page_size: 1,
        page_token,
    };
    let none = addresses.list_addresses(list("", String::new())).await.unwrap().into_inner();
    assert_eq!(none, ListAddressesResponse::default(), "no branch is READY yet");
    let older = house.ready("main").await.to_string();
    let newer = house.ready("main").await.to_string();
    house.ready("feature/x").await;

    let first = addresses.list_addresses(list("", String::new())).await.unwrap().into_inner();
    let next = list("", first.next_page_token.clone());
    let second = addresses.list_addresses(next).await.unwrap().into_inner();
    assert_eq!(second.next_page_token, "");
    let urls: Vec<_> =
        first.addresses.iter().chain(&second.addresses).map(|it| (&*it.url, &*it.project_url)).collect();
    assert_eq!(
        urls,
        [
            ("http://site--main.localhost/", "http://site.localhost/"),
            ("http://site--feature-x-217d2bf5.localhost/", ""),
        ]
    );
    let only = addresses.list_addresses(list("main", String::new())).await.unwrap().into_inner();
    assert_eq!((only.addresses, &*only.next_page_token), (first.addresses, ""));
    for (request, reason) in [
        (list("main", first.next_page_token), Reason::InvalidPageToken),
        (list("a..b", String::new()), Reason::InvalidRequest),
        (ListAddressesRequest { project: "other".into(), ..Default::default() }, Reason::ProjectNotFound),
    ] {
        let refused = addresses.list_addresses(request).await.unwrap_err();
        assert_eq!(from_status(&refused, Reason::Internal).reason, reason);
    }

    let promote = |id: &str| PromoteDeploymentRequest { deployment_id: id.to_owned() };
    let answer = addresses.promote_deployment(promote(&older)).await.unwrap().into_inner();
    assert_eq!(answer.previous_deployment_id, newer);
    assert_eq!(answer.address.map(|it| (it.deployment_id, it.held)), Some((older.clone(), true)));

    let delete = |id: &str| DeleteDeploymentRequest { deployment_id: id.to_owned() };
    let refused = hooks.delete_deployment(delete(&older)).await.unwrap_err();
    assert_eq!(from_status(&refused, Reason::Internal).reason, Reason::DeploymentServed);
    hooks.delete_deployment(delete(&newer)).await.unwrap();
    let gone = addresses.promote_deployment(promote(&newer)).await.unwrap_err();
    assert_eq!(from_status(&gone, Reason::Internal).reason, Reason::DeploymentNotFound);
    let waits = house.asked("main").await.to_string();
    let refused =
        from_status(&addresses.promote_deployment(promote(&waits)).await.unwrap_err(), Reason::Internal);
    assert_eq!((refused.reason, &*refused.facts["state"]), (Reason::DeploymentNotReady, "PENDING"));
}
