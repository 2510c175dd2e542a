//! Whole builds over real git on the fake engine: what the pipeline tells when everything goes well, when it is ended
//! at any step, and when engine or sandbox fail it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use grapnel_artifacts::ArtifactStore;
use grapnel_domain::{
    BranchName, RepositoryUrl,
    build::{AttemptId, BuildLimits, BuildSpec},
    deployment::CancelReason,
    event::{BuildEvent, Outcome, Step},
    failure::FailureCode,
    project::BuildSettings,
};
use grapnel_e2e::Repository;
use grapnel_executor::{
    engine::{
        Engine, EngineError, Exit, Inventory, Network,
        fake::{Call, FakeEngine, Program},
    },
    pipeline::{Pipeline, cache::Caches, recorder::Recorder, sandbox::SandboxConfig},
    source::{self, SourceConfig},
};
use grapnel_run::{frame::Kind, message::StepExit};
use grapnel_runtime::{CancellationToken, Clock, TaskTracker};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::{GONE, Runner, obedient, program};

const IMAGE: &str = "builder";

/// An executor's pipeline over a fake engine, with one repository.
struct Site {
    pipeline: Pipeline,
    engine: FakeEngine,
    repository: Repository,
    directory: TempDir,
    commit: String,
}

impl Site {
    async fn new(program: Program) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let below = |name: &str| directory.path().join(name);
        let engine = FakeEngine::new(&[IMAGE], program);
        let shared: Arc<dyn Engine> = Arc::new(engine.clone());
        let mirrors = source::open(SourceConfig {
            mirrors: below("mirrors"),
            allowed_dirs: vec![below("git")],
            ca_bundle: None,
            timeout: Duration::from_secs(60),
            size_limit: 1 << 30,
        })
        .unwrap();
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let caches = below("caches");
        fs::create_dir_all(&caches).unwrap();
        let pipeline = Pipeline {
            engine: shared.clone(),
            mirrors: mirrors.clone(),
            artifacts: ArtifactStore::new(below("artifacts")),
            caches: Caches { directory: caches, executor: "test".into(), engine: shared },
            sandbox: SandboxConfig {
                executor: "test".into(),
                runner: below("runner"),
                ca_bundle: None,
                user: own,
                network: Network::None,
                runtime: None,
            },
            workspaces: below("workspaces"),
            builder_image: IMAGE.into(),
            ceilings: BuildLimits::default(),
            cleanups: TaskTracker::new(),
        };
        let repository = Repository::with(&below("git/site"), &[("index.html", "hi")]);
        let url = RepositoryUrl::parse(&repository.path()).unwrap();
        let branch = BranchName::parse("main").unwrap();
        let commit = mirrors.resolve(&url, &branch, &CancellationToken::new()).await.unwrap().commit;
        Self { pipeline, engine, repository, directory, commit }
    }

    fn spec(&self) -> BuildSpec {
        let clock = Clock::system();
        BuildSpec {
            id: AttemptId { deployment: clock.new_id(), attempt: 1 },
            project_id: clock.new_id(),
            project_name: "site".parse().unwrap(),
            repository: RepositoryUrl::parse(&self.repository.path()).unwrap(),
            branch: BranchName::parse("main").unwrap(),
            commit: self.commit.clone(),
            commit_message: "Begin".into(),
            production: true,
            hook: None,
            trigger_count: 1,
            title: String::new(),
            body: Vec::new(),
            use_cache: true,
            settings: BuildSettings {
                install_command: Some("echo installed".into()),
                build_command: Some("mkdir dist && cp index.html dist/ && echo built >&2".into()),
                ..BuildSettings::default()
            },
        }
    }

    /// Runs a build; `on_event` is told everything and may end it.
    async fn build(
        &self,
        spec: &BuildSpec,
        on_event: impl Fn(&BuildEvent, &CancellationToken),
    ) -> (Outcome, Vec<BuildEvent>) {
        let (tell, mut told) = mpsc::channel(64);
        let (recorder, collecting) = Recorder::start(Clock::system(), 1 << 20, tell);
        let cancel = CancellationToken::new();
        let building = async {
            let outcome = self.pipeline.run(spec, &recorder, &cancel).await;
            drop(recorder);
            outcome
        };
        let listening = async {
            let mut events = Vec::new();
            while let Some(event) = told.recv().await {
                on_event(&event, &cancel);
                events.push(event);
            }
            events
        };
        let (outcome, events) = tokio::join!(building, listening);
        collecting.await.unwrap();
        self.pipeline.cleanups.close();
        self.pipeline.cleanups.wait().await;
        self.pipeline.cleanups.reopen();
        (outcome, events)
    }

    async fn failure(&self, spec: &BuildSpec) -> (FailureCode, String) {
        match self.build(spec, |_, _| {}).await.0 {
            Outcome::Failed { failure } => (failure.code, failure.message),
            other => panic!("it did not fail: {other:?}"),
        }
    }

    /// Makes sure that nothing is left but caches.
    async fn nothing_is_left(&self) {
        let Inventory { sandboxes, volumes } = self.engine.list(&BTreeMap::new()).await.unwrap();
        assert_eq!(sandboxes, []);
        let others: Vec<_> =
            volumes.iter().filter(|(_, labels)| !labels.contains_key("grapnel.cache")).collect();
        assert!(others.is_empty(), "{others:?}");
        let left: Vec<_> = entries(&self.pipeline.workspaces);
        assert!(left.is_empty(), "{left:?}");
    }

    fn artifacts(&self) -> Vec<PathBuf> {
        entries(&self.directory.path().join("artifacts"))
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

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
    let artifact = site.pipeline.artifacts.open(spec.id.deployment).unwrap();
    assert_eq!(artifact.manifest().files[0].path, "index.html");
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
            Outcome::Canceled => assert!(site.pipeline.artifacts.open(spec.id.deployment).is_err(), "{at}"),
            Outcome::Ready { .. } => {
                assert_eq!(at, Step::Output);
                site.pipeline.artifacts.open(spec.id.deployment).unwrap();
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
                Exit { code: 137, out_of_memory: true }
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
    for call in [Call::Image, Call::CreateVolume, Call::Start, Call::Wait] {
        site.engine.fail_next(call, away());
        let (code, message) = site.failure(&site.spec()).await;
        assert_eq!(code, FailureCode::EngineUnavailable, "{call:?}: {message}");
        assert!(message.contains("the engine restarts"), "{call:?}: {message}");
        site.nothing_is_left().await;
    }
    // The image vanishes between the look at it and the start.
    site.engine.fail_next(Call::Start, EngineError::ImageMissing(IMAGE.into()));
    assert_eq!(site.failure(&site.spec()).await.0, FailureCode::ImageMissing);
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
async fn a_build_without_cache_mounts_one_of_its_own_that_goes_with_it() {
    let site = Site::new(obedient()).await;
    let with = site.spec();
    site.build(&with, |_, _| {}).await;
    let cached = entries(&site.directory.path().join("caches"));
    assert_eq!(cached.len(), 1);
    let without = BuildSpec { use_cache: false, ..site.spec() };
    let (outcome, _) = site.build(&without, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Ready { files: 1, bytes: 2 });
    site.nothing_is_left().await;
    assert_eq!(entries(&site.directory.path().join("caches")), cached);
}

#[tokio::test]
async fn a_repository_can_say_that_there_is_nothing_to_build() {
    let site = Site::new(obedient()).await;
    let mut spec = site.spec();
    let mut build = async |config: &str| {
        site.repository.write("vercel.json", config);
        site.repository.commit("Configure");
        let branch = BranchName::parse("main").unwrap();
        let resolved =
            site.pipeline.mirrors.resolve(&spec.repository, &branch, &CancellationToken::new()).await;
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
