//! Sandboxes that are started ahead of their builds: taken once, by builds that would make the same, and left by nobody.

use std::{collections::BTreeMap, fs, time::Duration};

use grapnel_domain::{
    build::{AttemptId, BuildSpec, HookOrigin},
    event::{BuildEvent, CacheOutcome, Outcome, Step},
    failure::{Failure, FailureCode},
};
use grapnel_executor::{
    engine::{Engine, SandboxId, fake::FakeEngine},
    pipeline::ahead::Shelf,
};
use grapnel_proto::executor::v1::{
    CancelDeployRequest, DrainExecutorRequest, PurgeCacheRequest, finished::Outcome as Told,
    trigger_deploy_response::Event,
};
use grapnel_runtime::{CancellationToken, Clock};

use crate::{
    caches::reports,
    served::{Served, outcome, told},
    site::{Site, entries},
    support::{lasting, obedient},
};

const READY: Outcome = Outcome::Ready { files: 1, bytes: 1 };

impl<E: Engine + Clone> Site<E> {
    /// A site that has room for so many.
    pub fn with_shelf(mut self, capacity: usize) -> Self {
        self.pipeline.shelf = Shelf::new(capacity);
        self
    }

    pub fn hooked(&self) -> BuildSpec {
        let hook = HookOrigin { id: Clock::system().new_id(), name: "cms".parse().unwrap() };
        BuildSpec { hook: Some(hook), ..self.spec() }
    }

    /// Makes the next build of a kind ready, as an executor does after one has ended.
    pub async fn stage(&self, spec: &BuildSpec) {
        self.throw_away(self.pipeline.shelf.want(spec, &READY));
        let wanted = self.pipeline.shelf.begin().unwrap();
        let clock = Clock::system();
        let id = AttemptId { deployment: clock.new_id(), attempt: AttemptId::AHEAD };
        let ahead = BuildSpec { id, ..wanted.clone() };
        let made = self.pipeline.stage_ahead(ahead, &clock, &CancellationToken::new()).await;
        assert!(made.is_some());
        assert!(self.pipeline.shelf.put(&wanted, made).is_none(), "it is wanted");
    }

    fn throw_away(&self, staged: impl IntoIterator<Item = grapnel_executor::pipeline::ahead::Staged>) {
        staged.into_iter().for_each(|it| self.pipeline.throw_away(it));
    }

    async fn sandboxes(&self) -> Vec<(SandboxId, BTreeMap<String, String>)> {
        self.engine.list(&self.own()).await.unwrap().sandboxes
    }
}

pub fn was_started_ahead(events: &[BuildEvent]) -> bool {
    lines(events).iter().any(|line| line.contains("was started ahead"))
}

pub fn lines(events: &[BuildEvent]) -> Vec<String> {
    let logs = events.iter().filter_map(|event| match event {
        BuildEvent::Log { lines, .. } => Some(lines),
        _ => None,
    });
    logs.flatten().map(|line| line.text.clone()).collect()
}

#[tokio::test]
async fn what_was_started_ahead_is_taken_once_and_tells_what_any_build_tells() {
    let site = Site::new(obedient()).await.with_shelf(2);
    let spec = site.hooked();
    let (first, told_first) = site.build(&spec, |_, _| {}).await;
    site.stage(&spec).await;
    assert_eq!(site.engine.started(), 2);
    let labels = site.sandboxes().await.remove(0).1;
    assert_eq!(labels["grapnel.attempt"], "0", "it is no attempt's");
    let spec = BuildSpec { id: site.spec().id, ..spec };
    let (second, told_second) = site.build(&spec, |_, _| {}).await;
    assert_eq!((&first, site.engine.started()), (&second, 2));
    assert!(was_started_ahead(&told_second) && !was_started_ahead(&told_first));
    let steps = |events: &[BuildEvent]| -> Vec<String> {
        let steps = events.iter().filter_map(|event| match event {
            BuildEvent::StepStarted { step, .. } => Some(format!("{step} begins")),
            BuildEvent::StepFinished { step, exit_code, .. } => Some(format!("{step} ends {exit_code:?}")),
            BuildEvent::Cache(report) => Some(format!("cache {:?}", report.action)),
            _ => None,
        });
        steps.collect()
    };
    assert_eq!(steps(&told_second), steps(&told_first));
    site.nothing_is_left().await;
    let spec = BuildSpec { id: site.spec().id, ..spec };
    let (_, told) = site.build(&spec, |_, _| {}).await;
    assert!(!was_started_ahead(&told), "there was one");
    assert_eq!(site.engine.started(), 3);
    site.nothing_is_left().await;
}

#[tokio::test]
async fn what_was_started_ahead_is_thrown_away_where_a_build_would_make_something_else() {
    type Change = fn(&mut BuildSpec, &mut Site<FakeEngine>);
    let changes: [(&str, Change); 8] = [
        ("commit", |spec, site| {
            site.repository.write("index.html", "hello");
            site.repository.commit("Say hello");
            spec.commit.clear();
        }),
        ("command", |spec, _| {
            spec.settings.build_command = Some("mkdir dist && cp index.html dist/".into());
        }),
        ("limits", |spec, _| spec.settings.limits.processes = Some(7)),
        ("the operator's limits", |_, site| site.pipeline.ceilings.memory_bytes /= 2),
        ("cached paths", |spec, _| spec.settings.cached_paths = Some(Vec::new())),
        ("production branch", |spec, _| spec.production = false),
        ("credentials", |spec, _| spec.access.owner = Some(Clock::system().new_id())),
        ("image", |spec, site| {
            spec.settings.builder_image = Some("other".into());
            site.engine.add_image("other");
        }),
    ];
    for (what, change) in changes {
        let mut site = Site::new(obedient()).await.with_shelf(2);
        let mut spec = site.hooked();
        site.stage(&spec).await;
        change(&mut spec, &mut site);
        if spec.commit.is_empty() {
            site.bring_up_to_date(&mut spec).await;
        }
        let (outcome, told) = site.build(&spec, |_, _| {}).await;
        assert!(!was_started_ahead(&told), "{what}");
        assert!(matches!(outcome, Outcome::Ready { .. }), "{what}: {outcome:?}");
        assert_eq!(site.engine.started(), 2, "{what}");
        site.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_sandbox_that_has_ended_meanwhile_is_not_taken() {
    let site = Site::new(obedient()).await.with_shelf(2);
    let spec = site.hooked();
    site.stage(&spec).await;
    let (id, _) = site.sandboxes().await.remove(0);
    site.engine.kill(&id, Duration::ZERO).await.unwrap();
    // That it has ended is heard a moment later.
    tokio::task::yield_now().await;
    let (outcome, told) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?} {told:#?}");
    site.nothing_is_left().await;
}

#[tokio::test]
async fn of_more_than_there_is_room_for_the_least_recently_triggered_goes_first() {
    let site = Site::new(obedient()).await.with_shelf(2);
    let specs: Vec<_> =
        (0..3).map(|_| BuildSpec { project_id: Clock::system().new_id(), ..site.hooked() }).collect();
    for spec in [&specs[0], &specs[1], &specs[0], &specs[2]] {
        site.stage(spec).await;
    }
    site.settled().await;
    assert_eq!(site.sandboxes().await.len(), 2);
    for (spec, stands_ready) in [(&specs[0], true), (&specs[1], false), (&specs[2], true)] {
        let (_, told) = site.build(spec, |_, _| {}).await;
        assert_eq!(was_started_ahead(&told), stands_ready);
    }
    site.nothing_is_left().await;
}

#[tokio::test]
async fn nothing_is_made_for_what_is_not_likely_to_come_again_as_it_was() {
    let site = Site::new(obedient()).await.with_shelf(2);
    let (spec, shelf) = (site.hooked(), &site.pipeline.shelf);
    let failed = |code| Outcome::Failed { failure: Failure::new(code, "") };
    let by_hand = BuildSpec { hook: None, ..spec.clone() };
    let without_cache = BuildSpec { use_cache: false, ..spec.clone() };
    for (spec, outcome) in [
        (&by_hand, READY),
        (&without_cache, READY),
        (&spec, Outcome::Canceled),
        (&spec, failed(FailureCode::ExecutorLost)),
    ] {
        assert!(shelf.want(spec, &outcome).is_empty());
        assert!(!shelf.is_wanting(), "{outcome:?}");
    }
    assert!(shelf.want(&spec, &failed(FailureCode::BuildFailed)).is_empty());
    assert!(shelf.is_wanting());
    assert!(shelf.close().is_empty());
    assert!(shelf.want(&spec, &READY).is_empty() && !shelf.is_wanting(), "it is closed");
}

#[tokio::test]
async fn a_build_that_took_what_was_started_ahead_and_is_canceled_leaves_nothing() {
    let site = Site::new(obedient()).await.with_shelf(2);
    for at in [Step::Source, Step::Cache, Step::Install, Step::Build] {
        let mut spec = site.hooked();
        spec.settings.build_command = Some("exec sleep 1000".into());
        site.stage(&spec).await;
        let (outcome, _) = site
            .build(&spec, |event, cancel| {
                if matches!(event, BuildEvent::StepStarted { step, .. } if *step == at) {
                    cancel.cancel();
                }
            })
            .await;
        assert_eq!(outcome, Outcome::Canceled, "{at}");
        site.nothing_is_left().await;
    }
}

#[tokio::test]
async fn what_cannot_be_made_ahead_leaves_nothing_and_keeps_no_build_from_running() {
    let site = Site::new(obedient()).await.with_shelf(2);
    let spec = BuildSpec { commit: "0".repeat(40), ..site.hooked() };
    assert!(site.pipeline.shelf.want(&spec, &READY).is_empty());
    let wanted = site.pipeline.shelf.begin().unwrap();
    let clock = Clock::system();
    let id = AttemptId { deployment: clock.new_id(), attempt: AttemptId::AHEAD };
    let ahead = BuildSpec { id, ..wanted.clone() };
    let made = site.pipeline.stage_ahead(ahead, &clock, &CancellationToken::new()).await;
    assert!(made.is_none());
    assert!(site.pipeline.shelf.put(&wanted, made).is_none());
    site.settled().await;
    site.nothing_is_left().await;
    let (outcome, _) = site.build(&site.hooked(), |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
}

#[tokio::test]
async fn b8_a_sandbox_that_was_started_ahead_has_nothing_of_the_build_before_it_but_its_kept_cache() {
    let site = Site::real(|_| {}).await.with_shelf(2);
    let places = "/tmp /workspace /workspace/.git /home/builder";
    // It looks before it leaves anything.
    let mut spec = site.running(&format!(
        "for place in {places}; do ls -A $place; done; cat \"$DEPLOY_HOOK_BODY_FILE\"; cat node_modules/kept; \
         grep -l 'linger[4]2' /proc/[0-9]*/cmdline 2>/dev/null; \
         for place in {places}; do echo x > $place/hostile; done; echo hostile >> index.html; \
         (sh -c \": linger$((40+2)); sleep 1000; :\" &); mkdir -p node_modules; echo kept-$DEPLOY_TRIGGER_COUNT > node_modules/kept"
    ));
    (spec.hook, spec.body) = (site.hooked().hook, b"first body\n".to_vec());
    let (outcome, told) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?} {told:#?}");
    site.stage(&spec).await;
    let spec = BuildSpec { id: site.spec().id, body: b"second body\n".to_vec(), trigger_count: 2, ..spec };
    let (outcome, told) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?} {told:#?}");
    assert!(was_started_ahead(&told));
    assert_eq!(reports(&told)[0].outcome, CacheOutcome::Hit);
    // The command itself is told too.
    let printed: Vec<_> = lines(&told).into_iter().filter(|line| !line.starts_with("$ ")).collect();
    for (text, times) in [("second body", 1), ("first body", 0), ("kept-1", 1), ("hostile", 0), ("/proc/", 0)]
    {
        assert_eq!(printed.iter().filter(|line| line.contains(text)).count(), times, "{text}: {printed:#?}");
    }
    site.nothing_is_left().await;
}

impl Served {
    /// Waits until so many sandboxes are there, and as many workspaces.
    async fn until_there_are(&self, count: usize) {
        let there = async {
            loop {
                let sandboxes = self.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.len();
                let workspaces = entries(&self.directory.path().join("data/workspaces")).len();
                if (sandboxes, workspaces) == (count, count) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), there).await.unwrap();
    }

    async fn hooked(&self) -> grapnel_proto::executor::v1::TriggerDeployRequest {
        let mut request = self.request().await;
        let spec = request.spec.as_mut().unwrap();
        spec.hook_id = Clock::system().new_id::<grapnel_domain::id::HookKind>().to_string();
        spec.hook_name = "cms".into();
        request
    }
}

#[tokio::test]
async fn an_executor_makes_the_next_build_ready_and_takes_it_down_with_its_cache_when_drained_and_when_it_ends()
 {
    let mut served = Served::start_ahead(lasting(), 2).await;
    let request = served.hooked().await;
    served.told_after(&request, 0).await;
    served.until_there_are(1).await;
    assert_eq!(served.engine.started(), 2);
    let told = served.told_after(&served.another(&request), 0).await;
    assert!(matches!(outcome(&told), Some(Told::Ready(_))), "{told:?}");
    served.until_there_are(1).await;
    assert_eq!(served.engine.started(), 3, "the second build took what stood ready");

    let project_id = request.spec.as_ref().unwrap().project_id.clone();
    let purge = PurgeCacheRequest { project_id, branch: String::new() };
    served.client().purge_cache(purge).await.unwrap();
    served.until_there_are(0).await;
    served.told_after(&served.another(&request), 0).await;
    served.until_there_are(1).await;

    // Whoever comes after a process that was killed sweeps it away.
    served.start_again(|_| {}).await;
    served.until_there_are(0).await;
    served.told_after(&served.another(&request), 0).await;
    served.until_there_are(1).await;
    served.client().drain_executor(DrainExecutorRequest {}).await.unwrap();
    served.until_there_are(0).await;
}

#[tokio::test]
async fn what_stands_ready_goes_when_the_process_is_asked_to_end() {
    let mut served = Served::start_ahead(lasting(), 2).await;
    let request = served.hooked().await;
    served.told_after(&request, 0).await;
    served.until_there_are(1).await;
    served.process.stopping.ask();
    tokio::time::timeout(Duration::from_secs(20), &mut served.process.serving).await.unwrap().unwrap();
    served.until_there_are(0).await;
}

#[tokio::test]
async fn a_build_in_what_was_started_ahead_goes_on_in_the_next_process_and_can_be_canceled_there() {
    for cancel in [false, true] {
        let mut served = Served::start_ahead(lasting(), 2).await;
        let mut request = served.hooked().await;
        let wait = "while [ ! -e go ]; do sleep 0.01; done";
        let settings = request.spec.as_mut().unwrap().settings.as_mut().unwrap();
        settings.install_command =
            Some(format!("[ \"$DEPLOY_TRIGGER_COUNT\" = 1 ] || {{ echo begun; {wait}; }}"));
        served.told_after(&request, 0).await;
        served.until_there_are(1).await;
        let mut request = served.another(&request);
        request.spec.as_mut().unwrap().trigger_count = 2;
        let mut stream = served.trigger(&request).await.unwrap();
        let mut seen = 0;
        loop {
            let message = stream.message().await.unwrap().unwrap();
            seen = seen.max(message.sequence);
            if matches!(&message.event, Some(Event::Log(log)) if log.lines.iter().any(|it| it.text == "begun"))
            {
                break;
            }
        }
        drop(stream);
        served.start_again(|_| {}).await;
        let [workspace] = &entries(&served.directory.path().join("data/workspaces"))[..] else { panic!() };
        assert!(workspace.to_string_lossy().ends_with("-0"));
        if cancel {
            let id = request.deployment_id.clone();
            let cancel = CancelDeployRequest { deployment_id: id, attempt: 1 };
            served.client().cancel_deploy(cancel).await.unwrap();
            served.until_there_are(0).await;
        } else {
            let again = grapnel_proto::executor::v1::TriggerDeployRequest { after_sequence: seen, ..request };
            let stream = served.trigger(&again).await.unwrap();
            fs::write(workspace.join("tree/go"), "").unwrap();
            let told = told(stream).await;
            assert!(matches!(outcome(&told), Some(Told::Ready(_))), "{told:?}");
            assert_eq!(served.engine.started(), 2, "no attempt was spent");
        }
    }
}
