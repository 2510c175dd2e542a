//! One attempt, as others see it: what has happened in it, and how to end it.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    build::AttemptId,
    event::{BuildEvent, Outcome, Step},
    failure::{Failure, FailureCode},
};
use tokio::{
    sync::watch,
    task::{JoinError, spawn_blocking},
};

use super::{
    journal::{self, Journal},
    occupancy::Slot,
};
use crate::pipeline::{
    Left, Wishes,
    recorder::{Record, What},
};

/// How many events are read from a journal at once.
const BATCH: usize = 256;

/// An attempt that is known: it runs, or its end is remembered. What happened in it stands in its journal.
#[derive(Debug)]
pub struct Attempt {
    /// Which one.
    pub id: AttemptId,
    journal: PathBuf,
    told: Mutex<Told>,
    /// How many events there are; whoever streams them waits here.
    count: watch::Sender<u64>,
    /// Ends it in this process.
    pub wishes: Wishes,
    /// What there is to go on with, where another process has begun it, until somebody says with what.
    dormant: Mutex<Option<Box<Dormant>>>,
    /// The slot that it fills until it ends.
    slot: Mutex<Option<Slot>>,
    /// Whether somebody has been told of its end.
    heard: watch::Sender<bool>,
}

/// A build that runs in its sandbox, and that nobody follows.
#[derive(Debug)]
pub struct Dormant {
    /// What is left of it.
    pub left: Left,
    /// The step that it is in.
    pub step: Step,
    /// Where it is written down.
    pub keeper: Keeper,
}

/// What an attempt has told.
#[derive(Debug, Default)]
struct Told {
    /// Where its events begin in the journal.
    places: Vec<u64>,
    /// The last event, where the journal could not take it.
    unwritten: Option<BuildEvent>,
    ended: Option<DateTime<Utc>>,
}

impl Attempt {
    /// Takes an attempt that runs, with the events that its journal has already.
    pub fn new(id: AttemptId, journal: PathBuf, places: Vec<u64>, wishes: Wishes) -> Self {
        let count = watch::channel(places.len() as u64).0;
        let told = Mutex::new(Told { places, ..Told::default() });
        let (dormant, slot, heard) = (Mutex::default(), Mutex::default(), watch::channel(false).0);
        Self { id, journal, told, count, wishes, dormant, slot, heard }
    }

    /// Returns events after `sequence`, with their numbers; none where there are none yet.
    ///
    /// # Errors
    /// The journal cannot be read: it was removed, since the attempt ended long ago.
    pub async fn events_after(&self, sequence: u64) -> io::Result<Vec<(u64, BuildEvent)>> {
        let (from, count) = {
            let told = self.told();
            let after = usize::try_from(sequence).unwrap_or(usize::MAX);
            let written = told.places.get(after..).unwrap_or_default();
            let Some(from) = written.first().copied() else {
                let last = told.unwritten.clone().filter(|_| after == told.places.len());
                return Ok(last.map(|event| (sequence + 1, event)).into_iter().collect());
            };
            (from, written.len().min(BATCH))
        };
        let path = self.journal.clone();
        let events = blocking(move || journal::events(&path, from, count)).await?;
        Ok((sequence + 1..).zip(events).collect())
    }

    /// Returns what says how many events there are. Take it before reading them, so that none is missed.
    pub fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Returns when it ended; none where it runs.
    pub fn ended(&self) -> Option<DateTime<Utc>> {
        self.told().ended
    }

    /// Waits until it has ended.
    pub async fn over(&self) {
        let mut count = self.count();
        while self.ended().is_none() && count.changed().await.is_ok() {}
    }

    /// Tells whether whoever has seen `sequence` events has seen others than these: there are not as many, or none is to
    /// come any more. A machine that went down has lost them.
    pub fn has_lost(&self, sequence: u64) -> bool {
        let count = *self.count.borrow();
        sequence > count || (sequence == count && self.ended().is_some())
    }

    /// Gives it the slot that it fills until it ends.
    pub fn fill(&self, slot: Slot) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
    }

    /// Notes that somebody has been told of its end.
    pub fn is_heard(&self) {
        self.heard.send_replace(true);
    }

    /// Waits until somebody has been told of its end.
    pub async fn heard(&self) {
        // It cannot fail: this holds the sender.
        let _ = self.heard.subscribe().wait_for(|heard| *heard).await;
    }

    /// Lets it lie until somebody takes it up.
    pub fn lay_down(&self, dormant: Dormant) {
        *self.dormant() = Some(Box::new(dormant));
    }

    /// Takes it up, where nobody has yet.
    pub fn take_up(&self) -> Option<Dormant> {
        self.dormant().take().map(|dormant| *dormant)
    }

    /// Tells whether it lies there.
    pub fn is_dormant(&self) -> bool {
        self.dormant().is_some()
    }

    fn dormant(&self) -> MutexGuard<'_, Option<Box<Dormant>>> {
        self.dormant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that it ended, and was heard of, in an earlier process; what it told stands in its journal already.
    pub fn mark_ended(&self, at: DateTime<Utc>) {
        self.is_heard();
        self.told().ended = Some(at);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, place: u64) {
        let mut told = self.told();
        told.places.push(place);
        self.count.send_replace(told.places.len() as u64);
    }

    fn end(&self, place: Result<u64, BuildEvent>, at: DateTime<Utc>) {
        // Whoever hears of the end finds the slot free.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut told = self.told();
        let count = told.places.len() as u64 + 1;
        match place {
            Ok(place) => told.places.push(place),
            Err(event) => told.unwritten = Some(event),
        }
        told.ended = Some(at);
        self.count.send_replace(count);
    }
}

/// Writes down what happens in an attempt, and then tells it.
#[derive(Debug)]
pub struct Keeper {
    attempt: Arc<Attempt>,
    /// None where it could not even be begun.
    journal: Option<Journal>,
    /// Why the journal is not complete.
    failure: Option<Failure>,
}

impl Keeper {
    /// Takes an attempt and its journal.
    pub fn new(attempt: Arc<Attempt>, journal: io::Result<Journal>) -> Self {
        let (journal, failure) = match journal {
            Ok(journal) => (Some(journal), None),
            Err(error) => (None, Some(not_written(&error))),
        };
        Self { attempt, journal, failure }
    }

    /// Returns why the attempt cannot go on, where it cannot.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Writes a record down, tells it if it is an event, and says whether that went well. Where it did not the attempt is
    /// ended: what comes after a gap is not told.
    pub async fn keep(&mut self, record: Record) -> bool {
        if self.failure.is_some() {
            return false;
        }
        if let What::Awaited(written) = record.what {
            // Who waited may have been ended meanwhile.
            let _ = written.send(());
            return true;
        }
        let Some(journal) = self.journal.take() else { return false };
        let written = blocking(move || {
            let mut journal = journal;
            let place = journal.append(&record);
            Ok((journal, place))
        });
        let place = match written.await {
            Ok((journal, place)) => {
                self.journal = Some(journal);
                place
            }
            Err(error) => Err(error),
        };
        match place {
            Ok(Some(place)) => self.attempt.add(place),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(attempt = %self.attempt.id, %error, "a journal cannot be written: the attempt is ended");
                self.failure = Some(not_written(&error));
                self.attempt.wishes.cancel.cancel();
            }
        }
        self.failure.is_none()
    }

    /// Brings the journal to the disk, for the next process.
    pub async fn hand_over(self) {
        let Some(journal) = self.journal else { return };
        if let Err(error) = blocking(move || journal.sync()).await {
            tracing::warn!(attempt = %self.attempt.id, %error, "a journal cannot be brought to the disk");
        }
    }

    /// Brings the journal to the disk with how the attempt ended, and then tells that. A journal that fails keeps nobody
    /// from being told: whoever asks a later process hears that the attempt was lost, which is tried again.
    pub async fn finish(self, at: DateTime<Utc>, outcome: Outcome) {
        let Self { attempt, journal, failure } = self;
        // What is published is published.
        let outcome = match failure {
            Some(failure) if !matches!(outcome, Outcome::Ready { .. }) => Outcome::Failed { failure },
            _ => outcome,
        };
        let event = BuildEvent::Finished { at, outcome };
        let last = event.clone();
        let written = blocking(move || match journal {
            Some(mut journal) => journal.finish(&last),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        let place = written.await.map_err(|error| {
            tracing::error!(attempt = %attempt.id, %error, "the end of an attempt cannot be written down");
            event
        });
        attempt.end(place, at);
    }
}

fn not_written(error: &io::Error) -> Failure {
    let message = format!("the executor's disk is full or fails: the journal cannot be written ({error})");
    Failure::new(FailureCode::ExecutorDiskFull, message)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error: JoinError| Err(io::Error::other(error)))
}
