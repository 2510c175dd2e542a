//! Several executors, that come and go.

use std::time::{Duration, Instant};

use grapnel_domain::{
    deployment::State,
    event::Outcome,
    failure::{Failure, FailureCode},
    id::DeploymentId,
};
use grapnel_hooks::{
    dispatch::{ExecutorAddress, Fleet},
    model::{Deployment, ExecutorState},
};
use grapnel_proto::executor::v1::RunningAttempt;
use grapnel_runtime::{CancellationToken, Clock};

use crate::{
    scripted::{House, Play, Scripted, finished, line, ready},
    support::new_project,
};

fn at_once() -> Play {
    Play::Send(vec![ready(1)])
}

/// A hooks service with executors named `east` and `west`.
struct Two {
    house: House,
    east: Scripted,
    west: Scripted,
    fleet: Fleet,
}

impl Two {
    async fn with_slots(slots: u32) -> Self {
        let house = House::alone().await;
        let (east, west) = (Scripted::new("east", slots), Scripted::new("west", slots));
        let mut addresses = Vec::new();
        for executor in [&east, &west] {
            executor.lock().otherwise = Some(at_once);
            let url = executor.serve("127.0.0.1:0", house.stopping.child_token()).await;
            addresses.push(ExecutorAddress::Url(url));
        }
        let fleet = house.dispatch_to(addresses.clone(), "one", house.stopping.child_token());
        let two = Self { house, east, west, fleet };
        two.until(|fleet| fleet.present().len() == 2).await;
        two
    }

    async fn until(&self, wanted: impl Fn(&Fleet) -> bool) {
        let begun = Instant::now();
        while !wanted(&self.fleet) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", self.fleet.list());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Deploys, and returns on which executor it was built.
    async fn built_on(&self) -> String {
        self.ready().await.executor.unwrap()
    }

    async fn ready(&self) -> Deployment {
        let deployment = self.house.ended(self.house.deploy().await).await;
        assert_eq!(deployment.state, State::Ready, "{deployment:?}");
        deployment
    }

    fn named(&self, name: &str) -> &Scripted {
        if name == "east" { &self.east } else { &self.west }
    }
}

fn other(name: &str) -> &'static str {
    if name == "east" { "west" } else { "east" }
}

#[tokio::test]
async fn a_branch_is_built_where_its_cache_is_for_as_long_as_that_has_a_slot() {
    let two = Two::with_slots(1).await;
    let first = two.built_on().await;
    for _ in 0..4 {
        assert_eq!(two.built_on().await, first);
    }
    two.named(&first).lock().running = 1;
    two.until(|fleet| fleet.room().slots() == 1).await;
    assert_eq!(two.built_on().await, other(&first));
    // The newest cache is there now.
    two.named(&first).lock().running = 0;
    two.until(|fleet| fleet.room().slots() == 2).await;
    assert_eq!(two.built_on().await, other(&first));
}

#[tokio::test]
async fn a_drained_executor_takes_nothing_new_and_the_others_do() {
    let two = Two::with_slots(2).await;
    let first = two.built_on().await;
    let drained = two.fleet.named(&first).unwrap().drain().await.unwrap();
    assert_eq!((drained.state, drained.name.as_str()), (ExecutorState::Draining, first.as_str()));
    for _ in 0..3 {
        assert_eq!(two.built_on().await, other(&first));
    }
}

#[tokio::test]
async fn an_executor_that_vanishes_is_not_asked_and_one_that_appears_gets_what_waits_at_once() {
    let house = House::alone().await;
    let executor = Scripted::new("late", 1);
    executor.lock().otherwise = Some(at_once);
    let present = house.stopping.child_token();
    let url = executor.serve("127.0.0.1:0", present.clone()).await;
    let fleet =
        house.dispatch_to(vec![ExecutorAddress::Url(url.clone())], "one", house.stopping.child_token());
    assert_eq!(house.ended(house.deploy().await).await.state, State::Ready);

    present.cancel();
    let begun = Instant::now();
    while fleet.list()[0].state != ExecutorState::Away {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let waiting = house.deploy().await;
    let asked = executor.lock().resolved;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(executor.lock().resolved, asked);

    executor.serve(url.strip_prefix("http://").unwrap(), house.stopping.child_token()).await;
    assert_eq!(house.ended(waiting).await.state, State::Ready);
}

#[tokio::test]
async fn an_attempt_is_followed_where_it_runs_by_whoever_takes_it_over() {
    let house = House::alone().await;
    let (east, west) = (Scripted::new("east", 1), Scripted::new("west", 1));
    let mut addresses = Vec::new();
    for executor in [&east, &west] {
        executor.lock().otherwise = Some(|| Play::Hold(vec![line(1), line(2)]));
        addresses
            .push(ExecutorAddress::Url(executor.serve("127.0.0.1:0", house.stopping.child_token()).await));
    }
    let first = house.stopping.child_token();
    house.dispatch_to(addresses.clone(), "one", first.clone());
    let id = house.deploy().await;
    let building = house.until(id, |it| it.state == State::Building).await;
    let name = building.executor.unwrap();
    let (runs, idle) = if name == "east" { (&east, &west) } else { (&west, &east) };
    while house.log_lines(id).await < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.cancel();
    runs.lock().otherwise = Some(|| Play::Send(vec![line(3), ready(4)]));
    idle.lock().otherwise = Some(at_once);
    addresses.reverse();
    house.dispatch_to(addresses, "two", house.stopping.child_token());
    let ended = house.ended(id).await;
    assert_eq!((ended.state, ended.attempt, ended.executor), (State::Ready, 1, Some(name)));
    assert_eq!(runs.lock().triggered, [(1, 0), (1, 2)]);
    assert_eq!(idle.lock().triggered, []);
}

#[tokio::test]
async fn an_attempt_that_was_lost_is_tried_elsewhere() {
    let two = Two::with_slots(1).await;
    let first = two.built_on().await;
    let failure = Failure::new(FailureCode::EngineUnavailable, "the engine is gone");
    two.named(&first).lock().plays = [Play::Send(vec![finished(1, Outcome::Failed { failure })])].into();
    let deployment = two.ready().await;
    assert_eq!((deployment.attempt, deployment.executor.as_deref()), (2, Some(other(&first))));
}

#[tokio::test]
async fn an_executor_of_which_nothing_is_heard_any_more_loses_its_attempt_to_another() {
    let two = Two::with_slots(1).await;
    let first = two.built_on().await;
    let gone = CancellationToken::new();
    let third = Scripted::new("third", 1);
    third.lock().plays = [Play::Hold(vec![line(1)])].into();
    let url = third.serve("127.0.0.1:0", gone.clone()).await;
    two.named(&first).lock().running = 1;
    two.named(other(&first)).lock().running = 1;
    two.until(|fleet| fleet.room().slots() == 0).await;
    // Another process, which knows the third one only.
    let stopping = two.house.stopping.child_token();
    two.house.dispatch_to(vec![ExecutorAddress::Url(url)], "two", stopping.clone());
    let id = two.house.deploy().await;
    two.house.until(id, |it| it.state == State::Building).await;
    stopping.cancel();
    gone.cancel();
    two.named(&first).lock().running = 0;
    let ended = two.house.ended(id).await;
    assert_eq!((ended.state, ended.attempt, ended.executor), (State::Ready, 2, Some(first)));
}

#[tokio::test]
async fn what_was_given_up_is_ended_where_it_runs_still() {
    let two = Two::with_slots(1).await;
    let ended = two.ready().await.id;
    for executor in [&two.east, &two.west] {
        executor.lock().plays = [Play::Hold(vec![line(1)])].into();
    }
    let building = two.house.deploy().await;
    two.house.until(building, |it| it.state == State::Building).await;
    let third = Scripted::new("third", 1);
    let runs = |id: DeploymentId, attempt| RunningAttempt { deployment_id: id.to_string(), attempt };
    let unknown = runs(Clock::system().new_id(), 1);
    // It may have been asked for this just now.
    let next = runs(building, 2);
    third.lock().attempts = vec![runs(ended, 1), unknown.clone(), runs(building, 1), next.clone()];
    let url = third.serve("127.0.0.1:0", two.house.stopping.child_token()).await;
    two.house.dispatch_to(vec![ExecutorAddress::Url(url)], "two", two.house.stopping.child_token());
    let begun = Instant::now();
    while third.lock().attempts.len() > 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", third.lock().attempts);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(third.lock().attempts, [unknown, next]);
    two.house.until(building, |it| it.state == State::Building && it.attempt == 1).await;
}

#[tokio::test]
async fn a_project_with_a_hundred_deployments_holds_up_no_other() {
    let two = Two::with_slots(1).await;
    let project = new_project(&two.house.app, two.house.team.id, "small").await;
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(two.house.deploy().await);
    }
    let app = &two.house.app;
    let one = app.trigger_deployment(two.house.team.id, &project, None, true).await.unwrap().id;
    assert_eq!(two.house.ended(one).await.state, State::Ready);
    let built: Vec<DeploymentId> = [&two.east, &two.west].map(|it| it.lock().built.clone()).concat();
    // Each slot may have had one of the many before it, and one at the same time.
    let before = many.iter().filter(|id| built.contains(id)).count();
    assert!(before < 50, "{before} of the other project's were built before");
    for id in many {
        assert_eq!(two.house.ended(id).await.state, State::Ready);
    }
}

#[tokio::test]
async fn all_addresses_behind_a_name_are_executors() {
    let house = House::alone().await;
    let executor = Scripted::new("found", 1);
    executor.lock().otherwise = Some(at_once);
    let url = executor.serve("127.0.0.1:0", house.stopping.child_token()).await;
    let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
    let name = ExecutorAddress::Dns { scheme: "http", host: "localhost".into(), port };
    let fleet = house.dispatch_to(vec![name], "one", house.stopping.child_token());
    let ended = house.ended(house.deploy().await).await;
    assert_eq!((ended.state, ended.executor.as_deref()), (State::Ready, Some("found")));
    assert!(fleet.list().iter().any(|executor| executor.address == url));
}

#[tokio::test]
async fn two_addresses_of_one_executor_are_one_executor() {
    let house = House::alone().await;
    let executor = Scripted::new("one", 3);
    let mut addresses = Vec::new();
    for _ in 0..2 {
        addresses
            .push(ExecutorAddress::Url(executor.serve("127.0.0.1:0", house.stopping.child_token()).await));
    }
    let fleet = house.dispatch_to(addresses, "one", house.stopping.child_token());
    let begun = Instant::now();
    while fleet.list().iter().any(|it| it.state == ExecutorState::Away) {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((fleet.present().len(), fleet.room().slots()), (1, 3));
}
