//! Who sends events.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use grapnel_domain::{
    endpoint::{EndpointSecret, TryOutcome, next_try},
    id::EndpointId,
};
use grapnel_runtime::{CancellationToken, Clock, TaskTracker, crash_point};
use rand::RngExt as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;
use url::Url;

use super::signature::signatures;
use crate::{
    model::{Delivery, Tried},
    outbound::http::{Answer, HttpClient, NoAnswer},
    sealing::Sealer,
    store::{ClaimedEvent, Claimer, Render, Store, StoreError},
};

/// How much of an answer's body the ledger keeps, in bytes.
const KEPT: usize = 1024;

/// How long tries that are under way may take to end when the process stops. What does not end is tried again by whoever
/// finds its lease run out.
const STOP: Duration = Duration::from_secs(5);

/// How many tries there are at once, and how long who waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Tries at once, of all endpoints.
    pub at_once: usize,
    /// Tries at once of one endpoint: what it makes wait is its own.
    pub at_once_of_one: usize,
    /// How long a lease lasts: longer than an exchange and what is stored of it.
    pub lease: Duration,
    /// How often to look for what is due without having been told of any.
    pub look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: 64, at_once_of_one: 2, lease: Duration::from_secs(60), look: Duration::from_secs(2) }
    }
}

/// Sends the events of one process. Clones share everything.
#[derive(Clone)]
pub struct Sender {
    store: Store,
    sealer: Sealer,
    client: HttpClient,
    clock: Clock,
    /// The name under which this process holds leases.
    owner: Arc<str>,
    render: Arc<Render>,
    pace: Pace,
    /// How many tries of each endpoint are under way.
    under_way: Arc<Mutex<HashMap<EndpointId, usize>>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// What a sender needs.
pub struct Needs {
    /// What is to be sent.
    pub store: Store,
    /// Who opens secrets.
    pub sealer: Sealer,
    /// Who posts.
    pub client: HttpClient,
    /// Time and ids.
    pub clock: Clock,
    /// Makes bodies.
    pub render: Arc<Render>,
}

impl Sender {
    /// Prepares a sender. `owner` is unique among all processes and all starts.
    pub fn new(needs: Needs, owner: &str, pace: Pace, stopping: CancellationToken) -> Self {
        let Needs { store, sealer, client, clock, render } = needs;
        Self {
            store,
            sealer,
            client,
            clock,
            owner: owner.into(),
            render,
            pace,
            under_way: Arc::default(),
            tasks: TaskTracker::new(),
            stopping,
        }
    }

    /// Sends until it is stopped; tries that are under way may end then.
    pub async fn run(self) {
        while !self.stopping.is_cancelled() {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "events cannot be looked for; it is tried again");
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                _ = timeout(self.pace.look, self.store.wakeups.wait_for_events()) => {}
            }
        }
        self.tasks.close();
        if timeout(STOP, self.tasks.wait()).await.is_err() {
            tracing::warn!("some events were being sent; they are sent again");
        }
    }

    /// Begins to send what is due, as far as there is room. An endpoint that has no room is passed over, and does not keep
    /// others from being looked at.
    async fn look(&self) -> Result<(), StoreError> {
        loop {
            let mut under_way = self.counts();
            let room = self.pace.at_once.saturating_sub(under_way.values().sum());
            if room == 0 {
                return Ok(());
            }
            let claimer = Claimer {
                owner: &self.owner,
                lease: self.pace.lease,
                at_once: self.pace.at_once_of_one,
                render: &*self.render,
            };
            let claimed = self.store.claim_events(&claimer, &mut under_way, room, self.clock.now()).await?;
            if claimed.is_empty() {
                return Ok(());
            }
            for event in claimed {
                self.spawn(event);
            }
        }
    }

    fn counts(&self) -> HashMap<EndpointId, usize> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, endpoint: EndpointId, change: impl FnOnce(usize) -> usize) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match change(under_way.get(&endpoint).copied().unwrap_or_default()) {
            0 => drop(under_way.remove(&endpoint)),
            count => drop(under_way.insert(endpoint, count)),
        }
    }

    fn spawn(&self, claimed: ClaimedEvent) {
        let endpoint = claimed.endpoint.id;
        self.count(endpoint, |count| count + 1);
        let this = self.clone();
        self.tasks.spawn(async move {
            this.send(&claimed).await;
            this.count(endpoint, |count| count.saturating_sub(1));
            this.store.wakeups.events();
        });
    }

    /// Tries one event, and stores what came of it.
    async fn send(&self, claimed: &ClaimedEvent) {
        let at = self.clock.now();
        let (tried, retry_after) = self.attempt(claimed).await;
        let now = self.clock.now();
        let next = match tried.outcome {
            TryOutcome::Delivered => None,
            TryOutcome::Refused
            | TryOutcome::Redirected
            | TryOutcome::Gone
            | TryOutcome::AddressRefused
            | TryOutcome::Unreachable
            | TryOutcome::Silent
            | TryOutcome::Unsigned => {
                next_try(claimed.tries + 1, rand::rng().random_range(-1.0..=1.0), retry_after, now)
            }
        };
        let (id, outcome) = (claimed.event.id, tried.outcome);
        let (endpoint, event) = (claimed.endpoint.id, claimed.event.id);
        let delivery = Delivery { id: self.clock.new_id(), endpoint, event, at, tried };
        tracing::debug!(event.id = %id, endpoint.id = %endpoint, %outcome, "an event was tried");
        if let Err(error) = self.store.tried(claimed, &self.owner, &delivery, next, now).await {
            // Its lease runs out, and it is tried again under the same id.
            tracing::warn!(event.id = %id, endpoint.id = %endpoint, %error, "what came of an event cannot be stored");
        }
    }

    async fn attempt(&self, claimed: &ClaimedEvent) -> (Tried, Option<Duration>) {
        let now = self.clock.now();
        let failed = |outcome, error: String| Tried {
            outcome,
            status: None,
            took: Duration::ZERO,
            error: kept(&error),
            answer: String::new(),
        };
        let Some(headers) = self.headers(claimed, now.timestamp()) else {
            tracing::error!(
                endpoint.id = %claimed.endpoint.id,
                "an endpoint's secret cannot be opened, so that its events are not sent"
            );
            let error = "the endpoint's secret cannot be read: ask the operator, or rotate it";
            return (failed(TryOutcome::Unsigned, error.to_owned()), None);
        };
        let url = match Url::parse(claimed.endpoint.url.as_str()) {
            Ok(url) => url,
            Err(error) => return (failed(TryOutcome::Unreachable, error.to_string()), None),
        };
        let body = claimed.event.body.clone().into_bytes();
        match self.client.post(&url, headers, body, now).await {
            Ok(answer) => {
                crash_point("outbound.event-answered");
                let retry_after = answer.retry_after;
                (answered(answer), retry_after)
            }
            Err(error) => {
                let outcome = match &error {
                    NoAnswer::Refused(_) => TryOutcome::AddressRefused,
                    NoAnswer::Unreachable(_) => TryOutcome::Unreachable,
                    NoAnswer::Silent(_) => TryOutcome::Silent,
                };
                (failed(outcome, error.to_string()), None)
            }
        }
    }

    /// Returns the headers of a try; `None` where the secrets that should sign cannot all be opened.
    fn headers(&self, claimed: &ClaimedEvent, seconds: i64) -> Option<HeaderMap> {
        let mut secrets = Vec::with_capacity(claimed.secrets.len());
        for (secret, sealed) in &claimed.secrets {
            let text = self.sealer.unseal(&secret.id.to_string(), sealed.as_ref()?).ok()?;
            secrets.push(EndpointSecret::parse(&text).ok()?);
        }
        let id = claimed.event.id;
        let signature = signatures(&secrets, id, seconds, &claimed.event.body)?;
        let value = |text: String| HeaderValue::try_from(text).ok();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static("webhook-id"), value(id.to_string())?);
        headers.insert(HeaderName::from_static("webhook-timestamp"), value(seconds.to_string())?);
        headers.insert(HeaderName::from_static("webhook-signature"), value(signature)?);
        Some(headers)
    }
}

fn answered(answer: Answer) -> Tried {
    let outcome = TryOutcome::of_status(answer.status);
    let error = match outcome {
        TryOutcome::Delivered => String::new(),
        TryOutcome::Redirected => format!("it answered {}, and redirects are not followed", answer.status),
        TryOutcome::Gone => "it answered 410: it wants no more events".to_owned(),
        TryOutcome::Refused
        | TryOutcome::AddressRefused
        | TryOutcome::Unreachable
        | TryOutcome::Silent
        | TryOutcome::Unsigned => format!("it answered {}", answer.status),
    };
    let Answer { status, took, body, .. } = answer;
    Tried { outcome, status: Some(status), took, error, answer: kept(&body) }
}

/// Cuts a text to what the ledger keeps, without what no database keeps or what would steer a terminal.
fn kept(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars() {
        let c = if c.is_control() && c != '\n' && c != '\t' { '\u{FFFD}' } else { c };
        if kept.len() + c.len_utf8() > KEPT {
            break;
        }
        kept.push(c);
    }
    kept
}
