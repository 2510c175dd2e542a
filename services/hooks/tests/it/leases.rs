//! Leases: whose they are, when they run out, and by which clock; on both databases.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use grapnel_domain::{
    deployment::State,
    endpoint::TryOutcome,
    event::{BuildEvent, LogLine, Outcome, Step, Stream},
    failure::{Failure, FailureCode},
    id::DeploymentId,
};
use grapnel_e2e::Receiver;
use grapnel_hooks::{
    model::{Delivery, Tried},
    store::{Claim, Claimed, ClaimedEvent, Claimer, Store, StoreError},
};

use crate::{
    sending::House,
    support::{app, on_both},
};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3_600);

/// Waits until a claim gets something: until the lease of whoever has it has run out.
async fn taken_over(store: &Store, which: Claim, owner: &str, now: chrono::DateTime<chrono::Utc>) -> Claimed {
    let taken = async {
        loop {
            if let Some(claimed) = store.claim(which, owner, LONG, 1, now).await.unwrap().pop() {
                return claimed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.expect("the lease never ran out")
}

fn fenced<T: std::fmt::Debug>(done: Result<T, StoreError>) {
    let error = done.unwrap_err();
    assert!(matches!(error, StoreError::Fenced | StoreError::Illegal(_)), "{error:?}");
}

fn line(sequence: u64) -> Vec<(u64, BuildEvent)> {
    let line = LogLine { stream: Stream::Stdout, at: chrono::DateTime::UNIX_EPOCH, text: "x".into() };
    vec![(sequence, BuildEvent::Log { step: Step::Build, lines: vec![line] })]
}

fn ready() -> Outcome {
    Outcome::Ready { files: 1, bytes: 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_slept_past_its_lease_while_resolving_changes_nothing() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let other = Store::open(&url).await.unwrap();
        let id = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        let (store, now) = (&app.store, app.clock.now());
        let late = store.claim(Claim::Pending, "sleeper", SHORT, 1, now).await.unwrap().remove(0);
        taken_over(&other, Claim::Pending, "other", now).await;
        fenced(store.resolved(id, "sleeper", &"0".repeat(40), "", now).await);
        fenced(store.disabled(id, "sleeper", &"0".repeat(40), "", now).await);
        let failure = Failure::new(FailureCode::BranchNotFound, "gone");
        fenced(store.not_resolved(&late.deployment, "sleeper", failure, now, now).await);
        let unreachable = Failure::new(FailureCode::RepositoryUnreachable, "away");
        store.not_resolved(&late.deployment, "sleeper", unreachable, now, now).await.unwrap();
        assert!(!store.renew_lease(id, "sleeper", LONG).await.unwrap());
        store.release_lease(id, "sleeper", now).await.unwrap();
        assert!(
            store.claim(Claim::Pending, "third", LONG, 1, now).await.unwrap().is_empty(),
            "it is held still"
        );
        let seen = app.deployment(team.id, id).await.unwrap();
        assert_eq!((seen.state, seen.resolve_attempts), (State::Pending, 0));
        other.resolved(id, "other", &"1".repeat(40), "", now).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_slept_past_its_lease_while_building_changes_nothing() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let other = Store::open(&url).await.unwrap();
        let id = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        let (store, now) = (&app.store, app.clock.now());
        store.claim(Claim::Pending, "sleeper", LONG, 1, now).await.unwrap();
        store.resolved(id, "sleeper", &"0".repeat(40), "", now).await.unwrap();
        let queued = store.claim(Claim::Queued, "sleeper", SHORT, 1, now).await.unwrap().remove(0);
        taken_over(&other, Claim::Queued, "other", now).await;
        fenced(store.started(queued.spec.id, "sleeper", now).await);
        other.started(queued.spec.id, "other", now).await.unwrap();
        other.append_build_events(queued.spec.id, "other", line(1), now).await.unwrap();
        // It sleeps in its turn, and a third one goes on with the same attempt.
        assert!(other.renew_lease(id, "other", SHORT).await.unwrap());
        let building = taken_over(store, Claim::Orphaned, "third", now).await;
        assert_eq!(building.spec.id, queued.spec.id);
        for late in ["sleeper", "other"] {
            fenced(other.append_build_events(building.spec.id, late, line(2), now).await);
            fenced(other.finished(building.spec.id, late, ready(), now).await);
            assert!(!other.renew_lease(id, late, LONG).await.unwrap());
            other.release_lease(id, late, now).await.unwrap();
        }
        assert_eq!(store.last_sequence(building.spec.id).await.unwrap(), 1);
        assert!(other.claim(Claim::Orphaned, "fourth", LONG, 1, now).await.unwrap().is_empty(), "it is held");
        let finished = store.finished(building.spec.id, "third", ready(), now).await.unwrap();
        assert_eq!(finished.state, State::Ready);
        fenced(store.finished(building.spec.id, "third", ready(), now).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_was_lost_cannot_be_told_of_under_the_next_ones_lease() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let id = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        let (store, now) = (&app.store, app.clock.now());
        let later = now + TimeDelta::hours(1);
        store.claim(Claim::Pending, "one", LONG, 1, now).await.unwrap();
        store.resolved(id, "one", &"0".repeat(40), "", now).await.unwrap();
        let first = store.claim(Claim::Queued, "one", LONG, 1, now).await.unwrap().remove(0).spec.id;
        store.started(first, "one", now).await.unwrap();
        let lost = Outcome::Failed { failure: Failure::new(FailureCode::SandboxLost, "gone") };
        store.finished(first, "one", lost, now).await.unwrap();
        let second = store.claim(Claim::Queued, "one", LONG, 1, later).await.unwrap().remove(0).spec.id;
        store.started(second, "one", later).await.unwrap();
        assert_eq!((first.attempt, second.attempt), (1, 2));
        fenced(store.append_build_events(first, "one", line(1), later).await);
        fenced(store.finished(first, "one", ready(), later).await);
        store.finished(second, "one", ready(), later).await.unwrap();
    })
    .await;
}

/// Claims the one event that there is, where nobody has it.
async fn claim_event(store: &Store, owner: &str, lease: Duration, house: &House) -> Option<ClaimedEvent> {
    let render = |_, _, _| "{}".to_owned();
    let claimer = Claimer { owner, lease, at_once: 1, render: &render };
    store.claim_events(&claimer, &mut HashMap::new(), 1, house.now()).await.unwrap().pop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_slept_past_its_lease_while_sending_an_event_changes_nothing() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let made = house.endpoint(&Receiver::start().await).await;
        house.app.send_test_event(house.team.id, made.endpoint.id).await.unwrap();
        let other = Store::open(&url).await.unwrap();
        let claimed = async |store: &Store, owner, lease| {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            loop {
                look.tick().await;
                if let Some(claimed) = claim_event(store, owner, lease, &house).await {
                    return claimed;
                }
            }
        };
        let first = claimed(&house.app.store, "sleeper", SHORT).await;
        let second = claimed(&other, "other", SHORT).await;
        // The sleeper takes it once more, while its first try still believes to hold it.
        let third = claimed(&house.app.store, "sleeper", LONG).await;
        let tried = async |claimed: &ClaimedEvent, owner: &str| {
            let tried = Tried {
                outcome: TryOutcome::Delivered,
                status: Some(204),
                took: Duration::ZERO,
                error: String::new(),
                answer: String::new(),
            };
            let delivery = Delivery {
                id: house.app.clock.new_id(),
                endpoint: made.endpoint.id,
                event: claimed.event.id,
                at: house.now(),
                tried,
            };
            house.app.store.tried(claimed, owner, &delivery, None, house.now()).await
        };
        fenced(tried(&first, "sleeper").await);
        fenced(tried(&second, "other").await);
        assert_eq!(house.tries(made.endpoint.id).await, []);
        tried(&third, "sleeper").await.unwrap();
        assert_eq!(house.tries(made.endpoint.id).await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_clock_is_an_hour_off_takes_no_lease_and_waits_for_none() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let other = Store::open(&url).await.unwrap();
        let now = app.clock.now();
        let (ahead, behind) = (now + TimeDelta::hours(2), now - TimeDelta::hours(2));
        let id = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        app.store.claim(Claim::Pending, "one", LONG, 1, now).await.unwrap();
        for off in [ahead, behind] {
            let claimed = other.claim(Claim::Pending, "two", LONG, 1, off).await.unwrap();
            assert!(claimed.is_empty(), "a live holder's lease was taken at {off}");
        }
        app.store.resolved(id, "one", &"0".repeat(40), "", behind).await.unwrap();
        let claimed = app.store.claim(Claim::Queued, "one", SHORT, 1, ahead).await.unwrap();
        assert_eq!(claimed.len(), 1);
        taken_over(&other, Claim::Queued, "two", now).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_held_is_free_at_the_next_start_where_one_process_alone_uses_the_database() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let house_now = app.clock.now();
        // Stored by a clock that was set back afterwards.
        let id: DeploymentId = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        let held = app.store.claim(Claim::Pending, "dead", LONG, 1, house_now).await.unwrap();
        assert_eq!(held.len(), 1);
        let next = Store::open(&url).await.unwrap();
        let earlier = house_now - TimeDelta::hours(1);
        next.take_over(earlier).await.unwrap();
        let claimed = next.claim(Claim::Pending, "next", LONG, 1, earlier).await.unwrap();
        if next.is_shared() {
            assert!(claimed.is_empty(), "others may live, and their leases run out by themselves");
            return;
        }
        assert_eq!(claimed[0].deployment.id, id, "what waits is due, whatever the clock says");
        // While it lives nobody else takes over what it has.
        app.store.take_over(house_now).await.unwrap();
        assert!(app.store.claim(Claim::Pending, "third", LONG, 1, house_now).await.unwrap().is_empty());
        next.close().await.unwrap();
        app.store.take_over(house_now).await.unwrap();
        assert_eq!(app.store.claim(Claim::Pending, "third", LONG, 1, house_now).await.unwrap().len(), 1);
    })
    .await;
}
