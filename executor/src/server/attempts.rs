//! The attempts of an executor: those that run, and for a while those that ran.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use grapnel_domain::{
    build::{AttemptId, BuildSpec},
    event::{BuildEvent, Outcome},
};
use grapnel_runtime::Clock;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::pipeline::{Pipeline, mask::Mask, recorder::Recorder};

/// How long an attempt that has ended can be asked for again.
const KEPT: Duration = Duration::from_secs(600);

/// How many events may wait between a build and its history.
const WAITING: usize = 64;

/// One attempt, with everything that has happened in it.
#[derive(Debug)]
pub struct Attempt {
    events: Mutex<Vec<BuildEvent>>,
    /// How many events there are; whoever streams them waits here.
    count: watch::Sender<usize>,
    cancel: CancellationToken,
    ended: Mutex<Option<Instant>>,
}

impl Attempt {
    fn new(cancel: CancellationToken) -> Self {
        Self { events: Mutex::default(), count: watch::channel(0).0, cancel, ended: Mutex::default() }
    }

    /// Returns the events after `sequence`, with their numbers.
    pub fn events_after(&self, sequence: u64) -> Vec<(u64, BuildEvent)> {
        let events = lock(&self.events);
        (1..).zip(events.iter().cloned()).skip(usize::try_from(sequence).unwrap_or(usize::MAX)).collect()
    }

    /// Returns what says how many events there are. Take it before reading them, so that none is missed.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    fn add(&self, event: BuildEvent) {
        let mut events = lock(&self.events);
        events.push(event);
        self.count.send_replace(events.len());
    }

    fn has_ended(&self) -> bool {
        lock(&self.ended).is_some()
    }
}

/// Why an attempt is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAttempt {
    /// All slots are taken.
    Full,
    /// It was asked to go on, and is not known.
    Unknown,
    /// The executor is stopping.
    Stopping,
}

/// All attempts of an executor, within its slots.
#[derive(Clone)]
pub struct Attempts {
    pipeline: Pipeline,
    clock: Clock,
    slots: usize,
    attempts: Arc<Mutex<HashMap<AttemptId, Arc<Attempt>>>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Attempts {
    /// Starts without any. When `stopping` is cancelled, so are all that run.
    pub fn new(pipeline: Pipeline, clock: Clock, slots: usize, stopping: CancellationToken) -> Self {
        Self { pipeline, clock, slots, attempts: Arc::default(), tasks: TaskTracker::new(), stopping }
    }

    /// Returns an attempt that is known, or starts it.
    ///
    /// # Errors
    /// See [`NoAttempt`].
    pub fn attach_or_start(&self, spec: BuildSpec, after_sequence: u64) -> Result<Arc<Attempt>, NoAttempt> {
        let mut attempts = lock(&self.attempts);
        attempts.retain(|_, attempt| lock(&attempt.ended).is_none_or(|ended| ended.elapsed() < KEPT));
        if let Some(attempt) = attempts.get(&spec.id) {
            return Ok(attempt.clone());
        }
        if after_sequence > 0 {
            return Err(NoAttempt::Unknown);
        }
        if self.stopping.is_cancelled() {
            return Err(NoAttempt::Stopping);
        }
        if running(&attempts) >= self.slots {
            return Err(NoAttempt::Full);
        }
        let attempt = Arc::new(Attempt::new(self.stopping.child_token()));
        attempts.insert(spec.id, attempt.clone());
        self.tasks.spawn(run(self.pipeline.clone(), self.clock.clone(), spec, attempt.clone()));
        Ok(attempt)
    }

    /// Ends an attempt and returns when its sandbox is gone. One that is not known, or has ended, is left alone.
    pub async fn cancel(&self, id: AttemptId) {
        let attempt = lock(&self.attempts).get(&id).cloned();
        if let Some(attempt) = attempt {
            attempt.cancel.cancel();
            let mut count = attempt.count();
            while !attempt.has_ended() && count.changed().await.is_ok() {}
        }
    }

    /// Returns how many slots there are and how many are taken.
    pub fn slots(&self) -> (usize, usize) {
        (self.slots, running(&lock(&self.attempts)))
    }

    /// Returns the attempts that have not ended, those that have only just begun among them.
    pub fn running(&self) -> HashSet<AttemptId> {
        let attempts = lock(&self.attempts);
        attempts.iter().filter(|(_, attempt)| !attempt.has_ended()).map(|(id, _)| *id).collect()
    }

    /// Waits until nothing runs any more. Call it when stopping.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Runs an attempt and keeps what it tells.
async fn run(pipeline: Pipeline, clock: Clock, spec: BuildSpec, attempt: Arc<Attempt>) {
    let (tell, mut told) = mpsc::channel(WAITING);
    let (recorder, collecting) =
        Recorder::start(clock.clone(), Mask::of(&spec.variables), pipeline.ceilings.log_bytes, tell);
    let keeping = async {
        while let Some(event) = told.recv().await {
            attempt.add(event);
        }
    };
    let building = async {
        let outcome = pipeline.run(&spec, &recorder, &attempt.cancel).await;
        drop(recorder);
        outcome
    };
    tracing::info!(attempt = %spec.id, commit = spec.commit, "the build begins");
    let (outcome, ()) = tokio::join!(building, keeping);
    let _ = collecting.await;
    log_outcome(&spec, &outcome);
    *lock(&attempt.ended) = Some(Instant::now());
    attempt.add(BuildEvent::Finished { at: clock.now(), outcome });
}

fn log_outcome(spec: &BuildSpec, outcome: &Outcome) {
    match outcome {
        Outcome::Ready { files, bytes } => {
            tracing::info!(attempt = %spec.id, files, bytes, "the build is ready");
        }
        Outcome::Failed { failure } => {
            tracing::info!(attempt = %spec.id, code = %failure.code, message = failure.message, "the build failed");
        }
        Outcome::Skipped { reason } => {
            tracing::info!(attempt = %spec.id, reason = reason.as_str(), "there is nothing to build");
        }
        Outcome::Canceled => tracing::info!(attempt = %spec.id, "the build was canceled"),
    }
}

fn running(attempts: &HashMap<AttemptId, Arc<Attempt>>) -> usize {
    attempts.values().filter(|attempt| !attempt.has_ended()).count()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
