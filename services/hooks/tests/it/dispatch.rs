//! The dispatcher with executors that do not do what they should.

use std::time::{Duration, Instant};

use grapnel_domain::{
    Error, Reason,
    deployment::{CancelReason, State},
    event::Outcome,
    failure::{Failure, FailureCode},
    secret_token::ApiKey,
    source::well_known_hosts,
};
use grapnel_hooks::{
    app::{Answered, Brought, NewHook, TriggerTarget},
    dispatch::{Connect, Executor},
};
use grapnel_proto::{
    convert::{deployment::failure_to_wire, event::heartbeat},
    error::to_status,
    executor::v1::{Version, resolve_source_response},
};
use tonic::Status;

use crate::scripted::{COMMIT, House, Play, finished, line, ready};

#[tokio::test]
async fn a_deployment_passes_through_its_states_and_its_log_is_kept() {
    let house = House::with(vec![Play::Send(vec![heartbeat(), line(1), line(2), ready(3)])]).await;
    let id = house.deploy().await;
    let deployment = house.ended(id).await;
    assert_eq!(
        (deployment.state, deployment.artifact, deployment.promoted),
        (State::Ready, Some((1, 2)), true)
    );
    assert_eq!(deployment.commit.as_deref(), Some(COMMIT));
    assert_eq!(house.history(id).await, ["PENDING", "QUEUED", "BUILDING", "1 line 1", "1 line 2", "READY"]);
}

#[tokio::test]
async fn an_executor_that_is_full_costs_no_attempt() {
    let house = House::with(vec![
        Play::Refuse(Reason::ExecutorFull),
        Play::Refuse(Reason::ExecutorFull),
        Play::Refuse(Reason::ShuttingDown),
        Play::Send(vec![ready(1)]),
    ])
    .await;
    let id = house.deploy().await;
    let deployment = house.ended(id).await;
    assert_eq!((deployment.state, deployment.attempt), (State::Ready, 1));
    assert_eq!(house.executor.lock().triggered, [(1, 0); 4]);
    assert_eq!(house.history(id).await, ["PENDING", "QUEUED", "BUILDING", "READY"]);
}

#[tokio::test]
async fn a_stream_that_is_cut_doubles_or_skips_is_resumed_with_no_gap_and_no_repeat() {
    let house = House::with(vec![
        Play::Send(vec![line(1), line(2)]),
        Play::Send(vec![line(1), line(2), line(2), line(3), line(5), line(6)]),
        Play::Refuse(Reason::ExecutorUnavailable),
        Play::Send(vec![]),
        Play::Send(vec![line(4), line(3), line(5), ready(6)]),
    ])
    .await;
    let id = house.deploy().await;
    assert_eq!(house.ended(id).await.state, State::Ready);
    assert_eq!(house.executor.lock().triggered, [(1, 0), (1, 2), (1, 3), (1, 3), (1, 3)]);
    let log: Vec<_> = (1..=5).map(|n| format!("1 line {n}")).collect();
    assert_eq!(house.history(id).await[3..8], log);
}

#[tokio::test]
async fn a_stream_that_only_beats_is_alive_and_one_that_is_silent_is_made_again() {
    let house = House::with(vec![
        Play::Send([vec![heartbeat(); 60], vec![line(1)]].concat()),
        Play::Hold(vec![line(2)]),
        Play::Send(vec![ready(3)]),
    ])
    .await;
    let id = house.deploy().await;
    assert_eq!(house.ended(id).await.state, State::Ready);
    assert_eq!(house.executor.lock().triggered, [(1, 0), (1, 1), (1, 2)]);
}

#[tokio::test]
async fn an_attempt_that_its_executor_lost_is_followed_by_another_and_the_third_is_the_last() {
    let lost = |attempt: &str| {
        let failure = Failure::new(FailureCode::SandboxLost, format!("attempt {attempt} was lost"));
        Play::Send(vec![line(1), finished(2, Outcome::Failed { failure })])
    };
    let cut = || Play::Send(vec![line(1)]);
    let house = House::with(vec![cut(), Play::Refuse(Reason::AttemptNotFound), lost("2"), lost("3")]).await;
    let id = house.deploy().await;
    let deployment = house.ended(id).await;
    assert_eq!((deployment.state, deployment.attempt), (State::Error, 3));
    let failure = deployment.failure.unwrap();
    assert_eq!((failure.code, failure.message.as_str()), (FailureCode::SandboxLost, "attempt 3 was lost"));
    assert_eq!(house.executor.lock().triggered, [(1, 0), (1, 1), (2, 0), (3, 0)]);
    assert_eq!(
        house.history(id).await,
        [
            "PENDING", "QUEUED", "BUILDING", "1 line 1", "QUEUED", "BUILDING", "2 line 1", "QUEUED",
            "BUILDING", "3 line 1", "ERROR"
        ]
    );
}

#[tokio::test]
async fn an_executor_that_stays_away_loses_its_attempt() {
    let away = || Play::Refuse(Reason::ExecutorUnavailable);
    let mut plays = vec![Play::Send(vec![line(1)])];
    plays.extend((0..15).map(|_| away()));
    let house = House::with(plays).await;
    let id = house.deploy().await;
    let deployment = house.until(id, |it| it.state == State::Queued && it.attempt == 1).await;
    assert_eq!(deployment.attempt, 1);
    house.executor.lock().plays = [Play::Send(vec![ready(1)])].into();
    let deployment = house.ended(id).await;
    assert_eq!((deployment.state, deployment.attempt), (State::Ready, 2));
}

#[tokio::test]
async fn a_failure_of_the_user_ends_a_deployment_at_once_and_one_of_ours_after_three_tries() {
    let failed = |code| {
        let failure = failure_to_wire(&Failure::new(code, "it is not there"));
        Ok(resolve_source_response::Result::Failure(failure))
    };
    let house = House::scripted(|script| {
        script.resolves = [
            failed(FailureCode::BranchNotFound),
            failed(FailureCode::RepositoryUnreachable),
            failed(FailureCode::RepositoryUnreachable),
            failed(FailureCode::RepositoryUnreachable),
            // No executor answers: that costs no try.
            Err(to_status(&Error::new(Reason::ExecutorUnavailable, "away"))),
            Err(Status::unavailable("away")),
            failed(FailureCode::RepositoryUnreachable),
        ]
        .into();
        script.plays = [Play::Send(vec![ready(1)])].into();
    })
    .await;
    let failure = house.ended(house.deploy().await).await.failure.unwrap();
    assert_eq!((failure.code, house.executor.lock().resolved), (FailureCode::BranchNotFound, 1));
    let failure = house.ended(house.deploy().await).await.failure.unwrap();
    assert_eq!((failure.code, house.executor.lock().resolved), (FailureCode::RepositoryUnreachable, 4));
    let deployment = house.ended(house.deploy().await).await;
    assert_eq!((deployment.state, house.executor.lock().resolved), (State::Ready, 8));
}

#[tokio::test]
async fn a_deployment_can_be_ended_in_every_state() {
    let house = House::scripted(|script| {
        script.resolve_held = true;
        script.slots = 0;
    })
    .await;
    let canceled = Some(CancelReason::User);

    let id = house.deploy().await;
    house.until(id, |it| it.state == State::Pending).await;
    let ended = house.cancel(id).await;
    assert_eq!((ended.state, ended.canceled), (State::Canceled, canceled), "while its version is resolved");

    house.executor.lock().resolve_held = false;
    let id = house.deploy().await;
    house.until(id, |it| it.state == State::Queued).await;
    let ended = house.cancel(id).await;
    assert_eq!((ended.state, ended.canceled), (State::Canceled, canceled), "while it waits for a slot");

    house.executor.lock().slots = 1;
    house.executor.lock().plays = [Play::Hold(vec![line(1)])].into();
    let id = house.deploy().await;
    house.until(id, |it| it.state == State::Building).await;
    let asked = house.cancel(id).await;
    assert_eq!((asked.state, asked.cancel_requested), (State::Building, canceled));
    let begun = Instant::now();
    let ended = house.ended(id).await;
    assert_eq!((ended.state, ended.canceled), (State::Canceled, canceled), "while it is built");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(house.executor.lock().canceled, 1);

    let again = house.cancel(id).await;
    assert_eq!(again, ended, "asking for what has ended changes nothing");
    assert_eq!(house.executor.lock().triggered.len(), 1, "only one of them was ever built");
}

#[tokio::test]
async fn revoking_a_hook_ends_what_waits_and_deleting_a_project_ends_what_runs_too() {
    let house = House::with(vec![Play::Hold(vec![line(1)])]).await;
    let new = NewHook::named("cms".parse().unwrap());
    let hook = house.app.create_hook(house.team.id, &house.project, new).await.unwrap().hook;
    let trigger = async || {
        let target = TriggerTarget::Hook { team: house.team.id, hook: hook.id };
        match house.app.trigger_hook(target, Brought::default()).await.unwrap() {
            Answered::Job(deployment, _) => deployment.id,
            Answered::Ignored => panic!("it was ignored"),
        }
    };
    let runs = trigger().await;
    house.until(runs, |it| it.state == State::Building).await;
    // At another commit: the same one would take the running build's place.
    let version = Version { commit: COMMIT.replace('0', "f"), message: String::new() };
    house.executor.lock().resolves = [Ok(resolve_source_response::Result::Version(version))].into();
    let waits = trigger().await;
    house.until(waits, |it| it.state == State::Queued).await;
    house.app.revoke_hook(house.team.id, hook.id).await.unwrap();
    assert_eq!(house.ended(waits).await.canceled, Some(CancelReason::HookRevoked));
    assert_eq!(house.app.deployment(house.team.id, runs).await.unwrap().state, State::Building, "it goes on");

    house.app.delete_project(house.team.id, &house.project).await.unwrap();
    let begun = Instant::now();
    while house.executor.lock().canceled == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the build goes on though its project is gone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_host_is_scanned_by_an_executor_and_its_silence_is_told_as_that() {
    let house = House::with(Vec::new()).await;
    let connect = Connect {
        key: ApiKey::generate(&mut rand::rng()),
        tls: None,
        resolve_within: Duration::from_secs(60),
        silence: Duration::from_secs(1),
    };
    let executor = Executor::new(&house.url, None, &connect).unwrap();
    let keys = executor.scan_host("github.com", 22).await.unwrap();
    assert_eq!(keys, well_known_hosts()[0].keys);
    let silent = executor.scan_host("nobody.example", 22).await.unwrap_err();
    assert_eq!(silent.reason, Reason::HostUnreachable);
}
