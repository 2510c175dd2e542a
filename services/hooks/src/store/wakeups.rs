//! Who waits for changes of the store, and how they are woken.
//!
//! A wake-up says that it is worth looking again, and nothing else: what happened is read from the store. Whoever
//! waits registers before reading, so that nothing falls between.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use grapnel_domain::id::DeploymentId;
use rand::RngExt as _;
use tokio::sync::{Notify, broadcast, broadcast::error::TryRecvError, watch};

use super::notices::Rings;

/// For how long rings are gathered where nobody waits for the answer: a burst of triggers rings for each of them, and to look
/// a hundred times a second would take from the triggers what they need.
const GATHER: Duration = Duration::from_millis(50);

/// For how long they are gathered where people look on.
const GATHER_FOR_PEOPLE: Duration = Duration::from_millis(200);

/// How many rings are kept for whoever does not listen just now; whoever missed some looks at everything anyway.
const RINGS_KEPT: usize = 256;

/// How many deployments are named at once to whoever watches all.
const NAMED: usize = 1_000;

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
    log: Arc<Notify>,
    /// Each counts how often it has rung.
    deployments: Arc<Mutex<HashMap<DeploymentId, watch::Sender<u64>>>>,
    changes: broadcast::Sender<Arc<[DeploymentId]>>,
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
            log: Arc::default(),
            deployments: Arc::default(),
            changes: broadcast::channel(RINGS_KEPT).0,
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
        if rings.changed {
            // Nobody may be there.
            let _ = self.changes.send(rings.deployments.as_slice().into());
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
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, bell| rings(bell));
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

    /// Says that SQLite's write-ahead log grows.
    pub(super) fn log(&self) {
        self.log.notify_one();
    }

    /// Waits until it grows, and a little longer for what it grows by.
    pub(super) async fn wait_for_log(&self) {
        gathered(&self.log).await;
    }

    /// Says that something happened to a deployment.
    pub fn deployment(&self, id: DeploymentId) {
        let mut deployments = self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = deployments.get(&id)
            && !rings(bell)
        {
            deployments.remove(&id);
        }
    }

    /// Registers for what happens to a deployment: a bell that counts how often it has rung.
    pub fn watch(&self, id: DeploymentId) -> watch::Receiver<u64> {
        let mut deployments = self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        deployments.retain(|_, bell| bell.receiver_count() > 0);
        deployments.entry(id).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Registers for all deployments whose states change.
    pub fn watch_all(&self) -> Changes {
        Changes(self.changes.subscribe())
    }
}

/// Rings, and tells whether there is anybody who hears it.
fn rings(bell: &watch::Sender<u64>) -> bool {
    bell.send_modify(|count| *count += 1);
    bell.receiver_count() > 0
}

/// What is heard of all deployments whose states change.
#[derive(Debug)]
pub struct Changes(broadcast::Receiver<Arc<[DeploymentId]>>);

impl Changes {
    /// Waits until deployments change, at most for `longest`, and a little longer for what changes with them. Returns those
    /// that were named; others may have changed too.
    pub async fn gathered(&mut self, longest: Duration) -> HashSet<DeploymentId> {
        let mut named = HashSet::new();
        let Ok(first) = tokio::time::timeout(longest, self.0.recv()).await else {
            return named;
        };
        tokio::time::sleep(GATHER_FOR_PEOPLE).await;
        let mut next = first.map_err(|_| TryRecvError::Lagged(0));
        loop {
            match next {
                Ok(ids) => {
                    let room = NAMED.saturating_sub(named.len());
                    named.extend(ids.iter().copied().take(room));
                }
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return named,
            }
            next = self.0.try_recv();
        }
    }
}

/// Waits until a bell rings, and a little longer for what rings with it. Whoever gives up waiting in between looks anyway.
async fn gathered(bell: &Notify) {
    bell.notified().await;
    tokio::time::sleep(GATHER).await;
}

#[cfg(test)]
mod tests {
    use grapnel_runtime::Clock;

    use super::*;

    #[test]
    fn whoever_watches_all_hears_of_states_and_not_of_logs() {
        let (bells, clock) = (Wakeups::default(), Clock::system());
        let mut changes = bells.watch_all();
        let id = clock.new_id();
        for rings in [Rings::told(id), Rings::work(), Rings::statuses(), Rings::events()] {
            bells.ring(&rings);
            assert_eq!(changes.0.try_recv().unwrap_err(), TryRecvError::Empty, "{rings:?}");
        }
        bells.ring(&Rings::changed(vec![id]));
        assert_eq!(*changes.0.try_recv().unwrap(), [id]);
        bells.ring_all();
        assert!(changes.0.try_recv().unwrap().is_empty(), "what was missed is looked for");
    }

    #[tokio::test]
    async fn what_rings_together_is_gathered_and_nobody_is_named_without_end() {
        let (bells, clock) = (Wakeups::default(), Clock::system());
        let mut changes = bells.watch_all();
        let ids: Vec<DeploymentId> = (0..2 * NAMED).map(|_| clock.new_id()).collect();
        bells.ring(&Rings::changed(ids[..1].to_vec()));
        bells.ring(&Rings::changed(ids[1..3].to_vec()));
        assert_eq!(changes.gathered(Duration::MAX).await, ids[..3].iter().copied().collect());
        for _ in 0..2 * RINGS_KEPT {
            bells.ring(&Rings::changed(ids.clone()));
        }
        assert_eq!(changes.gathered(Duration::MAX).await.len(), NAMED);
        assert!(changes.gathered(Duration::ZERO).await.is_empty());
    }
}
