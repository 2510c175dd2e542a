//! What tests of events stand on: a team that has endpoints, deployments that move, and who sends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    endpoint::{EventState, EventType},
    event::Outcome,
    id::{DeploymentId, EndpointId},
};
use grapnel_e2e::Receiver;
use grapnel_hooks::{
    app::{App, NewEndpoint, WithSecret},
    model::{Delivery, OutgoingEvent, Team},
    outbound::{
        events::{Needs, Pace, Sender, body},
        http::{HttpClient, Reach},
    },
    store::{
        Claim, Claimed,
        event_ledger::{DeliveryFilter, EventFilter},
        projects::ProjectRef,
    },
};
use grapnel_runtime::{CancellationToken, Clock, clock::ClockHand};

use crate::support::app_at;

pub const COMMIT: &str = "0123456789012345678901234567890123456789";
const OWNER: &str = "builder";
const LEASE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

/// A team with a project and a clock that the test moves.
pub struct House {
    pub app: App,
    pub team: Team,
    pub project: ProjectRef,
    pub hand: ClockHand,
    stopping: CancellationToken,
}

impl House {
    pub async fn open(url: &str) -> Self {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let (app, team, project) = app_at(url, clock).await;
        Self { app, team, project, hand, stopping: CancellationToken::new() }
    }

    /// Begins to send, into the loopback network too.
    pub fn send(&self) {
        self.send_into("127.0.0.0/8");
    }

    /// Begins to send into networks that the operator opens.
    pub fn send_into(&self, opened: &str) {
        let allowed = opened.split(',').filter(|it| !it.is_empty()).map(|it| it.parse().unwrap()).collect();
        self.sender("sender", Reach { allowed }, &self.app).run_in_the_background();
    }

    /// Prepares a sender of a name.
    pub fn sender(&self, owner: &str, reach: Reach, app: &App) -> Prepared {
        let addresses = app.addresses.clone();
        let needs = Needs {
            store: app.store.clone(),
            sealer: app.sealer.clone(),
            client: HttpClient::new(reach, None).unwrap(),
            clock: app.clock.clone(),
            render: Arc::new(move |kind, at, facts| body(kind, at, facts, &|id| addresses.site_url(id))),
        };
        let pace = Pace { look: Duration::from_millis(20), ..Pace::default() };
        Prepared(Sender::new(needs, owner, pace, self.stopping.child_token()))
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.app.clock.now()
    }

    pub fn pass(&self, seconds: i64) {
        self.hand.advance(chrono::Duration::seconds(seconds));
    }

    /// Makes an endpoint of the project that hears everything.
    pub async fn endpoint(&self, receiver: &Receiver) -> WithSecret {
        self.hearing(&receiver.url(), Some(&self.project), &[]).await
    }

    pub async fn hearing(&self, url: &str, project: Option<&ProjectRef>, types: &[EventType]) -> WithSecret {
        let new = NewEndpoint {
            project: project.cloned(),
            url: url.parse().unwrap(),
            types: types.to_vec(),
            description: String::new(),
            secret: None,
        };
        self.app.create_endpoint(self.team.id, new).await.unwrap()
    }

    /// Stores a deployment that is QUEUED.
    pub async fn queued(&self) -> DeploymentId {
        let deployment = self.app.trigger_deployment(self.team.id, &self.project, None, true).await.unwrap();
        self.resolve(deployment.id).await;
        deployment.id
    }

    pub async fn resolve(&self, id: DeploymentId) {
        let claimed = self.claim(Claim::Pending).await;
        assert_eq!(claimed.deployment.id, id);
        let resolved = self.app.store.resolved(id, OWNER, COMMIT, "Begin\n\nAnd so on.", self.now()).await;
        resolved.unwrap();
    }

    /// Begins the next attempt at the deployment that waits for one.
    pub async fn building(&self) -> Claimed {
        let claimed = self.claim(Claim::Queued).await;
        self.app.store.started(claimed.spec.id, OWNER, self.now()).await.unwrap();
        claimed
    }

    /// Claims the one deployment that there is to claim. Whoever was refused may hold its row for a moment longer.
    async fn claim(&self, which: Claim) -> Claimed {
        let begun = Instant::now();
        loop {
            let claimed = self.app.store.claim(which, OWNER, LEASE, 1, self.now()).await.unwrap();
            if let Some(claimed) = claimed.into_iter().next() {
                return claimed;
            }
            assert!(begun.elapsed() < PATIENCE, "there is nothing to claim");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn finish(&self, building: &Claimed, outcome: Outcome) {
        self.app.store.finished(building.spec.id, OWNER, outcome, self.now()).await.unwrap();
    }

    /// Takes a deployment from its trigger to READY.
    pub async fn ready(&self) -> DeploymentId {
        let id = self.queued().await;
        let building = self.building().await;
        self.finish(&building, Outcome::Ready { files: 1, bytes: 1 }).await;
        id
    }

    /// Returns the team's events, the oldest first.
    pub async fn events(&self) -> Vec<OutgoingEvent> {
        let page = self.app.list_events(self.team.id, EventFilter::default(), None, 200).await.unwrap();
        page.items.into_iter().rev().collect()
    }

    /// Returns the tries at an endpoint's events, the oldest first.
    pub async fn tries(&self, endpoint: EndpointId) -> Vec<Delivery> {
        let filter = DeliveryFilter { endpoint: Some(endpoint), event: None };
        let page = self.app.store.list_deliveries(self.team.id, filter, None, 200).await.unwrap();
        page.items.into_iter().rev().collect()
    }

    /// Waits until so many tries at an endpoint's events are stored.
    pub async fn until_tried(&self, endpoint: EndpointId, count: usize) -> Vec<Delivery> {
        let begun = Instant::now();
        loop {
            let tries = self.tries(endpoint).await;
            if tries.len() >= count {
                return tries;
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {count}: {tries:#?}", tries.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until no event waits any more, and returns all.
    pub async fn until_over(&self) -> Vec<OutgoingEvent> {
        let begun = Instant::now();
        loop {
            let events = self.events().await;
            if events.iter().all(|event| event.state != EventState::Waiting) {
                return events;
            }
            assert!(begun.elapsed() < PATIENCE, "{events:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// A sender that has not begun.
pub struct Prepared(Sender);

impl Prepared {
    pub fn run_in_the_background(self) {
        tokio::spawn(self.0.run());
    }
}

/// Returns the states of events.
pub fn states(events: &[OutgoingEvent]) -> Vec<EventState> {
    events.iter().map(|event| event.state).collect()
}

/// Returns the types of events.
pub fn kinds(events: &[OutgoingEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}
