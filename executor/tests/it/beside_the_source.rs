//! Sandboxes that start while their source is fetched, where the engine fills volumes below one that runs.

use std::{fs, path::Path, time::Duration};

use grapnel_domain::{
    build::BuildSpec,
    event::{BuildEvent, CacheOutcome, Outcome, Step},
    failure::FailureCode,
};
use grapnel_executor::engine::{
    EngineError,
    fake::{Call, FakeEngine, Program},
};

use crate::{
    ahead::{lines, was_started_ahead},
    caches::reports,
    site::{Site, entries},
    support::{GONE, Runner, obedient, program},
};

/// A site whose engine reserves volumes.
async fn reserving(program: Program) -> Site<FakeEngine> {
    let site = Site::new(program).await;
    let places = site.directory.path().join("places");
    fs::create_dir(&places).unwrap();
    site.engine.reserving_in(places);
    site
}

impl Site<FakeEngine> {
    /// Makes sure that nothing is left, no place in the engine either.
    async fn nothing_at_all_is_left(&self) {
        self.nothing_is_left().await;
        assert!(entries(&self.directory.path().join("places")).is_empty());
    }
}

fn is_at(event: &BuildEvent, at: Step) -> bool {
    matches!(event, BuildEvent::StepStarted { step, .. } if *step == at)
}

#[tokio::test]
async fn a_sandbox_stands_before_its_source_does_and_finds_the_cache_like_any_other() {
    let site = reserving(obedient()).await;
    let mut spec = site.spec();
    spec.settings.build_command = Some(
        "cat node_modules/kept; mkdir -p node_modules dist; cp index.html dist; echo x > node_modules/kept"
            .into(),
    );
    for (round, outcome) in [(1, CacheOutcome::Miss), (2, CacheOutcome::Hit)] {
        spec.id = site.spec().id;
        let (ended, told) = site
            .build(&spec, |event, _| {
                if matches!(event, BuildEvent::StepFinished { step: Step::Source, .. }) {
                    assert_eq!(site.engine.started(), round);
                }
            })
            .await;
        assert!(matches!(ended, Outcome::Ready { .. }), "{ended:?} {told:#?}");
        assert!(!was_started_ahead(&told));
        assert_eq!(reports(&told)[0].outcome, outcome);
        assert_eq!(lines(&told).contains(&"x".to_owned()), outcome == CacheOutcome::Hit);
        site.nothing_at_all_is_left().await;
    }
}

#[tokio::test]
async fn a_build_that_ends_before_it_has_its_sandbox_leaves_neither_that_nor_its_place() {
    let site = reserving(obedient()).await;
    for at in [Step::Source, Step::Cache, Step::Install] {
        let cancel = |event: &BuildEvent, cancel: &grapnel_runtime::CancellationToken| {
            if is_at(event, at) {
                cancel.cancel();
            }
        };
        let (outcome, _) = site.build(&site.spec(), cancel).await;
        assert_eq!(outcome, Outcome::Canceled, "{at}");
        site.nothing_at_all_is_left().await;
    }
    let lost = BuildSpec { commit: "0".repeat(40), ..site.spec() };
    assert!(matches!(site.build(&lost, |_, _| {}).await.0, Outcome::Failed { .. }));
    site.nothing_at_all_is_left().await;
    for call in [Call::ReserveVolume, Call::CreateVolume] {
        site.engine.fail_next(call, EngineError::Refused("no".into()));
        assert_eq!(site.failure(&site.spec()).await.0, FailureCode::EngineUnavailable, "{call:?}");
        site.nothing_at_all_is_left().await;
    }
    site.engine.fail_next(Call::Start, EngineError::ImageMissing("it".into()));
    assert_eq!(site.failure(&site.spec()).await.0, FailureCode::BuilderImageMissing);
    site.nothing_at_all_is_left().await;
}

#[tokio::test]
async fn a_sandbox_without_a_place_is_told_of_and_asked_for_again_until_its_build_is_canceled() {
    let site = reserving(obedient()).await;
    let no_place = || EngineError::NoPlace("the quota is used up".into());
    site.engine.fail_next(Call::Start, no_place());
    let (outcome, told) = site.build(&site.spec(), |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
    let waits = |told: &[BuildEvent]| {
        lines(told).iter().filter(|line| line.contains("the sandbox waits: the quota is used up")).count()
    };
    assert_eq!(waits(&told), 1, "{told:#?}");

    (0..1_000).for_each(|_| site.engine.fail_next(Call::Start, no_place()));
    let (outcome, told) = site
        .build(&site.spec(), |event, cancel| {
            if waits(std::slice::from_ref(event)) == 1 {
                cancel.cancel();
            }
        })
        .await;
    assert_eq!((outcome, waits(&told)), (Outcome::Canceled, 1));
    site.nothing_at_all_is_left().await;
}

#[tokio::test]
async fn another_commit_is_put_under_the_sandbox_that_was_started_ahead() {
    let site = reserving(obedient()).await.with_shelf(2);
    let mut spec = site.hooked();
    spec.settings.build_command = Some("ls; mkdir dist; cp index.html dist; mkdir -p node_modules".into());
    site.stage(&spec).await;
    site.repository.write("index.html", "hello");
    site.repository.write("new.html", "new");
    site.repository.commit("Say hello");
    site.bring_up_to_date(&mut spec).await;
    let (outcome, told) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { bytes: 5, .. }), "{outcome:?} {told:#?}");
    assert!(was_started_ahead(&told) && lines(&told).contains(&"new.html".to_owned()), "{told:#?}");
    assert_eq!(site.engine.started(), 1);
    site.nothing_at_all_is_left().await;

    // The same commit, with another cache: somebody has begun a new one meanwhile.
    site.stage(&spec).await;
    let without_cache = BuildSpec { use_cache: false, id: site.spec().id, ..spec.clone() };
    assert!(matches!(site.build(&without_cache, |_, _| {}).await.0, Outcome::Ready { .. }));
    spec.id = site.spec().id;
    let (outcome, told) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
    assert!(was_started_ahead(&told));
    assert_eq!(site.engine.started(), 3, "two sandboxes for two builds and what stood ready");
    site.nothing_at_all_is_left().await;
}

/// Does what a runner does, after a moment, and only where nothing is mounted by then: what an engine fills before a sandbox
/// runs it may not be able to take away.
fn late_and_empty() -> Program {
    program(|sandbox| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if Path::new(&sandbox.working_dir).exists() {
            return GONE;
        }
        let mut runner = Runner::connect(&sandbox).await;
        while let Some(step) = runner.next_step().await {
            runner.obey(&step).await;
        }
        GONE
    })
}

#[tokio::test]
async fn what_is_made_ahead_is_put_in_place_when_its_sandbox_runs() {
    let site = reserving(late_and_empty()).await.with_shelf(2);
    let spec = site.hooked();
    site.stage(&spec).await;
    let (outcome, told) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
    assert!(was_started_ahead(&told));
    site.nothing_at_all_is_left().await;
}

#[tokio::test]
async fn a_sandbox_under_which_nothing_can_be_put_any_more_is_thrown_away() {
    let site = reserving(obedient()).await.with_shelf(2);
    for fault in [true, false] {
        let mut spec = site.hooked();
        site.stage(&spec).await;
        site.repository.write("index.html", if fault { "one" } else { "two" });
        site.repository.commit("Change");
        site.bring_up_to_date(&mut spec).await;
        let started = site.engine.started();
        if fault {
            site.engine.fail_next(Call::ReserveVolume, EngineError::Refused("it is busy".into()));
        } else {
            spec.settings.limits.processes = Some(7);
        }
        let (outcome, told) = site.build(&spec, |_, _| {}).await;
        assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
        assert!(!was_started_ahead(&told));
        assert_eq!(site.engine.started(), started + 1);
        site.nothing_at_all_is_left().await;
    }
}

#[tokio::test]
async fn a_build_of_another_commit_that_is_canceled_leaves_nothing_of_what_was_started_ahead() {
    let site = reserving(obedient()).await.with_shelf(2);
    for (number, at) in [Step::Source, Step::Cache, Step::Install, Step::Build].into_iter().enumerate() {
        let mut spec = site.hooked();
        spec.settings.build_command = Some("exec sleep 1000".into());
        site.stage(&spec).await;
        site.repository.write("index.html", &number.to_string());
        site.repository.commit("Change");
        site.bring_up_to_date(&mut spec).await;
        let (outcome, _) = site
            .build(&spec, |event, cancel| {
                if is_at(event, at) {
                    cancel.cancel();
                }
            })
            .await;
        assert_eq!(outcome, Outcome::Canceled, "{at}");
        site.nothing_at_all_is_left().await;
    }
}
