//! Who waits for changes of the store, and how they are woken.
//!
//! A wake-up says that it is worth looking again, and nothing else: what happened is read from the store. Whoever
//! waits registers before reading, so that nothing falls between.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use grapnel_domain::id::DeploymentId;
use rand::RngExt as _;
use tokio::sync::{Notify, watch};

use super::notices::Rings;

/// For how long rings are gathered where nobody waits for the answer: a burst of triggers rings for each of them, and to look
/// a hundred times a second would take from the triggers what they need.
const GATHER: Duration = Duration::from_millis(50);

/// The bells of one process.
#[derive(Clone, Debug)]
pub struct Wakeups {
    /// The name under which this process tells others.
    sender: u64,
    /// Whether others are heard.
    pub(super) hears: Arc<AtomicBool>,
    work: Arc<Notify>,
    statuses: Arc<Notify>,
    events: Arc<Notify>,
    retention: Arc<Notify>,
    deployments: Arc<Mutex<HashMap<DeploymentId, watch::Sender<()>>>>,
}

impl Default for Wakeups {
    fn default() -> Self {
        Self {
            sender: rand::rng().random(),
            hears: Arc::default(),
            work: Arc::default(),
            statuses: Arc::default(),
            events: Arc::default(),
            retention: Arc::default(),
            deployments: Arc::default(),
        }
    }
}

impl Wakeups {
    pub(super) fn sender(&self) -> u64 {
        self.sender
    }

    /// Rings for all of this.
    pub(super) fn ring(&self, rings: &Rings) {
        for id in &rings.deployments {
            self.deployment(*id);
        }
        if rings.work {
            self.work();
        }
        if rings.statuses {
            self.statuses();
        }
        if rings.events {
            self.events();
        }
    }

    /// Rings for everything.
    pub(super) fn ring_all(&self) {
        self.deployments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, bell| bell.send(()).is_ok());
        self.ring(&Rings::changed(Vec::new()));
    }

    /// Says that there may be something to dispatch.
    pub fn work(&self) {
        self.work.notify_one();
    }

    /// Waits for work. A bell that rang while nobody waited is heard by the next who does.
    pub async fn wait_for_work(&self) {
        self.work.notified().await;
    }

    /// Says that there may be something to tell a git host.
    pub fn statuses(&self) {
        self.statuses.notify_one();
    }

    /// Waits for something to tell, as [`Wakeups::wait_for_work`] does for work.
    pub async fn wait_for_statuses(&self) {
        gathered(&self.statuses).await;
    }

    /// Says that there may be an event to send.
    pub fn events(&self) {
        self.events.notify_one();
    }

    /// Waits for an event to send, as [`Wakeups::wait_for_work`] waits for work.
    pub async fn wait_for_events(&self) {
        gathered(&self.events).await;
    }

    /// Says that there may be something that nobody needs any more.
    pub fn retention(&self) {
        self.retention.notify_one();
    }

    /// Waits for something to remove, as [`Wakeups::wait_for_work`] waits for work.
    pub async fn wait_for_retention(&self) {
        gathered(&self.retention).await;
    }

    /// Says that something happened to a deployment.
    pub fn deployment(&self, id: DeploymentId) {
        let mut deployments = self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = deployments.get(&id)
            && bell.send(()).is_err()
        {
            deployments.remove(&id);
        }
    }

    /// Registers for what happens to a deployment.
    pub fn watch(&self, id: DeploymentId) -> watch::Receiver<()> {
        let mut deployments = self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        deployments.retain(|_, bell| bell.receiver_count() > 0);
        deployments.entry(id).or_insert_with(|| watch::channel(()).0).subscribe()
    }
}

/// Waits until a bell rings, and a little longer for what rings with it. Whoever gives up waiting in between looks anyway.
async fn gathered(bell: &Notify) {
    bell.notified().await;
    tokio::time::sleep(GATHER).await;
}
