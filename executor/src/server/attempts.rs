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
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::occupancy::{NoSlot, Occupancy, Slot};
use crate::pipeline::{Pipeline, mask::Mask, recorder::Recorder};

/// How long an attempt that has ended can be asked for again.
const KEPT: Duration = Duration::from_secs(600);

/// How long a drained executor stays for those who have not heard yet how a build ended.
const TOLD: Duration = Duration::from_secs(60);

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
    /// Whether somebody has been told of its end.
    told: watch::Sender<bool>,
}

impl Attempt {
    fn new(cancel: CancellationToken) -> Self {
        Self {
            events: Mutex::default(),
            count: watch::channel(0).0,
            cancel,
            ended: Mutex::default(),
            told: watch::channel(false).0,
        }
    }

    /// Notes that somebody has been told of its end.
    pub fn is_told(&self) {
        self.told.send_replace(true);
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
    /// Nothing new is taken.
    Draining,
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
    occupancy: Occupancy,
    attempts: Arc<Mutex<HashMap<AttemptId, Arc<Attempt>>>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Attempts {
    /// Starts without any. When `stopping` is cancelled, so are all that run.
    pub fn new(pipeline: Pipeline, clock: Clock, slots: usize, stopping: CancellationToken) -> Self {
        let occupancy = Occupancy::new(slots);
        Self { pipeline, clock, occupancy, attempts: Arc::default(), tasks: TaskTracker::new(), stopping }
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
        let slot = self.occupancy.take().map_err(|none| match none {
            NoSlot::Full => NoAttempt::Full,
            NoSlot::Draining => NoAttempt::Draining,
        })?;
        let attempt = Arc::new(Attempt::new(self.stopping.child_token()));
        attempts.insert(spec.id, attempt.clone());
        self.tasks.spawn(run(self.pipeline.clone(), self.clock.clone(), spec, attempt.clone(), slot));
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

    /// Returns the slots.
    pub fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    /// Waits until nothing new is taken, nothing runs, and somebody has been told how each ended; who does not ask for that
    /// is not waited for longer than [`TOLD`].
    pub async fn finished(&self) {
        self.occupancy.drained().await;
        let attempts: Vec<_> = lock(&self.attempts).values().cloned().collect();
        let told = async {
            for attempt in attempts {
                let _ = attempt.told.subscribe().wait_for(|told| *told).await;
            }
        };
        if timeout(TOLD, told).await.is_err() {
            tracing::warn!("nobody has asked how some builds ended");
        }
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
async fn run(pipeline: Pipeline, clock: Clock, spec: BuildSpec, attempt: Arc<Attempt>, slot: Slot) {
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
    // Whoever hears of the end finds the slot free.
    drop(slot);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
