//! Who sends events: one try each, in order, past whoever is slow, and only where it may; on both databases.

use std::{collections::BTreeSet, time::Duration};

use grapnel_domain::endpoint::{DisabledReason, EventState, TryOutcome};
use grapnel_e2e::{Received, Receiver, Reply};
use grapnel_hooks::{app::EndpointChanges, outbound::http::Reach, store::Store};

use crate::{
    sending::{House, states},
    support::on_both,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_senders_at_once_never_make_the_same_try() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        for _ in 0..40 {
            house.app.send_test_event(house.team.id, made.endpoint.id).await.unwrap();
        }
        // The second one has its own connections, as another process has.
        let mut other = house.app.clone();
        other.store = Store::open(&url).await.unwrap();
        let reach = Reach { allowed: vec!["127.0.0.0/8".parse().unwrap()] };
        for (name, app) in [("one", &house.app), ("two", &other)] {
            house.sender(name, reach.clone(), app).run_in_the_background();
        }
        let events = house.until_over().await;
        assert_eq!(events.len(), 40);
        assert!(events.iter().all(|event| event.tries == 1 && event.state == EventState::Delivered));
        let received = receiver.received();
        let ids: BTreeSet<_> = received.iter().map(|it| it.header("webhook-id")).collect();
        assert_eq!((received.len(), ids.len()), (40, 40));
        assert_eq!(house.tries(made.endpoint.id).await.len(), 40);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_endpoint_holds_up_nobody_but_itself() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (slow, quick) = (Receiver::start().await, Receiver::start().await);
        let of_slow = house.endpoint(&slow).await.endpoint.id;
        // More than are looked at together, all older than what the quick one is to hear.
        for _ in 0..200 {
            slow.reply(Reply::status(204).held());
            house.app.send_test_event(house.team.id, of_slow).await.unwrap();
        }
        let of_quick = house.endpoint(&quick).await.endpoint.id;
        for _ in 0..10 {
            house.app.send_test_event(house.team.id, of_quick).await.unwrap();
        }
        house.send();
        house.until_tried(of_quick, 10).await;
        assert_eq!(quick.received().len(), 10);
        assert_eq!(slow.received().len(), 2, "the slow one hears two at a time");
        assert_eq!(house.tries(of_slow).await, []);
        slow.let_go();
        slow.until(3).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_event_of_a_deployment_waits_for_the_first_try_at_the_earlier_one() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        receiver.reply(Reply::status(500).held());
        house.ready().await;
        house.send();
        receiver.until(1).await;
        // Another deployment's events do not wait for this one's.
        house.app.send_test_event(house.team.id, made.endpoint.id).await.unwrap();
        let received = receiver.until(2).await;
        assert_eq!([received[0].kind(), received[1].kind()], ["deployment.queued", "endpoint.test"]);
        receiver.let_go();
        let received = receiver.until(4).await;
        let kinds: Vec<_> = received.iter().skip(2).map(Received::kind).collect();
        assert_eq!(kinds, ["deployment.building", "deployment.ready"], "a failed first try is a first try");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_was_under_way_when_its_endpoint_was_disabled_is_told_and_not_followed_by_another() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let id = house.endpoint(&receiver).await.endpoint.id;
        receiver.reply(Reply::status(500).held());
        receiver.reply(Reply::status(204).held());
        for _ in 0..2 {
            house.app.send_test_event(house.team.id, id).await.unwrap();
        }
        house.send();
        receiver.until(2).await;
        let disable = EndpointChanges { disabled: Some(true), ..Default::default() };
        house.app.update_endpoint(house.team.id, id, disable).await.unwrap();
        assert_eq!(states(&house.events().await), [EventState::Dropped; 2]);
        receiver.let_go();
        receiver.let_go();
        house.until_tried(id, 2).await;
        let mut states = states(&house.events().await);
        states.sort_unstable();
        assert_eq!(states, [EventState::Delivered, EventState::Dropped], "what came through came through");
        let endpoint = house.app.endpoint(house.team.id, id).await.unwrap();
        assert_eq!(endpoint.disabled.unwrap().1, DisabledReason::User);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_unsigned_and_the_endpoint_is_not_blamed_for_it() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        let id = made.endpoint.id;
        // The key under which the secret is sealed is gone.
        house.app.sealer.add_key().unwrap();
        house.app.sealer.drop_old_keys().unwrap();
        house.app.store.seal_under(&house.app.sealer.current()).await.unwrap();
        house.app.send_test_event(house.team.id, id).await.unwrap();
        house.send();
        let tried = house.until_tried(id, 1).await.remove(0).tried;
        assert_eq!((tried.outcome, tried.status), (TryOutcome::Unsigned, None));
        assert_eq!(receiver.received(), []);
        assert_eq!(house.app.endpoint(house.team.id, id).await.unwrap().failing_since, None);
        // A new secret is sealed under the key that is there. The old one, which would have to sign too, has to go first.
        let rotated =
            house.app.rotate_endpoint_secret(house.team.id, id, None, Some(Duration::ZERO)).await.unwrap();
        house.pass(7);
        let received = receiver.until(1).await.remove(0);
        received.verify(rotated.secret.text().expose()).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_addresses_of_ours_until_the_operator_opens_them() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let by_name = format!("http://localhost:{}/events", receiver.port());
        let (written, named) = (house.endpoint(&receiver).await, house.hearing(&by_name, None, &[]).await);
        house.queued().await;
        house.send_into("");
        for made in [&written, &named] {
            let tried = house.until_tried(made.endpoint.id, 1).await.remove(0).tried;
            assert_eq!(tried.outcome, TryOutcome::AddressRefused);
            assert!(tried.error.contains("outbound.allow"), "{}", tried.error);
        }
        assert_eq!(receiver.received(), [], "nobody has even connected");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed_and_counts_as_a_try_that_failed() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
        let made = house.endpoint(&receiver).await;
        receiver.reply(Reply::status(307).header("location", &elsewhere.url()));
        house.queued().await;
        house.send();
        let tried = house.until_tried(made.endpoint.id, 1).await.remove(0).tried;
        assert_eq!((tried.outcome, tried.status), (TryOutcome::Redirected, Some(307)));
        house.pass(7);
        house.until_over().await;
        assert_eq!((receiver.received().len(), elsewhere.received().len()), (2, 0));
    })
    .await;
}
