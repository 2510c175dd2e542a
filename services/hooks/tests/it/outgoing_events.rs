//! Events: what is stored of them, what is sent when, and what follows from what is answered; on both databases.

use std::{collections::BTreeSet, time::Duration};

use grapnel_domain::{
    Reason,
    endpoint::{DisabledReason, EventState, EventType, TryOutcome},
    event::Outcome,
    failure::{Failure, FailureCode},
};
use grapnel_e2e::{Received, Receiver, Reply};
use grapnel_hooks::{
    app::EndpointChanges,
    store::{StoreError, event_ledger::DeliveryFilter},
};

use crate::{
    sending::{COMMIT, House, kinds, states},
    support::on_both,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_tells_each_of_its_states_once_signed_and_in_order() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        let id = house.queued().await;
        // An attempt that is lost begins again, and nobody is told a second time.
        let lost = Failure::new(FailureCode::ExecutorLost, "gone");
        let building = house.building().await;
        house.finish(&building, Outcome::Failed { failure: lost }).await;
        house.pass(60);
        let building = house.building().await;
        house.finish(&building, Outcome::Ready { files: 1, bytes: 1 }).await;
        house.send();
        let received = receiver.until(3).await;
        let told = ["deployment.queued", "deployment.building", "deployment.ready"];
        assert_eq!(received.iter().map(Received::kind).collect::<Vec<_>>(), told);
        let secret = made.secret.text().expose();
        for one in &received {
            assert_eq!(one.verify(secret).unwrap(), one.json());
            assert_eq!(one.header("content-type"), "application/json");
            assert!(one.header("user-agent").starts_with("Grapnel/"));
        }
        let mut changed = received[2].clone();
        changed.body = changed.body.replace("READY", "REAPY");
        assert_eq!(changed.verify(secret).unwrap_err(), "No matching signature found");
        let ready = received[2].json();
        assert_eq!(ready["timestamp"], "2026-01-01T00:01:00.000000Z");
        let deployment = &ready["data"]["deployment"];
        assert_eq!(deployment["id"], id.to_string());
        assert_eq!(deployment["siteUrl"], format!("http://{id}.localhost/"));
        assert_eq!(deployment["promoted"], true);
        assert_eq!(deployment["attempt"], 2);
        assert_eq!(deployment["commit"], COMMIT);
        assert_eq!(deployment["commitMessage"], "Begin");
        assert_eq!(deployment["project"]["name"], "site");
        assert!(deployment["hook"].is_null() && deployment["reason"].is_null());
        assert!(received[0].json()["data"]["deployment"]["siteUrl"].is_null(), "nothing is there yet");
        assert_eq!(states(&house.until_over().await), [EventState::Delivered; 3]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_stored_with_the_change_that_it_tells_of_or_not_at_all() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        house.endpoint(&receiver).await;
        let deployment =
            house.app.trigger_deployment(house.team.id, &house.project, None, true).await.unwrap();
        assert_eq!(house.events().await, [], "nothing is told of what waits for its version");
        // Whoever does not hold the lease changes nothing, and tells nothing.
        let fenced = house.app.store.resolved(deployment.id, "stranger", COMMIT, "", house.now()).await;
        assert!(matches!(fenced, Err(StoreError::Fenced)));
        assert_eq!(house.events().await, []);
        house.resolve(deployment.id).await;
        let building = house.building().await;
        let failure = Failure::new(FailureCode::BuildFailed, "it ended with 1");
        house.finish(&building, Outcome::Failed { failure: failure.clone() }).await;
        // A second end of the same attempt is refused, and rolled back whole.
        let ready = Outcome::Ready { files: 1, bytes: 1 };
        house.app.store.finished(building.spec.id, "builder", ready, house.now()).await.unwrap_err();
        let events = house.events().await;
        assert_eq!(kinds(&events), ["deployment.queued", "deployment.building", "deployment.error"]);
        house.send();
        let error = &receiver.until(3).await[2].json()["data"]["deployment"];
        assert_eq!(error["state"], "ERROR");
        assert_eq!(error["reason"]["code"], "BUILD_FAILED");
        assert_eq!(error["reason"]["message"], failure.message);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_hear_of_their_project_or_of_all_and_of_the_types_that_they_chose() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (all, some, other) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
        house.hearing(&all.url(), None, &[]).await;
        house.hearing(&some.url(), Some(&house.project), &[EventType::DeploymentReady]).await;
        let mut another = house.app.project(house.team.id, &house.project).await.unwrap();
        another.id = house.app.clock.new_id();
        another.name = "another".parse().unwrap();
        house.app.store.create_project(&another).await.unwrap();
        let another = grapnel_hooks::store::projects::ProjectRef::Id(another.id);
        house.hearing(&other.url(), Some(&another), &[]).await;
        house.ready().await;
        house.send();
        house.until_over().await;
        assert_eq!(all.received().len(), 3);
        let heard: Vec<_> = some.received().iter().map(Received::kind).collect();
        assert_eq!(heard, ["deployment.ready"]);
        assert_eq!(other.received(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_over_hours_with_the_same_id_and_body_and_then_has_failed() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        (0..10).for_each(|_| receiver.reply(Reply::status(503).body("busy\0busy")));
        house.queued().await;
        house.send();
        let begun = house.now();
        for tried in 1..=10 {
            let tries = house.until_tried(made.endpoint.id, tried).await;
            let event = house.events().await.remove(0);
            assert_eq!(usize::try_from(event.tries).unwrap(), tried);
            if let Some(next) = event.next_try_at {
                let wait = (next - house.now()).num_seconds();
                // The second try is the one after 5 s, a fifth more or less.
                assert!(tried != 1 || (4..=6).contains(&wait), "{wait}");
                house.pass(wait - 1);
                tokio::task::yield_now().await;
                assert_eq!(receiver.received().len(), tried, "nobody is tried before the time");
                house.pass(2);
            }
            let last = &tries[tried - 1].tried;
            assert_eq!((last.outcome, last.status), (TryOutcome::Refused, Some(503)));
            assert_eq!(last.answer, "busy\u{fffd}busy", "no database takes a NUL");
        }
        let hours = (house.now() - begun).num_hours();
        assert!((60..=92).contains(&hours), "{hours}");
        let event = house.until_over().await.remove(0);
        assert_eq!((event.state, event.tries), (EventState::Failed, 10));
        let received = receiver.received();
        assert_eq!(received.len(), 10);
        let same: BTreeSet<_> = received.iter().map(|it| (it.header("webhook-id"), &it.body)).collect();
        assert_eq!(same.len(), 1, "the receiver can tell that it is the same event");
        let times: BTreeSet<_> = received.iter().map(|it| it.header("webhook-timestamp")).collect();
        assert_eq!(times.len(), 10, "each try says when it was made");
        for one in [&received[0], &received[9]] {
            one.verify(made.secret.text().expose()).unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_asks_for_a_later_try_gets_it() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        receiver.reply(Reply::status(429).header("retry-after", "3600"));
        house.queued().await;
        house.send();
        house.until_tried(made.endpoint.id, 1).await;
        let event = house.events().await.remove(0);
        assert_eq!((event.next_try_at.unwrap() - house.now()).num_seconds(), 3600);
        house.pass(3600);
        assert_eq!(states(&house.until_over().await), [EventState::Delivered]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_410_disables_the_endpoint_and_drops_what_waits() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        receiver.reply(Reply::status(410));
        house.ready().await;
        house.send();
        let events = house.until_over().await;
        assert_eq!(states(&events), [EventState::Dropped; 3]);
        assert_eq!(receiver.received().len(), 1, "it is left alone at once");
        let endpoint = house.app.endpoint(house.team.id, made.endpoint.id).await.unwrap();
        assert_eq!(endpoint.disabled, Some((house.now(), DisabledReason::Gone)));
        assert_eq!(house.tries(made.endpoint.id).await[0].tried.outcome, TryOutcome::Gone);
        house.queued().await;
        assert_eq!(house.events().await.len(), 3, "nothing is stored for it any more");
        let again = house.app.redeliver_event(house.team.id, events[0].id).await.unwrap_err();
        assert_eq!(again.reason, Reason::EndpointDisabled);
        let enable = EndpointChanges { disabled: Some(false), ..Default::default() };
        house.app.update_endpoint(house.team.id, made.endpoint.id, enable).await.unwrap();
        house.app.redeliver_event(house.team.id, events[0].id).await.unwrap();
        let received = receiver.until(2).await;
        assert_eq!(received[0].body, received[1].body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_secrets_sign_while_one_takes_the_place_of_the_other_and_then_the_new_one_alone() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        let (team, id) = (house.team.id, made.endpoint.id);
        let grace = Some(Duration::from_secs(600));
        let rotated = house.app.rotate_endpoint_secret(team, id, None, grace).await.unwrap();
        assert_eq!(rotated.endpoint.secrets.len(), 2);
        let (old, new) = (made.secret.text().expose(), rotated.secret.text().expose());
        house.send();
        house.app.send_test_event(team, id).await.unwrap();
        let both = receiver.until(1).await.remove(0);
        assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
        both.verify(new).unwrap();
        both.verify(old).unwrap();
        assert_eq!(both.kind(), "endpoint.test");
        house.pass(600);
        house.app.send_test_event(team, id).await.unwrap();
        let after = receiver.until(2).await.remove(1);
        after.verify(new).unwrap();
        after.verify(old).unwrap_err();
        assert_eq!(house.app.endpoint(team, id).await.unwrap().secrets.len(), 1);
        // At once: the old one signs nothing any more.
        let third = house.app.rotate_endpoint_secret(team, id, None, Some(Duration::ZERO)).await.unwrap();
        house.app.send_test_event(team, id).await.unwrap();
        let last = receiver.until(3).await.remove(2);
        last.verify(third.secret.text().expose()).unwrap();
        last.verify(new).unwrap_err();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_tells_every_try_and_an_event_is_sent_again_as_it_was() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let made = house.endpoint(&receiver).await;
        receiver.reply(Reply::status(200).body("thank you"));
        house.queued().await;
        house.send();
        let event = house.until_over().await.remove(0);
        let first = receiver.until(1).await.remove(0);
        assert_eq!(event.body, first.body);
        house.pass(60);
        let asked = house.app.redeliver_event(house.team.id, event.id).await.unwrap();
        assert_eq!((asked.state, asked.next_try_at), (EventState::Waiting, Some(house.now())));
        let second = receiver.until(2).await.remove(1);
        assert_eq!((second.header("webhook-id"), &second.body), (first.header("webhook-id"), &first.body));
        second.verify(made.secret.text().expose()).unwrap();
        house.until_over().await;
        let filter = DeliveryFilter { endpoint: None, event: Some(event.id) };
        let tries = house.app.list_deliveries(house.team.id, filter, None, 10).await.unwrap().items;
        let answers: Vec<_> = tries.iter().map(|it| (it.tried.status, it.tried.answer.as_str())).collect();
        assert_eq!(answers, [(Some(204), ""), (Some(200), "thank you")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_fails_for_five_days_is_disabled_and_one_that_works_again_is_not() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (dead, back) = (Receiver::start().await, Receiver::start().await);
        let dead_id = house.endpoint(&dead).await.endpoint.id;
        let back_id = house.endpoint(&back).await.endpoint.id;
        (0..3).for_each(|_| dead.reply(Reply::status(500)));
        back.reply(Reply::status(500));
        let begun = house.now();
        let endpoint = async |id| house.app.endpoint(house.team.id, id).await.unwrap();
        for id in [dead_id, back_id] {
            house.app.send_test_event(house.team.id, id).await.unwrap();
        }
        house.send();
        for id in [dead_id, back_id] {
            house.until_tried(id, 1).await;
            assert_eq!(endpoint(id).await.failing_since, Some(begun));
        }
        house.pass(5 * 24 * 60 * 60 - 1);
        for id in [dead_id, back_id] {
            house.until_tried(id, 2).await;
            assert_eq!(endpoint(id).await.disabled, None, "it is not five days yet");
        }
        assert_eq!(endpoint(dead_id).await.failing_since, Some(begun));
        assert_eq!(endpoint(back_id).await.failing_since, None);
        house.pass(600);
        house.until_tried(dead_id, 3).await;
        assert_eq!(endpoint(dead_id).await.disabled, Some((house.now(), DisabledReason::Failing)));
        let mut states = states(&house.until_over().await);
        states.sort_unstable();
        assert_eq!(states, [EventState::Delivered, EventState::Dropped]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_forgets_what_is_old_and_over_and_keeps_what_waits() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let receiver = Receiver::start().await;
        let id = house.endpoint(&receiver).await.endpoint.id;
        receiver.reply(Reply::status(204));
        receiver.reply(Reply::status(500));
        house.send();
        house.app.send_test_event(house.team.id, id).await.unwrap();
        house.until_over().await;
        let waits = house.app.send_test_event(house.team.id, id).await.unwrap();
        house.until_tried(id, 2).await;
        let later = house.now() + chrono::Duration::seconds(1);
        assert_eq!(house.app.store.prune_events(house.now()).await.unwrap().removed, 0, "nothing is old yet");
        assert_eq!(house.app.store.prune_events(later).await.unwrap().removed, 1);
        let left: Vec<_> = house.events().await.into_iter().map(|event| event.id).collect();
        assert_eq!(left, [waits.id]);
        assert_eq!(house.tries(id).await.len(), 1, "a try goes with its event");
    })
    .await;
}
