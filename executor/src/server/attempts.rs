//! The attempts of an executor: those that run, and for a while those that ran.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use grapnel_domain::{
    build::{AttemptId, BuildSpec},
    event::{Outcome, Step},
    failure::{Failure, FailureCode},
};
use grapnel_runtime::Clock;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    attempt::{Attempt, Dormant, Keeper},
    journal::{Found, Journals},
    occupancy::{NoSlot, Occupancy},
    recover,
};
use crate::{
    engine::Inventory,
    pipeline::{Left, Pipeline, Told, Wishes, mask::Mask, recorder::Recorder, stage},
};

/// What the log says where an executor has gone on with a build.
const GOES_ON: &str = "the executor was started again; the build goes on";

/// How long an attempt that has ended can be asked for again, and how many bytes the journals of such attempts may take.
const KEPT: Duration = Duration::from_secs(600);
const KEPT_BYTES: u64 = 512 << 20;

/// How often the journals of attempts that ended long ago are removed.
const TIDY: Duration = Duration::from_secs(60);

/// How long a drained executor stays for those who have not heard yet how a build ended.
const HEARD: Duration = Duration::from_secs(60);

/// How many events may wait between a build and its journal.
const WAITING: usize = 64;

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

/// How attempts are asked to end when the process does.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    /// No further ones begin.
    pub taking: CancellationToken,
    /// Those that run end now, and nothing of them is left.
    pub running: CancellationToken,
    /// Those that run are handed over to the next process.
    pub here: CancellationToken,
}

impl Stopping {
    fn wishes(&self) -> Wishes {
        Wishes { cancel: self.running.child_token(), hand_over: self.here.child_token() }
    }
}

/// What an executor has room for.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// How many builds run at once.
    pub slots: usize,
    /// How long one that is found running waits to be asked for.
    pub adopt_within: Duration,
}

/// All attempts of an executor, within its slots.
#[derive(Clone)]
pub struct Attempts {
    pipeline: Pipeline,
    clock: Clock,
    occupancy: Occupancy,
    adopt_within: Duration,
    journals: Journals,
    attempts: Arc<Mutex<HashMap<AttemptId, Arc<Attempt>>>>,
    tasks: TaskTracker,
    /// Those that wait beside attempts that nobody follows.
    watching: TaskTracker,
    stopping: Stopping,
}

impl Attempts {
    /// Starts with those of whom there are journals. What these do not say of an end is said now, unless the engine still
    /// holds their sandboxes.
    pub async fn new(
        pipeline: Pipeline,
        clock: Clock,
        capacity: Capacity,
        (journals, found): (Journals, Vec<Found>),
        inventory: Option<&Inventory>,
        stopping: Stopping,
    ) -> Self {
        let mut attempts = HashMap::new();
        for found in found {
            let wishes = stopping.wishes();
            let attempt = recover::attempt(found, &journals, &pipeline, &clock, wishes, inventory).await;
            attempts.insert(attempt.id, attempt);
        }
        let Capacity { slots, adopt_within } = capacity;
        let occupancy = Occupancy::new(slots);
        let dormant: Vec<_> = attempts.values().filter(|attempt| attempt.is_dormant()).cloned().collect();
        for attempt in &dormant {
            attempt.fill(occupancy.hold());
        }
        let attempts = Arc::new(Mutex::new(attempts));
        let (tasks, watching) = (TaskTracker::new(), TaskTracker::new());
        let this =
            Self { pipeline, clock, occupancy, adopt_within, journals, attempts, tasks, watching, stopping };
        this.tidy();
        for attempt in dormant {
            let watching = this.clone();
            this.watching.spawn(async move { watching.watch_over_dormant(attempt).await });
        }
        this
    }

    /// Returns [`Attempts::in_use`] as names of directories.
    pub fn going_on(&self) -> HashSet<String> {
        self.in_use().iter().map(ToString::to_string).collect()
    }

    /// Returns the names under which something is in use: those of the attempts that have not ended, and of what was made
    /// ahead.
    pub fn in_use(&self) -> HashSet<AttemptId> {
        let mut names = self.pipeline.shelf.names().all();
        names.extend(self.running());
        names
    }

    /// Returns an attempt that is known, which goes on if it lay there, or starts it.
    ///
    /// # Errors
    /// See [`NoAttempt`].
    pub fn attach_or_start(&self, spec: BuildSpec, after_sequence: u64) -> Result<Arc<Attempt>, NoAttempt> {
        let mut attempts = self.attempts();
        let stopping = self.stopping.taking.is_cancelled();
        match attempts.get(&spec.id) {
            Some(attempt) if attempt.has_lost(after_sequence) => return Err(NoAttempt::Unknown),
            Some(attempt) => {
                if !stopping && let Some(dormant) = attempt.take_up() {
                    self.tasks.spawn(self.clone().go_on(spec, attempt.clone(), dormant));
                }
                return Ok(attempt.clone());
            }
            None if after_sequence > 0 => return Err(NoAttempt::Unknown),
            None if stopping => return Err(NoAttempt::Stopping),
            None => {}
        }
        let slot = self.occupancy.take().map_err(|none| match none {
            NoSlot::Full => NoAttempt::Full,
            NoSlot::Draining => NoAttempt::Draining,
        })?;
        let journal = self.journals.path_of(spec.id);
        let attempt = Arc::new(Attempt::new(spec.id, journal, Vec::new(), self.stopping.wishes()));
        attempt.fill(slot);
        attempts.insert(spec.id, attempt.clone());
        let keeper = Keeper::new(attempt.clone(), self.journals.create(spec.id));
        self.tasks.spawn(self.clone().run(spec, attempt.clone(), keeper, None));
        Ok(attempt)
    }

    /// Ends an attempt and returns when its sandbox is gone. One that is not known, or has ended, is left alone.
    pub async fn cancel(&self, id: AttemptId) {
        let attempt = self.attempts().get(&id).cloned();
        if let Some(attempt) = attempt {
            attempt.wishes.cancel.cancel();
            attempt.over().await;
        }
    }

    /// Returns the slots.
    pub fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    /// Waits until nothing new is taken, nothing runs, and somebody has been told how each ended; who does not ask for that
    /// is not waited for longer than [`HEARD`].
    pub async fn finished(&self) {
        self.occupancy.drained().await;
        let attempts: Vec<_> = self.attempts().values().cloned().collect();
        let heard = async {
            for attempt in attempts {
                attempt.heard().await;
            }
        };
        if tokio::time::timeout(HEARD, heard).await.is_err() {
            tracing::warn!("nobody has asked how some builds ended");
        }
    }

    /// Returns the attempts that have not ended, those that have only just begun among them.
    pub fn running(&self) -> HashSet<AttemptId> {
        let attempts = self.attempts();
        attempts.values().filter(|attempt| attempt.ended().is_none()).map(|attempt| attempt.id).collect()
    }

    /// Waits until nothing runs any more.
    pub async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits until nothing is followed any more. Call it when stopping.
    pub async fn drained(&self) {
        self.settled().await;
        self.watching.close();
        self.watching.wait().await;
    }

    /// Removes the journals of attempts that ended long ago, now and then, until it is stopped.
    pub async fn watch_over(self, stopping: CancellationToken) {
        while tokio::time::timeout(TIDY, stopping.cancelled()).await.is_err() {
            self.tidy();
        }
    }

    /// Forgets the attempts that ended long ago, and of the others as many as take too much room.
    fn tidy(&self) {
        let now = self.clock.now();
        let mut attempts = self.attempts();
        let mut ended: Vec<_> =
            attempts.values().filter_map(|attempt| Some((attempt.ended()?, attempt.id))).collect();
        ended.sort_unstable_by(|one, other| other.cmp(one));
        let mut bytes = 0;
        for (at, id) in ended {
            bytes += std::fs::metadata(self.journals.path_of(id)).map_or(0, |meta| meta.len());
            let age = (now - at).to_std().unwrap_or_default();
            if age >= KEPT || bytes > KEPT_BYTES {
                attempts.remove(&id);
                self.journals.remove(id);
            }
        }
    }

    /// Waits until somebody takes a build up that another process has begun; ends it when nobody does.
    async fn watch_over_dormant(self, attempt: Arc<Attempt>) {
        let outcome = tokio::select! {
            biased;
            () = attempt.wishes.cancel.cancelled() => Outcome::Canceled,
            // The next process finds it as this one has.
            () = self.stopping.here.cancelled() => return,
            () = tokio::time::sleep(self.adopt_within) => {
                let seconds = self.adopt_within.as_secs();
                lost(&format!("its process was started again, and nobody asked for the build within {seconds} s"))
            }
        };
        if let Some(dormant) = attempt.take_up() {
            self.abandon(&attempt, dormant, outcome).await;
        }
    }

    async fn abandon(&self, attempt: &Attempt, dormant: Dormant, outcome: Outcome) {
        let Dormant { left, keeper, .. } = dormant;
        tracing::warn!(attempt = %attempt.id, ?outcome, "nobody goes on with a build that another process has begun");
        self.pipeline.abandon(left).await;
        keeper.finish(self.clock.now(), outcome).await;
    }

    /// Goes on with a build that another process has begun.
    async fn go_on(self, spec: BuildSpec, attempt: Arc<Attempt>, dormant: Dormant) {
        if dormant.left.stage.given != stage::given(&spec) {
            let outcome =
                lost("its process was started again, and the build's variables have changed meanwhile");
            return self.abandon(&attempt, dormant, outcome).await;
        }
        let Dormant { left, step, keeper } = dormant;
        self.run(spec, attempt, keeper, Some((left, step))).await;
    }

    /// Runs an attempt, or what is left of it, and keeps what it tells.
    async fn run(
        self,
        spec: BuildSpec,
        attempt: Arc<Attempt>,
        mut keeper: Keeper,
        left: Option<(Left, Step)>,
    ) {
        let Self { pipeline, clock, .. } = self;
        if keeper.failure().is_some() {
            return keeper.finish(clock.now(), Outcome::Canceled).await;
        }
        let (tell, mut told) = mpsc::channel(WAITING);
        let since = left.as_ref().map(|(left, _)| left.progress.clone()).unwrap_or_default();
        let mask = Mask::of(&spec.variables);
        let (recorder, kept, collecting) =
            Recorder::start(clock.clone(), mask, pipeline.ceilings.log_bytes, since, tell);
        let keeping = async {
            while let Some(record) = told.recv().await {
                let frame = record.progress.position.frame;
                if keeper.keep(record).await {
                    kept.send_replace(frame);
                }
            }
        };
        let building = async {
            let told = match left {
                None => {
                    tracing::info!(attempt = %spec.id, commit = spec.commit, "the build begins");
                    pipeline.run(&spec, &recorder, &attempt.wishes).await
                }
                Some((left, step)) => {
                    tracing::info!(attempt = %spec.id, "the build goes on");
                    recorder.remark(step, GOES_ON).await;
                    pipeline.resume(&spec, left, &recorder, &attempt.wishes).await
                }
            };
            drop(recorder);
            told
        };
        let (told, ()) = tokio::join!(building, keeping);
        let _ = collecting.await;
        match told {
            Told::Outcome(outcome) => {
                log_outcome(&spec, &outcome);
                keeper.finish(clock.now(), outcome.clone()).await;
                for staged in pipeline.shelf.want(&spec, &outcome) {
                    pipeline.throw_away(staged);
                }
            }
            Told::HandedOver => {
                tracing::info!(attempt = %spec.id, "the build goes on in its sandbox, for the next process to take up");
                keeper.hand_over().await;
            }
        }
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<AttemptId, Arc<Attempt>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost(why: &str) -> Outcome {
    let message = format!("the executor was lost: {why}");
    Outcome::Failed { failure: Failure::new(FailureCode::ExecutorLost, message) }
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
