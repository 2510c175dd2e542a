//! Endpoints: how many there are, whose they are, and what goes with them.

use grapnel_domain::{
    Reason, SecretText,
    endpoint::{DisabledReason, EndpointSecret, EventState},
    id::EndpointId,
};
use grapnel_e2e::Receiver;
use grapnel_hooks::{
    app::{EndpointChanges, NewEndpoint},
    store::projects::ProjectRef,
};

use crate::{
    sending::{House, states},
    support::on_both,
};

fn new(project: Option<&ProjectRef>) -> NewEndpoint {
    NewEndpoint {
        project: project.cloned(),
        url: "https://example.org/events".parse().unwrap(),
        types: Vec::new(),
        description: String::new(),
        secret: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_creates_at_once_make_ten_endpoints_of_a_project_and_ten_of_the_team() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let create = |of: usize| {
            let (app, team) = (house.app.clone(), house.team.id);
            let new = new(of.is_multiple_of(2).then_some(&house.project));
            tokio::spawn(async move { app.create_endpoint(team, new).await.map(drop) })
        };
        let mut made = 0;
        for create in (0..30).map(create).collect::<Vec<_>>() {
            match create.await.unwrap() {
                Ok(()) => made += 1,
                Err(error) => {
                    assert_eq!(error.reason, Reason::EndpointLimitReached, "{error}");
                    assert_eq!((error.facts["limit"].as_str(), error.facts["used"].as_str()), ("10", "10"));
                }
            }
        }
        assert_eq!(made, 20);
        let all = house.app.list_endpoints(house.team.id, None, None, 200).await.unwrap().items;
        assert_eq!(all.iter().filter(|it| it.project_id.is_some()).count(), 10);
        house.app.delete_endpoint(house.team.id, all[0].id).await.unwrap();
        let again = new(all[0].project_id.map(ProjectRef::Id).as_ref());
        house.app.create_endpoint(house.team.id, again).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_endpoint_that_is_disabled_or_deleted_is_dropped() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let (disabled, deleted) = (house.endpoint(&receiver).await, house.endpoint(&receiver).await);
        let (team, disabled, deleted) = (house.team.id, disabled.endpoint.id, deleted.endpoint.id);
        house.queued().await;
        let change = EndpointChanges { disabled: Some(true), ..Default::default() };
        let endpoint = house.app.update_endpoint(team, disabled, change).await.unwrap();
        assert_eq!(endpoint.disabled, Some((house.now(), DisabledReason::User)));
        house.app.delete_endpoint(team, deleted).await.unwrap();
        assert_eq!(states(&house.events().await), [EventState::Dropped; 2]);
        let gone = house.app.endpoint(team, deleted).await.unwrap_err();
        assert_eq!(gone.reason, Reason::EndpointNotFound);
        let of_deleted = house.events().await.into_iter().find(|it| it.endpoint == deleted).unwrap();
        let again = house.app.redeliver_event(team, of_deleted.id).await.unwrap_err();
        assert_eq!(again.reason, Reason::EndpointNotFound, "its ledger is there, and it is not");
        let test = house.app.send_test_event(team, disabled).await.unwrap_err();
        assert_eq!(test.reason, Reason::EndpointDisabled);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_sealed_at_rest_and_leave_with_their_endpoint_or_project() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (app, team) = (&house.app, house.team.id);
        let own = SecretText::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let given =
            NewEndpoint { secret: Some(EndpointSecret::parse(&own).unwrap()), ..new(Some(&house.project)) };
        let made = app.create_endpoint(team, given).await.unwrap();
        assert_eq!(made.secret.text().expose(), own.expose());
        let others = app.create_endpoint(team, new(None)).await.unwrap().endpoint.id;
        app.rotate_endpoint_secret(team, others, None, None).await.unwrap();
        let sealed = app.store.sealed_under_others("", 10).await.unwrap();
        assert_eq!(sealed.len(), 3);
        assert!(sealed.iter().all(|it| it.owner.starts_with("whs_") && !it.sealed.text.contains("AAAA")));
        let deployment = house.queued().await;
        app.delete_project(team, &house.project).await.unwrap();
        assert_eq!(app.endpoint(team, made.endpoint.id).await.unwrap_err().reason, Reason::EndpointNotFound);
        assert_eq!(app.store.sealed_under_others("", 10).await.unwrap().len(), 2);
        // The team itself hears that the project's deployments ended.
        let of_team: Vec<_> = house.events().await.into_iter().filter(|it| it.endpoint == others).collect();
        let kinds: Vec<_> = of_team.iter().map(|it| (it.kind.as_str(), it.deployment)).collect();
        let told = |kind| (kind, Some(deployment));
        assert_eq!(kinds, [told("deployment.queued"), told("deployment.canceled")]);
        assert_eq!(states(&of_team), [EventState::Waiting; 2]);
        app.delete_endpoint(team, others).await.unwrap();
        assert_eq!(app.store.sealed_under_others("", 10).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_team_has_is_neither_read_nor_sent_again() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let made = house.app.create_endpoint(house.team.id, new(None)).await.unwrap().endpoint.id;
        house.queued().await;
        let event = house.events().await.remove(0).id;
        let stranger = grapnel_hooks::model::Team { id: house.app.clock.new_id(), ..house.team.clone() };
        house.app.store.create_team(&stranger, "other", house.now()).await.unwrap();
        let (app, team) = (&house.app, stranger.id);
        let refused = [
            app.endpoint(team, made).await.map(drop),
            app.update_endpoint(team, made, EndpointChanges::default()).await.map(drop),
            app.rotate_endpoint_secret(team, made, None, None).await.map(drop),
            app.send_test_event(team, made).await.map(drop),
            app.delete_endpoint(team, made).await,
            app.redeliver_event(team, event).await.map(drop),
        ];
        let reasons = refused.map(|refused| refused.unwrap_err().reason);
        assert_eq!(reasons[..5], [Reason::EndpointNotFound; 5]);
        assert_eq!(reasons[5], Reason::EventNotFound);
        let unknown: EndpointId = app.clock.new_id();
        assert_eq!(app.endpoint(house.team.id, unknown).await.unwrap_err().reason, Reason::EndpointNotFound);
        assert_eq!(app.list_endpoints(team, None, None, 10).await.unwrap().items, []);
        app.endpoint(house.team.id, made).await.unwrap();
    })
    .await;
}
