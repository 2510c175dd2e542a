//! What one process stores and another waits for.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::DateTime;
use futures_util::StreamExt as _;
use grapnel_domain::{
    deployment::State,
    event::{BuildEvent, DeploymentEvent, LogLine, Outcome, Step, Stream},
    id::DeploymentId,
};
use grapnel_hooks::{
    app::{App, Part},
    model::Team,
    store::{Claim, Claimed, Hearing, Store, projects::ProjectRef},
};
use grapnel_runtime::{CancellationToken, Clock};
use tokio::{sync::watch, task::JoinHandle};

use crate::{proxy::Proxy, support};

const OWNER: &str = "builder";
const LEASE: Duration = Duration::from_secs(3_600);

/// How long a watcher relies on being rung: what comes sooner was heard.
const LOOK: Duration = Duration::from_secs(2);

const QUICK: Hearing = Hearing {
    try_every: Duration::from_millis(200),
    answer: Duration::from_millis(1_000),
    first: Duration::from_millis(20),
    longest: Duration::from_millis(100),
};

/// Two processes over one PostgreSQL: one builds, the other is watched at, through a proxy.
struct Two {
    builder: App,
    watched: App,
    team: Team,
    project: ProjectRef,
    proxy: Proxy,
    stopping: CancellationToken,
}

impl Two {
    async fn start() -> Self {
        let url = support::new_postgres_database().await;
        let (builder, team, project) = support::app_at(&url, Clock::system()).await;
        let proxy = Proxy::before(&url).await;
        let mut watched = builder.clone();
        watched.store = Store::open(&proxy.url).await.unwrap();
        let stopping = CancellationToken::new();
        for app in [&builder, &watched] {
            tokio::spawn(app.store.clone().listen(QUICK, stopping.child_token()));
        }
        let two = Self { builder, watched, team, project, proxy, stopping };
        two.until_heard(true).await;
        two
    }

    async fn until_heard(&self, heard: bool) {
        until("the watched process hears or not", || self.watched.store.hears_others() == heard).await;
        until("the builder hears", || self.builder.store.hears_others()).await;
    }

    /// Begins to build.
    async fn building(&self) -> Building<'_> {
        let id = self.builder.trigger_deployment(self.team.id, &self.project, None, true).await.unwrap().id;
        let (store, now) = (&self.builder.store, self.builder.clock.now());
        store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
        store.resolved(id, OWNER, &"0".repeat(40), "", now).await.unwrap();
        let claimed = store.claim(Claim::Queued, OWNER, LEASE, 1, now).await.unwrap().remove(0);
        store.started(claimed.spec.id, OWNER, now).await.unwrap();
        Building { two: self, claimed, told: 0 }
    }

    /// Watches a deployment at the watched process; one whose stream breaks comes back for the rest.
    fn watch(&self, id: DeploymentId) -> Watching {
        let (app, team) = (self.watched.clone(), self.team.id);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (count, counted) = watch::channel(0);
        let keeps = seen.clone();
        let over = tokio::spawn(async move {
            loop {
                let position = keeps.lock().unwrap().last().map_or(0, |(position, _)| *position);
                let Ok(events) = app.watch_deployment(team, id, Part::all_after(position)).await else {
                    continue;
                };
                let mut events = std::pin::pin!(events);
                while let Some(Ok(stored)) = events.next().await {
                    let (what, last) = match &stored.event {
                        DeploymentEvent::State(change) => (change.state.to_string(), change.state.is_final()),
                        DeploymentEvent::Build { event: BuildEvent::Log { lines, .. }, .. } => {
                            (lines[0].text.clone(), false)
                        }
                        DeploymentEvent::Build { event, .. } => (format!("{event:?}"), false),
                        DeploymentEvent::LogRemoved => ("log removed".to_owned(), false),
                    };
                    keeps.lock().unwrap().push((stored.position, what));
                    count.send_modify(|count| *count += 1);
                    if last {
                        return;
                    }
                }
            }
        });
        Watching { seen, counted, over }
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

struct Building<'a> {
    two: &'a Two,
    claimed: Claimed,
    told: u64,
}

impl Building<'_> {
    async fn print(&mut self) {
        self.told += 1;
        let line = LogLine { stream: Stream::Stdout, at: DateTime::UNIX_EPOCH, text: self.told.to_string() };
        let event = (self.told, BuildEvent::Log { step: Step::Build, lines: vec![line] });
        let App { store, clock, .. } = &self.two.builder;
        store.append_build_events(self.claimed.spec.id, OWNER, vec![event], clock.now()).await.unwrap();
    }

    async fn finish(&self) {
        let App { store, clock, .. } = &self.two.builder;
        let ready = Outcome::Ready { files: 1, bytes: 1 };
        store.finished(self.claimed.spec.id, OWNER, ready, clock.now()).await.unwrap();
    }
}

/// A watcher, and what it was told with the positions.
struct Watching {
    seen: Arc<Mutex<Vec<(u64, String)>>>,
    counted: watch::Receiver<usize>,
    over: JoinHandle<()>,
}

impl Watching {
    async fn until(&mut self, count: u64) {
        let counted = self.counted.wait_for(|seen| *seen as u64 >= count);
        tokio::time::timeout(Duration::from_secs(30), counted).await.expect("it was not told").unwrap();
    }

    /// Checks that everything was told once and in order.
    async fn was_told(self, lines: u64) {
        tokio::time::timeout(Duration::from_secs(30), self.over).await.expect("it never ends").unwrap();
        let states = |states: &[&str]| states.iter().map(ToString::to_string).collect::<Vec<_>>();
        let begun = states(&["PENDING", "QUEUED", "BUILDING"]);
        let expected = [begun, (1..=lines).map(|n| n.to_string()).collect(), states(&["READY"])].concat();
        let expected: Vec<_> = (1..).zip(expected).collect();
        assert_eq!(*self.seen.lock().unwrap(), expected);
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_at_one_process_is_told_at_once_what_another_has_built() {
    let two = Two::start().await;
    let mut building = two.building().await;
    let mut watching = two.watch(building.claimed.deployment.id);
    watching.until(3).await;
    let begun = Instant::now();
    // Each line is waited for: by looking alone each would take as long as that.
    for line in 1..=20 {
        building.print().await;
        watching.until(3 + line).await;
    }
    building.finish().await;
    let took = begun.elapsed();
    watching.was_told(20).await;
    assert!(took < 4 * LOOK, "twenty lines took {took:?}, which is looking and not hearing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_statuses_and_events_of_one_process_wake_another() {
    let two = Two::start().await;
    let bells = &two.watched.store.wakeups;
    // What rang when it began to hear.
    let heard = Duration::from_millis(300);
    while tokio::time::timeout(heard, bells.wait_for_work()).await.is_ok() {}
    while tokio::time::timeout(heard, bells.wait_for_statuses()).await.is_ok() {}
    while tokio::time::timeout(heard, bells.wait_for_events()).await.is_ok() {}
    two.builder.trigger_deployment(two.team.id, &two.project, None, true).await.unwrap();
    let all = async {
        bells.wait_for_work().await;
        bells.wait_for_statuses().await;
        bells.wait_for_events().await;
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("it is not woken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rolled_back_is_told_to_nobody() {
    let two = Two::start().await;
    let id = two.builder.trigger_deployment(two.team.id, &two.project, None, true).await.unwrap().id;
    let watching = two.watch(id);
    let (store, now) = (&two.builder.store, two.builder.clock.now());
    let refused = store.resolved(id, "nobody", "c", "", now).await;
    refused.unwrap_err();
    two.builder.cancel_deployment(two.team.id, id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), watching.over).await.unwrap().unwrap();
    let seen: Vec<_> = watching.seen.lock().unwrap().iter().map(|(_, what)| what.clone()).collect();
    assert_eq!(seen, [State::Pending.as_str(), State::Canceled.as_str()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_lines_are_cut_again_and_again_tells_everything_once_and_hears_again() {
    let two = Two::start().await;
    let mut building = two.building().await;
    let watching = two.watch(building.claimed.deployment.id);
    for round in 0..5 {
        for _ in 0..10 {
            building.print().await;
        }
        two.proxy.cut();
        for _ in 0..=round {
            building.print().await;
        }
    }
    two.until_heard(true).await;
    building.finish().await;
    let told = building.told;
    watching.was_told(told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_looks_alive_and_is_dead_is_found_out_and_watchers_look_by_themselves() {
    let two = Two::start().await;
    two.proxy.keep_notices(true);
    two.until_heard(false).await;
    let mut building = two.building().await;
    let mut watching = two.watch(building.claimed.deployment.id);
    watching.until(3).await;
    building.print().await;
    watching.until(4).await;
    assert!(!two.watched.store.hears_others(), "nothing could be heard");
    two.proxy.keep_notices(false);
    two.until_heard(true).await;
    let begun = Instant::now();
    for line in 2..=20 {
        building.print().await;
        watching.until(3 + line).await;
    }
    assert!(begun.elapsed() < 4 * LOOK, "it looks and does not hear: {:?}", begun.elapsed());
    building.finish().await;
    watching.was_told(20).await;
}
