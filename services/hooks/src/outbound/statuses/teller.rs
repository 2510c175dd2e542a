//! Who tells git hosts what is written down for them.
//!
//! One loop looks whenever the store says that there may be something, and every few seconds regardless. What it takes
//! is told by a task of its own. A process that dies leaves its leases to run out, and any other goes on.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use grapnel_domain::Error;
use grapnel_runtime::{CancellationToken, TaskTracker, crash_point};
use rand::RngExt as _;
use tokio::{sync::Semaphore, time::timeout};

use super::{Request, Statement, Unwritable, Verdict, request, verdict};
use crate::{
    app::{App, NoDestination},
    model::{ClaimedStatus, StatusDestination},
    outbound::http::{HttpClient, NoAnswer},
    store::{
        StoreError,
        statuses::{Next, NotTold},
    },
};

/// How many hosts are told something at once.
const AT_ONCE: usize = 8;

/// How long tasks may take to end when the process stops.
const STOP: Duration = Duration::from_secs(5);

/// How long a teller waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often to look without having been told that there is something.
    pub look: Duration,
    /// How long a host may take to answer.
    pub answer: Duration,
    /// How long a lease lasts; longer than an answer takes.
    pub lease: Duration,
    /// How long to wait after the first try that went wrong; twice as long after each further one.
    pub first: Duration,
    /// The longest wait between two tries.
    pub longest: Duration,
    /// How long something is tried.
    pub give_up: Duration,
    /// The longest that a host is left alone because it says so.
    pub longest_wait: Duration,
    /// How long after a final state it is told once more, where an earlier try may arrive late. A request that nobody
    /// waits for any more is over by then: hosts and their proxies end theirs after 60 s at most.
    pub once_more: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(2),
            answer: Duration::from_secs(20),
            lease: Duration::from_secs(60),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(600),
            give_up: Duration::from_secs(6 * 60 * 60),
            longest_wait: Duration::from_secs(60 * 60),
            once_more: Duration::from_secs(75),
        }
    }
}

impl Patience {
    /// Says how long to wait after so many tries that went wrong. `random`, from 0 to 1, spreads those that went wrong
    /// together.
    pub fn backoff(&self, tries: u32, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(tries.min(30)));
        doubled.min(self.longest).mul_f64(0.75 + random / 2.0)
    }
}

/// Why nobody knows what came of a status. Its lease runs out, and it is told again.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    App(#[from] Error),
}

/// Tells git hosts, for one process. Clones share everything.
#[derive(Clone)]
pub struct StatusTeller {
    app: App,
    http: HttpClient,
    /// The name under which this process holds leases.
    owner: Arc<str>,
    patience: Patience,
    free: Arc<Semaphore>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl StatusTeller {
    /// Prepares a teller. `owner` is unique among all processes and all starts.
    pub fn new(
        app: App,
        http: HttpClient,
        owner: &str,
        patience: Patience,
        stopping: CancellationToken,
    ) -> Self {
        let free = Arc::new(Semaphore::new(AT_ONCE));
        Self { app, http, owner: owner.into(), patience, free, tasks: TaskTracker::new(), stopping }
    }

    /// Tells until it is stopped; what is under way is ended in a few seconds then.
    pub async fn run(self) {
        while !self.stopping.is_cancelled() {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "what is to be told to git hosts cannot be read; it is tried again");
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                _ = timeout(self.patience.look, self.app.store.wakeups.wait_for_statuses()) => {}
            }
        }
        self.tasks.close();
        if timeout(STOP, self.tasks.wait()).await.is_err() {
            tracing::warn!("some git hosts have not answered; what they were told is told again");
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let free = self.free.available_permits() as u64;
        if free == 0 {
            return Ok(());
        }
        let now = self.app.clock.now();
        for claimed in self.app.store.claim_statuses(&self.owner, self.patience.lease, free, now).await? {
            // Only this loop takes them.
            let Ok(permit) = self.free.clone().try_acquire_owned() else {
                break;
            };
            let this = self.clone();
            self.tasks.spawn(async move {
                if let Err(error) = this.tell(&claimed).await {
                    tracing::warn!(deployment.id = %claimed.deployment, %error, "what came of a commit status cannot be stored");
                }
                drop(permit);
                this.app.store.wakeups.statuses();
            });
        }
        Ok(())
    }

    async fn tell(&self, claimed: &ClaimedStatus) -> Result<(), Unknown> {
        let destination = match self.app.status_destination(claimed.project).await {
            Ok(destination) => destination,
            Err(NoDestination::Store(error)) => return Err(error.into()),
            Err(never) => return self.refused(claimed, never.to_string()).await,
        };
        let request = match self.write(claimed, &destination).await? {
            Ok(request) => request,
            Err(unwritable) => return self.refused(claimed, unwritable.to_string()).await,
        };
        let now = self.app.clock.now();
        let answer = self.http.post(&request.url, request.headers, request.body, now);
        let silent = NoAnswer::Silent("no answer in time".to_owned());
        let answered = timeout(self.patience.answer, answer).await.unwrap_or(Err(silent));
        crash_point("outbound.status-answered");
        let now = self.app.clock.now();
        match verdict(destination.host, &answered, &destination.token, now) {
            Verdict::Told => {
                self.app.store.status_told(claimed, now + self.patience.once_more, now).await?;
                tracing::debug!(deployment.id = %claimed.deployment, state = %claimed.report.state, "a git host was told");
                Ok(())
            }
            Verdict::Refused(why) => self.refused(claimed, why).await,
            Verdict::Again { why, ambiguous, wait } => self.again(claimed, why, ambiguous, wait, now).await,
        }
    }

    async fn write(
        &self,
        claimed: &ClaimedStatus,
        destination: &StatusDestination,
    ) -> Result<Result<Request, Unwritable>, Error> {
        let page = self.app.status_page(claimed.deployment).await?;
        let ClaimedStatus { commit, context, report, .. } = claimed;
        Ok(request(&Statement { destination, commit, context, report, page: &page }))
    }

    async fn refused(&self, claimed: &ClaimedStatus, why: String) -> Result<(), Unknown> {
        tracing::warn!(deployment.id = %claimed.deployment, why, "a git host takes no commit status");
        let not_told = NotTold { error: why, ambiguous: false, next: Next::GiveUp };
        Ok(self.app.store.status_not_told(claimed, not_told, self.app.clock.now()).await?)
    }

    async fn again(
        &self,
        claimed: &ClaimedStatus,
        why: String,
        ambiguous: bool,
        wait: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Result<(), Unknown> {
        let told = wait.unwrap_or_default().min(self.patience.longest_wait);
        let random: f64 = rand::rng().random();
        let at = now + told.max(self.patience.backoff(claimed.tries, random));
        let next =
            if at > claimed.wanted_at + self.patience.give_up { Next::GiveUp } else { Next::TryAt(at) };
        tracing::debug!(deployment.id = %claimed.deployment, why, "a git host was not told");
        if !told.is_zero() {
            // A limit is a token's, so it is that of everything that is told of the project.
            self.app.store.wait_with_statuses(claimed.project, now + told, now).await?;
        }
        Ok(self.app.store.status_not_told(claimed, NotTold { error: why, ambiguous, next }, now).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_twice_as_late_each_time_up_to_the_longest_and_end_after_hours() {
        let patience = Patience::default();
        let seconds = |tries| patience.backoff(tries, 0.5).as_secs_f64();
        assert_eq!([0, 1, 2, 9, 10, 40].map(seconds), [1.0, 2.0, 4.0, 512.0, 600.0, 600.0]);
        assert!(patience.backoff(3, 0.0) < patience.backoff(3, 1.0), "nothing spreads them");
        let mut waited = Duration::ZERO;
        let tries = (0..).take_while(|tries| {
            waited += patience.backoff(*tries, 0.5);
            waited < patience.give_up
        });
        assert_eq!(tries.count(), 44);
    }
}
