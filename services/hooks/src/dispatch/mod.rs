//! From stored deployments to executors, and from their events back to the store.
//!
//! One loop looks for work whenever the store says that there may be some, and every few seconds regardless. Each
//! deployment it claims is worked on by a task of its own, which holds the lease. A process that dies leaves its leases
//! to run out, and any other takes over.

mod artifacts;
mod build;
mod executor;
mod fleet;
mod resolve;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use executor::Slot;
pub use executor::{Executor, Resolved};
pub use fleet::{Connect, ExecutorAddress, Fleet};
use grapnel_domain::id::DeploymentId;
use grapnel_runtime::{CancellationToken, Clock, TaskTracker};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    inputs::Inputs,
    store::{Claim, Claimed, Store, StoreError},
};

/// How many versions are resolved at once. Resolving takes no slot of an executor.
const RESOLVING: usize = 8;

/// How long after it was begun to look for work the next look begins at the earliest: the first ring is answered at once, and a
/// burst of triggers, which rings for each of its transactions, does not keep the looking from ending.
const BREATH: Duration = Duration::from_millis(20);

/// How long tasks may take to give their leases back when the process stops.
const STOP: Duration = Duration::from_secs(5);

/// How long a dispatcher waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a lease lasts.
    pub lease: Duration,
    /// How often it is renewed; several times within a lease.
    pub renew: Duration,
    /// How often to look for work without having been told of any.
    pub look: Duration,
    /// How long an executor's stream may be silent. Executors send a heartbeat at least every 5 s.
    pub silence: Duration,
    /// How long an executor that does not answer is looked for before its attempt counts as lost.
    pub lost: Duration,
    /// How long to leave a deployment for which no executor had time, or answered.
    pub again: Duration,
    /// How long to wait before a version is resolved for the second and the third time.
    pub resolve_again: [Duration; 2],
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            renew: Duration::from_secs(8),
            look: Duration::from_secs(2),
            silence: Duration::from_secs(15),
            lost: Duration::from_secs(60),
            again: Duration::from_millis(500),
            resolve_again: [Duration::from_secs(2), Duration::from_secs(10)],
        }
    }
}

/// The dispatcher of one process. Clones share everything.
#[derive(Clone)]
pub struct Dispatcher {
    store: Store,
    inputs: Inputs,
    clock: Clock,
    /// The name under which this process holds leases.
    owner: Arc<str>,
    fleet: Fleet,
    patience: Patience,
    resolving: Arc<Semaphore>,
    /// The builds that this process follows, and what ends them.
    building: Arc<Mutex<HashMap<DeploymentId, CancellationToken>>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Dispatcher {
    /// Prepares a dispatcher. `owner` is unique among all processes and all starts.
    pub fn new(
        store: Store,
        inputs: Inputs,
        clock: Clock,
        owner: String,
        fleet: Fleet,
        patience: Patience,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            store,
            inputs,
            clock,
            owner: owner.into(),
            fleet,
            patience,
            resolving: Arc::new(Semaphore::new(RESOLVING)),
            building: Arc::default(),
            tasks: TaskTracker::new(),
            stopping,
        }
    }

    /// Dispatches until it is stopped; leases are given back then.
    pub async fn run(self) {
        while !self.stopping.is_cancelled() {
            let breath = tokio::time::sleep(BREATH);
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "work cannot be looked for; it is tried again");
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                _ = timeout(self.patience.look, self.store.wakeups.wait_for_work()) => breath.await,
            }
        }
        self.tasks.close();
        if timeout(STOP, self.tasks.wait()).await.is_err() {
            tracing::warn!("some leases could not be given back; they run out by themselves");
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        self.end_what_was_asked_to().await?;
        self.end_what_was_given_up().await?;
        self.resolve_pending().await?;
        self.attach_to_orphaned().await?;
        self.build_queued().await
    }

    async fn end_what_was_asked_to(&self) -> Result<(), StoreError> {
        for id in self.store.asked_to_end(&self.owner).await? {
            let building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(end) = building.get(&id) {
                end.cancel();
            }
        }
        Ok(())
    }

    /// Ends what runs on executors that answer again, and was given up while they did not: it was tried elsewhere, or ended.
    async fn end_what_was_given_up(&self) -> Result<(), StoreError> {
        for executor in self.fleet.present() {
            let found = executor.take_found();
            let given_up = self.store.given_up(&found, &executor.info().name).await;
            for id in given_up.inspect_err(|_| executor.put_found(found))? {
                tracing::info!(attempt = %id, executor = executor.info().name, "an attempt that was given up is ended");
                let executor = executor.clone();
                self.tasks.spawn(async move {
                    if let Err(error) = executor.cancel(id).await {
                        tracing::warn!(attempt = %id, %error, "an attempt that was given up cannot be ended");
                    }
                });
            }
        }
        Ok(())
    }

    async fn resolve_pending(&self) -> Result<(), StoreError> {
        let free = self.resolving.available_permits() as u64;
        // Nothing is claimed that nobody could be asked about.
        if free == 0 || self.fleet.present().is_empty() {
            return Ok(());
        }
        for claimed in self.claim(Claim::Pending, free).await? {
            let Ok(permit) = self.resolving.clone().try_acquire_owned() else {
                break;
            };
            let this = self.clone();
            self.tasks.spawn(async move {
                this.resolve(claimed).await;
                drop(permit);
                this.store.wakeups.work();
            });
        }
        Ok(())
    }

    async fn attach_to_orphaned(&self) -> Result<(), StoreError> {
        for claimed in self.claim(Claim::Orphaned, RESOLVING as u64).await? {
            // A process that slept past its lease finds its own build, which it follows still.
            let own = self.building.lock().unwrap_or_else(PoisonError::into_inner);
            if own.contains_key(&claimed.deployment.id) {
                continue;
            }
            drop(own);
            tracing::info!(deployment.id = %claimed.deployment.id, "a build that nobody follows is taken over");
            self.spawn_build(claimed, None);
        }
        Ok(())
    }

    async fn build_queued(&self) -> Result<(), StoreError> {
        let mut room = self.fleet.room();
        let slots = room.slots();
        if slots == 0 {
            return Ok(());
        }
        for claimed in self.claim(Claim::Queued, slots as u64).await? {
            let place = room.take(&claimed.affinity);
            self.spawn_build(claimed, place);
        }
        Ok(())
    }

    /// Has a task follow a build: in a slot that was taken for it, or where it runs already.
    fn spawn_build(&self, claimed: Claimed, place: Option<(Executor, Slot)>) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let id = claimed.deployment.id;
            let end = CancellationToken::new();
            this.building.lock().unwrap_or_else(PoisonError::into_inner).insert(id, end.clone());
            let (executor, slot) = place.unzip();
            this.build(claimed, executor, end).await;
            this.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            drop(slot);
            this.store.wakeups.work();
        });
    }

    async fn claim(&self, which: Claim, limit: u64) -> Result<Vec<Claimed>, StoreError> {
        self.store.claim(which, &self.owner, self.patience.lease, limit, self.clock.now()).await
    }

    /// Gives a lease back; what cannot be told runs out by itself.
    async fn release(&self, id: DeploymentId, after: Duration) {
        let not_before = self.clock.now() + after;
        if let Err(error) = self.store.release_lease(id, &self.owner, not_before).await {
            tracing::warn!(deployment.id = %id, %error, "a lease cannot be given back");
        }
    }

    /// Keeps a lease for as long as it is polled, and returns when it is lost. Who has lost it must stop.
    async fn keep_lease(&self, id: DeploymentId) {
        let Patience { lease, renew, .. } = self.patience;
        let mut held_until = tokio::time::Instant::now() + lease;
        loop {
            tokio::time::sleep(renew).await;
            match self.store.renew_lease(id, &self.owner, lease).await {
                Ok(true) => held_until = tokio::time::Instant::now() + lease,
                Ok(false) => return,
                Err(error) => tracing::warn!(deployment.id = %id, %error, "a lease cannot be renewed"),
            }
            if tokio::time::Instant::now() + renew >= held_until {
                return;
            }
        }
    }
}
