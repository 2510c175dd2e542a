//! Whole builds over real git on the fake engine: what the pipeline tells when everything goes well, when it is ended
//! at any step, and when engine or sandbox fail it.

use std::{collections::BTreeMap, time::Duration};

use grapnel_domain::{
    BranchName,
    deployment::CancelReason,
    event::{BuildEvent, Outcome, Step},
    failure::FailureCode,
};
use grapnel_executor::{
    engine::{
        Engine as _, EngineError, Exit,
        fake::{Call, Program},
    },
    source::Source,
};
use grapnel_run::{frame::Kind, message::StepExit};
use grapnel_runtime::{CancellationToken, Clock};

use crate::{
    site::{IMAGE, Site},
    support::{GONE, Runner, obedient, program},
};

#[tokio::test]
async fn a_build_tells_its_steps_in_order_and_leaves_only_its_artifact_and_its_cache() {
    let site = Site::new(obedient()).await;
    let spec = site.spec();
    let (outcome, events) = site.build(&spec, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Ready { files: 1, bytes: 2 });
    let told: Vec<String> = events
        .iter()
        .flat_map(|event| match event {
            BuildEvent::StepStarted { step, .. } => vec![format!("{step} begins")],
            BuildEvent::StepFinished { step, exit_code, .. } => vec![format!("{step} ends {exit_code:?}")],
            BuildEvent::Cache(report) => vec![format!("cache {}", report.outcome.as_str())],
            BuildEvent::Log { step, lines } => {
                lines.iter().map(|line| format!("{step} {:?}: {}", line.stream, line.text)).collect()
            }
            BuildEvent::Finished { .. } => vec!["finished".to_owned()],
        })
        .map(|line| line.replace(&site.commit[..12], "<commit>"))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
    site.nothing_is_left().await;
    let artifact = site.pipeline.artifacts.open(spec.id.deployment).await.unwrap();
    assert_eq!(artifact.files[0].path, "index.html");
}

#[tokio::test]
async fn a_build_ended_at_any_step_is_canceled_and_leaves_nothing() {
    let site = Site::new(obedient()).await;
    for at in Step::ALL {
        let spec = site.spec();
        let (outcome, _) = site
            .build(&spec, |event, cancel| {
                if matches!(event, BuildEvent::StepStarted { step, .. } if *step == at) {
                    cancel.cancel();
                }
            })
            .await;
        site.nothing_is_left().await;
        // A short step may be over before its end is heard of; what is READY then is whole.
        match outcome {
            Outcome::Canceled => {
                assert!(site.pipeline.artifacts.open(spec.id.deployment).await.is_err(), "{at}");
            }
            Outcome::Ready { .. } => {
                assert_eq!(at, Step::Output);
                site.pipeline.artifacts.open(spec.id.deployment).await.unwrap();
            }
            other => panic!("{at}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_build_ended_while_a_step_never_ends_is_gone_at_once() {
    let site = Site::new(obedient()).await;
    let mut spec = site.spec();
    spec.settings.build_command = Some("sleep 1000".into());
    let begun = std::time::Instant::now();
    let (outcome, _) = site
        .build(&spec, |event, cancel| {
            if matches!(event, BuildEvent::StepStarted { step: Step::Build, .. }) {
                cancel.cancel();
            }
        })
        .await;
    assert_eq!(outcome, Outcome::Canceled);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    site.nothing_is_left().await;
}

#[tokio::test]
async fn a_sandbox_that_fails_its_build_is_told_apart_from_a_build_that_fails() {
    let cases: [(&str, Program, FailureCode); 5] = [
        ("ends before it connects", program(|_| async { GONE }), FailureCode::SandboxLost),
        (
            "ends in mid-step",
            program(|sandbox| async move {
                let mut runner = Runner::connect(&sandbox).await;
                runner.next_step().await;
                runner.send(Kind::Stdout, b"half a li").await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                GONE
            }),
            FailureCode::SandboxLost,
        ),
        (
            "is out of memory",
            program(|sandbox| async move {
                let mut runner = Runner::connect(&sandbox).await;
                runner.next_step().await;
                Exit { out_of_memory: true, ..Exit::with(137) }
            }),
            FailureCode::OutOfMemory,
        ),
        (
            "speaks nonsense",
            program(|sandbox| async move {
                let mut runner = Runner::connect(&sandbox).await;
                runner.next_step().await;
                runner.sent = 41;
                runner.send(Kind::Stdout, b"forged").await;
                std::future::pending().await
            }),
            FailureCode::SandboxEnded,
        ),
        (
            "fails its step",
            program(|sandbox| async move {
                let mut runner = Runner::connect(&sandbox).await;
                runner.next_step().await;
                let exit = StepExit { code: 9, ..StepExit::default() };
                runner.send(Kind::Exited, &exit.encode()).await;
                std::future::pending().await
            }),
            FailureCode::InstallFailed,
        ),
    ];
    for (what, program, expected) in cases {
        let site = Site::new(program).await;
        let (code, message) = site.failure(&site.spec()).await;
        assert_eq!(code, expected, "{what}: {message}");
        site.nothing_is_left().await;
        assert!(site.artifacts().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn an_engine_that_fails_is_no_fault_of_the_build_and_nothing_stays() {
    let site = Site::new(obedient()).await;
    let away = || EngineError::Unavailable("the engine restarts".into());
    for call in [Call::Image, Call::PrepareNetwork, Call::CreateVolume, Call::Start, Call::Wait] {
        site.engine.fail_next(call, away());
        let (code, message) = site.failure(&site.spec()).await;
        assert_eq!(code, FailureCode::EngineUnavailable, "{call:?}: {message}");
        assert!(message.contains("the engine restarts"), "{call:?}: {message}");
        site.nothing_is_left().await;
    }
    // Nothing runs on a network that is not as it has to be.
    site.engine.fail_next(Call::PrepareNetwork, EngineError::Network("no nf_tables".into()));
    let (code, message) = site.failure(&site.spec()).await;
    assert_eq!(code, FailureCode::NetworkUnavailable, "{message}");
    site.nothing_is_left().await;
    // The image vanishes between the look at it and the start.
    site.engine.fail_next(Call::Start, EngineError::ImageMissing(IMAGE.into()));
    assert_eq!(site.failure(&site.spec()).await.0, FailureCode::BuilderImageMissing);
    site.engine.forget_image(IMAGE);
    assert_eq!(site.failure(&site.spec()).await.0, FailureCode::BuilderImageMissing);
    assert_eq!(site.engine.started(), 1, "only the build whose sandbox could not be waited for had one");
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_killed_or_removed_does_not_hold_the_result_up() {
    let site = Site::new(obedient()).await;
    for call in [Call::Kill, Call::Remove] {
        site.engine.fail_next(call, EngineError::Unavailable("busy".into()));
        let (outcome, _) = site.build(&site.spec(), |_, _| {}).await;
        assert_eq!(outcome, Outcome::Ready { files: 1, bytes: 2 }, "{call:?}");
    }
    let left = site.engine.list(&BTreeMap::new()).await.unwrap().sandboxes;
    assert_eq!(left.len(), 1, "the one that could not be removed waits for the sweep");
}

#[tokio::test]
async fn a_repository_can_say_that_there_is_nothing_to_build() {
    let site = Site::new(obedient()).await;
    let mut spec = site.spec();
    let mut build = async |config: &str| {
        site.repository.write("vercel.json", config);
        site.repository.commit("Configure");
        let branch = BranchName::parse("main").unwrap();
        let resolved = site
            .pipeline
            .mirrors
            .resolve(Source::new(&spec.repository, &spec.access), &branch, &CancellationToken::new())
            .await;
        spec.commit = resolved.unwrap().commit;
        spec.id.deployment = Clock::system().new_id();
        let (outcome, events) = site.build(&spec, |_, _| {}).await;
        site.nothing_is_left().await;
        let log: Vec<String> = events
            .into_iter()
            .flat_map(|event| match event {
                BuildEvent::Log { lines, .. } => lines.into_iter().map(|line| line.text).collect(),
                _ => Vec::new(),
            })
            .collect();
        (outcome, log.join("\n"))
    };
    let (outcome, log) = build(r#"{"ignoreCommand":"exit 0"}"#).await;
    assert_eq!(outcome, Outcome::Skipped { reason: CancelReason::IgnoredByCommand });
    assert!(log.contains("nothing to build (exit code 0)") && !log.contains("installed"), "{log}");
    let (outcome, log) = build(r#"{"ignoreCommand":"exit 1","installCommand":"echo theirs"}"#).await;
    assert_eq!(outcome, Outcome::Ready { files: 1, bytes: 2 });
    assert!(log.contains("(exit code 1)") && log.contains("theirs") && !log.contains("installed"), "{log}");
    let (outcome, _) = build(r#"{"github":{"enabled":false}}"#).await;
    assert_eq!(outcome, Outcome::Skipped { reason: CancelReason::DisabledByConfig });
}
