//! What changes of many deployments, told as it happens.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use grapnel_domain::{
    Error, Reason,
    build::AttemptId,
    deployment::State,
    event::{BuildEvent, LogLine, Outcome, Step},
    id::DeploymentId,
    scope::Scope,
    secret_token::ApiKey,
};
use grapnel_hooks::{
    app::{App, Change},
    model::{Deployment, Team},
    store::{Claim, Hearing, Store, projects::ProjectRef},
};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        WatchDeploymentRequest, WatchDeploymentsRequest, hook_service_client::HookServiceClient,
        watch_deployments_response::Change as Told,
    },
};
use grapnel_runtime::{CancellationToken, Clock, grpc::Bearer};
use tonic::Status;

use crate::support::{self, Service, new_project, on_both};

const OWNER: &str = "builder";
const LEASE: Duration = Duration::from_secs(3_600);

/// How long anything is waited for.
const LONG: Duration = Duration::from_secs(60);

struct House {
    app: App,
    team: Team,
    project: ProjectRef,
}

impl House {
    async fn at(url: &str) -> Self {
        let (app, team, project) = support::app_at(url, Clock::system()).await;
        Self { app, team, project }
    }

    async fn deploy(&self, project: &ProjectRef) -> DeploymentId {
        self.app.trigger_deployment(self.team.id, project, None, true).await.unwrap().id
    }

    async fn watch(&self, project: Option<&ProjectRef>) -> Watching {
        Watching::of(&self.app, &self.team, project).await
    }

    /// Lets the only deployment that waits be built.
    async fn start(&self) -> AttemptId {
        let (store, now) = (&self.app.store, self.app.clock.now());
        let pending = store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
        store.resolved(pending[0].deployment.id, OWNER, &"0".repeat(40), "", now).await.unwrap();
        let claimed = store.claim(Claim::Queued, OWNER, LEASE, 1, now).await.unwrap().remove(0);
        store.started(claimed.spec.id, OWNER, now).await.unwrap();
        claimed.spec.id
    }

    async fn print(&self, attempt: AttemptId, sequence: u64) {
        let (store, now) = (&self.app.store, self.app.clock.now());
        let line =
            LogLine { stream: grapnel_domain::event::Stream::Stdout, at: now, text: sequence.to_string() };
        let event = BuildEvent::Log { step: Step::Build, lines: vec![line] };
        store.append_build_events(attempt, OWNER, vec![(sequence, event)], now).await.unwrap();
    }

    async fn finish(&self, attempt: AttemptId) {
        let ready = Outcome::Ready { files: 1, bytes: 1 };
        self.app.store.finished(attempt, OWNER, ready, self.app.clock.now()).await.unwrap();
    }
}

/// A watcher, and what it was told last of each.
struct Watching {
    changes: Pin<Box<dyn Stream<Item = Result<Change, Error>> + Send>>,
    told: HashMap<DeploymentId, Deployment>,
    deleted: HashSet<DeploymentId>,
}

impl Watching {
    async fn of(app: &App, team: &Team, project: Option<&ProjectRef>) -> Self {
        let changes = app.watch_deployments(team.id, project).await.unwrap();
        Self { changes: Box::pin(changes), told: HashMap::new(), deleted: HashSet::new() }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let told = async {
            while !holds(self) {
                match self.changes.next().await.unwrap().unwrap() {
                    Change::Is(deployment) => drop(self.told.insert(deployment.id, *deployment)),
                    Change::Deleted(id) => drop(self.deleted.insert(id)),
                }
            }
        };
        tokio::time::timeout(LONG, told).await.unwrap_or_else(|_| panic!("it was not told: {what}"));
    }

    fn state(&self, id: DeploymentId) -> Option<State> {
        self.told.get(&id).map(|it| it.state)
    }

    fn is_promoted(&self, id: DeploymentId) -> Option<bool> {
        self.told.get(&id).map(|it| it.promoted)
    }

    fn all(&self) -> HashSet<DeploymentId> {
        self.told.keys().copied().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_or_changes_is_told_and_nothing_of_what_was_there_before() {
    on_both(async |url| {
        let house = House::at(&url).await;
        let other = new_project(&house.app, house.team.id, "other").await;
        let before = house.deploy(&house.project).await;
        let first = house.start().await;
        let (mut of_site, mut of_team) = (house.watch(Some(&house.project)).await, house.watch(None).await);
        let elsewhere = house.deploy(&other).await;
        of_team.until("a new one of another project", |it| it.state(elsewhere).is_some()).await;
        assert_eq!(of_team.all(), HashSet::from([elsewhere]));
        house.app.cancel_deployment(house.team.id, elsewhere).await.unwrap();
        house.finish(first).await;
        of_site.until("the end of one that ran", |it| it.state(before) == Some(State::Ready)).await;
        assert_eq!(of_site.is_promoted(before), Some(true));

        let after = house.deploy(&house.project).await;
        of_site.until("a new one", |it| it.state(after) == Some(State::Pending)).await;
        let second = house.start().await;
        of_site.until("that it is built", |it| it.state(after) == Some(State::Building)).await;
        house.finish(second).await;
        let replaced = |it: &Watching| (it.is_promoted(before), it.is_promoted(after));
        of_site.until("that it takes the place", |it| replaced(it) == (Some(false), Some(true))).await;
        of_team.until("the same", |it| replaced(it) == (Some(false), Some(true))).await;
        assert_eq!(of_site.all(), HashSet::from([before, after]), "of its own project alone");
        assert_eq!(of_team.state(elsewhere), Some(State::Canceled));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_grows_is_no_change_and_what_is_asked_of_a_build_is() {
    on_both(async |url| {
        let house = House::at(&url).await;
        let building = house.deploy(&house.project).await;
        let attempt = house.start().await;
        let mut watching = house.watch(Some(&house.project)).await;
        for sequence in 1..=20 {
            house.print(attempt, sequence).await;
        }
        let new = house.deploy(&house.project).await;
        watching.until("a new one", |it| it.state(new).is_some()).await;
        assert_eq!(watching.all(), HashSet::from([new]));
        house.app.cancel_deployment(house.team.id, building).await.unwrap();
        watching.until("that it was asked to end", |it| it.told.contains_key(&building)).await;
        assert!(watching.told[&building].cancel_requested.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_is_told_however_many_are_newer_and_what_is_gone_is_told_once() {
    on_both(async |url| {
        let house = House::at(&url).await;
        let old = house.deploy(&house.project).await;
        for _ in 0..60 {
            house.deploy(&house.project).await;
        }
        let mut watching = house.watch(None).await;
        house.app.cancel_deployment(house.team.id, old).await.unwrap();
        watching.until("the end of an old one", |it| it.state(old) == Some(State::Canceled)).await;
        assert_eq!(watching.all(), HashSet::from([old]));
        let last = house.deploy(&house.project).await;
        watching.until("a new one", |it| it.state(last).is_some()).await;
        house.app.delete_project(house.team.id, &house.project).await.unwrap();
        watching.until("that it is gone", |it| it.deleted.contains(&last)).await;
        watching.until("that all are", |it| it.deleted.len() == 61).await;
        assert!(!watching.deleted.contains(&old), "which nobody looked at any more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_promotes_or_deletes_is_told() {
    on_both(async |url| {
        let house = House::at(&url).await;
        let (app, team) = (&house.app, house.team.id);
        let first = house.deploy(&house.project).await;
        house.finish(house.start().await).await;
        let second = house.deploy(&house.project).await;
        house.finish(house.start().await).await;
        let mut watching = house.watch(Some(&house.project)).await;
        app.promote_deployment(team, first).await.unwrap();
        let served = |it: &Watching| (it.is_promoted(first), it.is_promoted(second));
        watching.until("that it went back", |it| served(it) == (Some(true), Some(false))).await;
        app.promote_deployment(team, second).await.unwrap();
        watching.until("that it goes on", |it| served(it) == (Some(false), Some(true))).await;
        app.delete_deployment(team, first).await.unwrap();
        watching.until("that one is gone", |it| it.deleted.contains(&first)).await;

        let runs = house.deploy(&house.project).await;
        let attempt = house.start().await;
        app.delete_deployment(team, runs).await.unwrap();
        let is_asked = |it: &Watching| it.told.get(&runs).is_some_and(|it| it.cancel_requested.is_some());
        watching.until("that it is to end", is_asked).await;
        assert!(!watching.deleted.contains(&runs), "it goes on");
        app.store.finished(attempt, OWNER, Outcome::Canceled, app.clock.now()).await.unwrap();
        watching.until("that it is gone", |it| it.deleted.contains(&runs)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_stores_is_told_whether_it_is_heard_or_not() {
    let url = support::new_postgres_database().await;
    let house = House::at(&url).await;
    let stopping = CancellationToken::new();
    let mut watching = Vec::new();
    for hears in [true, false] {
        let mut app = house.app.clone();
        app.store = Store::open(&url).await.unwrap();
        if hears {
            tokio::spawn(app.store.clone().listen(Hearing::default(), stopping.child_token()));
        }
        watching.push(Watching::of(&app, &house.team, None).await);
    }
    let id = house.deploy(&house.project).await;
    for watching in &mut watching {
        watching.until("a new one", |it| it.state(id) == Some(State::Pending)).await;
    }
    house.app.cancel_deployment(house.team.id, id).await.unwrap();
    for watching in &mut watching {
        watching.until("its end", |it| it.state(id) == Some(State::Canceled)).await;
    }
    stopping.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_an_error_at_a_shutdown_and_cleanly_after_the_last_event_alone() {
    let service = Service::start().await;
    let key = ApiKey::parse(&service.key(&service.team, &[Scope::Read]).await).unwrap();
    let mut client = HookServiceClient::with_interceptor(service.channel(), Bearer::new(&key));
    let deploy = async || {
        service.app.trigger_deployment(service.team.id, &service.project, None, true).await.unwrap().id
    };
    let (ended, waits) = (deploy().await, deploy().await);
    service.app.cancel_deployment(service.team.id, ended).await.unwrap();
    let watch = |id: DeploymentId| WatchDeploymentRequest {
        deployment_id: id.to_string(),
        after_position: 0,
        ..Default::default()
    };
    let mut whole = client.watch_deployment(watch(ended)).await.unwrap().into_inner();
    while tokio::time::timeout(LONG, whole.message()).await.unwrap().expect("a clean end").is_some() {}
    let mut one = client.watch_deployment(watch(waits)).await.unwrap().into_inner();
    let first = tokio::time::timeout(LONG, one.message()).await.expect("it waits for more").unwrap().unwrap();
    assert_eq!(first.event.unwrap().position, 1);
    let all = WatchDeploymentsRequest { project: String::new() };
    let mut all = client.watch_deployments(all).await.unwrap().into_inner();
    let new = deploy().await.to_string();
    let told = tokio::time::timeout(LONG, all.message()).await.unwrap().unwrap().unwrap();
    assert!(matches!(told.change, Some(Told::Deployment(deployment)) if deployment.id == new));
    service.stop();
    let ends =
        tokio::time::timeout(LONG, async { (one.message().await, all.message().await) }).await.unwrap();
    let reason = |status: Status| from_status(&status, Reason::Internal).reason;
    assert_eq!(reason(ends.0.unwrap_err()), Reason::ShuttingDown);
    assert_eq!(reason(ends.1.unwrap_err()), Reason::ShuttingDown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_revoked_watches_no_longer() {
    let service = Service::start().await;
    let scopes = [Scope::Read].into_iter().collect();
    let (key, secret) = service.app.create_key(service.team.id, "watches".into(), scopes).await.unwrap();
    let mut client = HookServiceClient::with_interceptor(service.channel(), Bearer::new(&secret));
    let id = service.app.trigger_deployment(service.team.id, &service.project, None, true).await.unwrap().id;
    let one =
        WatchDeploymentRequest { deployment_id: id.to_string(), after_position: 1, ..Default::default() };
    let mut one = client.watch_deployment(one).await.unwrap().into_inner();
    let all = WatchDeploymentsRequest { project: String::new() };
    let mut all = client.watch_deployments(all).await.unwrap().into_inner();
    service.app.revoke_key(service.team.id, key.id).await.unwrap();
    let ends =
        tokio::time::timeout(LONG, async { (one.message().await, all.message().await) }).await.unwrap();
    let reason = |status: Status| from_status(&status, Reason::Internal).reason;
    assert_eq!(reason(ends.0.unwrap_err()), Reason::KeyInvalid);
    assert_eq!(reason(ends.1.unwrap_err()), Reason::KeyInvalid);
}
