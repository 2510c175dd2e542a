//! The histories of deployments that are watched: the newest events are read once for all who wait for them.
//!
//! Whoever is behind reads by itself, so that nobody has to keep up with anybody. What is kept here is what was read, never
//! more than was stored, and it is bounded.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use grapnel_domain::{
    event::{BuildEvent, DeploymentEvent},
    id::DeploymentId,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::Instant,
};

use super::{Store, StoreError};
use crate::model::StoredEvent;

/// How long whoever watches relies on being rung.
pub const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How many events are read at once. Together with the size of a batch of log lines it bounds what a watcher holds.
const READ_AT_ONCE: u64 = 100;

/// How much of a log is kept of each deployment for those who come a little later, and how much a line counts beside its
/// text, and an event beside its lines.
const KEPT_BYTES: usize = 4 << 20;
const LINE: usize = 64;
const EVENT: usize = 256;

/// The histories that somebody watches. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Histories(Arc<Mutex<HashMap<DeploymentId, Weak<History>>>>);

/// A part of a history.
#[derive(Debug)]
pub struct Page {
    /// What has happened, in order; not all of it where it is much.
    pub events: Vec<Arc<StoredEvent>>,
    /// How far the history went before that was read.
    pub last: u64,
    /// Whether the deployment had ended by then: nothing more comes after a page without events.
    pub ended: bool,
}

/// What happens to one deployment, for as long as somebody watches it.
#[derive(Debug)]
pub struct History {
    store: Store,
    id: DeploymentId,
    bell: watch::Receiver<u64>,
    /// Held while the newest events are read, and never while somebody is told: who is slow keeps nobody waiting.
    newest: AsyncMutex<Newest>,
}

/// The newest events that were read: all after a position.
#[derive(Debug, Default)]
struct Newest {
    after: u64,
    /// The position of the last of them.
    to: u64,
    events: VecDeque<Arc<StoredEvent>>,
    bytes: usize,
    /// When it was looked last, and what was found.
    looked: Option<Looked>,
}

#[derive(Clone, Copy, Debug)]
struct Looked {
    at: Instant,
    /// How often the bell had rung.
    rung: u64,
    last: u64,
    ended: bool,
    /// Whether all was read that there was.
    whole: bool,
}

impl Store {
    /// Returns the history of a deployment, the same one to all who watch it together.
    pub fn history(&self, id: DeploymentId) -> Arc<History> {
        let mut histories = self.histories.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(history) = histories.get(&id).and_then(Weak::upgrade) {
            return history;
        }
        histories.retain(|_, history| history.strong_count() > 0);
        let bell = self.wakeups.watch(id);
        let history = Arc::new(History { store: self.clone(), id, bell, newest: AsyncMutex::default() });
        histories.insert(id, Arc::downgrade(&history));
        history
    }
}

impl History {
    /// Returns a bell that rings when something happens.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.clone()
    }

    /// Returns what has happened after a position, with or without what was printed, as it is stored.
    ///
    /// # Errors
    /// The database fails.
    pub async fn page(&self, after: u64, log: bool) -> Result<Page, StoreError> {
        // Asked before reading: what has ended then has nothing more to come after what is read.
        let (last, ended) = self.store.end_of_history(self.id).await?;
        let events = self.store.events_after(self.id, after, log, READ_AT_ONCE).await?;
        Ok(Page { events: events.into_iter().map(Arc::new).collect(), last, ended })
    }

    /// Returns the same with what was printed, to somebody who has heard the bell ring so often. One reads for all who have
    /// come equally far.
    ///
    /// # Errors
    /// The database fails.
    pub async fn after(&self, after: u64, rung: u64) -> Result<Page, StoreError> {
        let mut newest = self.newest.lock().await;
        if newest.looked.is_none() {
            (newest.after, newest.to) = (after, after);
        }
        if after < newest.after || after > newest.to {
            drop(newest);
            return self.page(after, true).await;
        }
        let known = newest.looked.filter(|looked| {
            after < newest.to || (looked.whole && looked.rung >= rung && looked.at.elapsed() < LOOK_AGAIN)
        });
        if let Some(Looked { last, ended, .. }) = known {
            return Ok(Page { events: newest.later_than(after), last, ended });
        }
        let (at, rung) = (Instant::now(), *self.bell.borrow());
        let nobody_rang = newest.looked.is_some_and(|looked| looked.whole && looked.rung == rung);
        let page = self.page(after, true).await?;
        if after > page.last {
            // Who has seen more than there is says nothing about where the others are.
            return Ok(page);
        }
        let whole = (page.events.len() as u64) < READ_AT_ONCE;
        newest.looked = Some(Looked { at, rung, last: page.last, ended: page.ended, whole });
        newest.add(&page.events);
        drop(newest);
        if nobody_rang && !page.events.is_empty() {
            // Those who wait do not know of it either.
            self.store.wakeups.deployment(self.id);
        }
        Ok(page)
    }
}

impl Newest {
    fn later_than(&self, after: u64) -> Vec<Arc<StoredEvent>> {
        let first = self.events.partition_point(|event| event.position <= after);
        let most = usize::try_from(READ_AT_ONCE).unwrap_or(usize::MAX);
        self.events.range(first..).take(most).cloned().collect()
    }

    /// Adds events that follow those that are there, and drops the oldest where that is too much.
    fn add(&mut self, events: &[Arc<StoredEvent>]) {
        for event in events {
            self.to = event.position;
            self.bytes += weight(event);
            self.events.push_back(event.clone());
        }
        while self.bytes > KEPT_BYTES
            && let Some(oldest) = self.events.pop_front()
        {
            self.after = oldest.position;
            self.bytes -= weight(&oldest);
        }
    }
}

fn weight(event: &StoredEvent) -> usize {
    let lines = match &event.event {
        DeploymentEvent::Build { event: BuildEvent::Log { lines, .. }, .. } => lines.as_slice(),
        DeploymentEvent::Build { .. } | DeploymentEvent::State(_) | DeploymentEvent::LogRemoved => &[],
    };
    EVENT + lines.iter().map(|line| line.text.len() + LINE).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use grapnel_domain::{
        deployment::State,
        event::{LogLine, StateChange, Step, Stream},
    };
    use grapnel_runtime::Clock;

    use super::*;

    fn event(position: u64, text: usize) -> Arc<StoredEvent> {
        let (at, event) = (
            Clock::system().now(),
            BuildEvent::Log {
                step: Step::Build,
                lines: vec![LogLine {
                    stream: Stream::Stdout,
                    at: Clock::system().now(),
                    text: "x".repeat(text),
                }],
            },
        );
        Arc::new(StoredEvent { position, at, event: DeploymentEvent::Build { attempt: 1, event } })
    }

    fn positions(events: &[Arc<StoredEvent>]) -> Vec<u64> {
        events.iter().map(|event| event.position).collect()
    }

    #[test]
    fn the_newest_events_are_kept_and_never_too_many() {
        let mut newest = Newest { after: 7, to: 7, ..Newest::default() };
        newest.add(&[event(8, 10), event(9, 10), event(11, 10)]);
        assert_eq!((newest.after, newest.to), (7, 11));
        assert_eq!(positions(&newest.later_than(7)), [8, 9, 11]);
        assert_eq!(positions(&newest.later_than(9)), [11], "what retention has left has gaps");
        assert!(newest.later_than(11).is_empty());
        let large: Vec<_> = (12..=100).map(|position| event(position, 100_000)).collect();
        newest.add(&large);
        assert!(newest.bytes <= KEPT_BYTES && newest.bytes > KEPT_BYTES / 2, "{}", newest.bytes);
        assert_eq!(newest.to, 100);
        let kept = positions(&newest.later_than(newest.after));
        assert_eq!(kept, (newest.after + 1..=100).collect::<Vec<_>>(), "without a gap");
    }

    #[test]
    fn a_change_of_state_weighs_something_too() {
        let change = StateChange { state: State::Queued, failure: None, canceled: None };
        let stored =
            StoredEvent { position: 1, at: Clock::system().now(), event: DeploymentEvent::State(change) };
        assert_eq!(weight(&stored), EVENT);
    }
}
