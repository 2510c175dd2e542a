//! What is kept for how long, and that nothing else is left: the one task in the background that removes what is old.
//!
//! By timer and by bell it removes old rows ([`pruner`]), and then asks executors for artifacts that no deployment has
//! ([`reconcile`]). Any number of hooks processes may do it: everything it does can be done twice.

mod pruner;
mod reconcile;

use std::time::Duration;

use grapnel_runtime::{CancellationToken, Clock};
pub use pruner::{Pruned, Pruner, Retention};
use rand::RngExt as _;
pub use reconcile::{Reconciled, Reconciler};
use tokio::time::timeout;

use crate::{dispatch::Fleet, store::Store};

/// When is looked, and how fast things are removed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How soon after the start.
    pub first: Duration,
    /// How often after that.
    pub every: Duration,
    /// How long others have the database for themselves between two transactions.
    pub pause: Duration,
    /// How long an artifact that nobody claims is left, since it was published and since that was found: it may be about
    /// to be claimed, or the database may be the wrong one.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(60),
            every: Duration::from_secs(10 * 60),
            pause: Duration::from_millis(50),
            grace: Duration::from_secs(60 * 60),
        }
    }
}

/// The task.
pub struct Upkeep {
    pruner: Pruner,
    reconciler: Reconciler,
    store: Store,
    pace: Pace,
    stopping: CancellationToken,
}

impl Upkeep {
    /// Takes what is to be looked after.
    pub fn new(
        store: Store,
        clock: Clock,
        fleet: Fleet,
        retention: Retention,
        pace: Pace,
        stopping: CancellationToken,
    ) -> Self {
        let pruner = Pruner::new(store.clone(), clock.clone(), retention, pace.pause, stopping.clone());
        let reconciler = Reconciler::new(store.clone(), clock, fleet, pace.grace);
        Self { pruner, reconciler, store, pace, stopping }
    }

    /// Looks until it is stopped. A transaction that has begun then is given up, and done again by whoever looks next.
    pub async fn run(mut self) {
        let mut wait = self.pace.first;
        loop {
            // Not all processes at once.
            let wait_for = wait.mul_f64(rand::rng().random_range(0.8..1.2));
            let bell = timeout(wait_for, self.store.wakeups.wait_for_retention());
            if self.stopping.run_until_cancelled(bell).await.is_none() {
                return;
            }
            let pass = async {
                if let Err(error) = self.pruner.pass().await {
                    tracing::warn!(%error, "what is old cannot be removed now; it is tried again");
                }
                if let Err(error) = self.reconciler.pass().await {
                    tracing::warn!(%error, "artifacts cannot be looked after now; it is tried again");
                }
            };
            if self.stopping.run_until_cancelled(pass).await.is_none() {
                return;
            }
            wait = self.pace.every;
        }
    }
}
