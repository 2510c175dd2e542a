//! What a build tells: events in order, log lines in small batches, each with how far the build has come by it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use grapnel_domain::event::{BuildEvent, LogLine, Step, Stream};
use grapnel_runtime::Clock;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    collect::{By, Collector, Told},
    mask::Mask,
    output::StepOutput,
    position::Position,
    stage::Stage,
};

/// How many lines and events may wait to be taken.
const WAITING: usize = 256;

/// One thing to be written down before it is told.
#[derive(Debug)]
pub struct Record {
    /// What it is.
    pub what: What,
    /// How far the build has come when this is written down.
    pub progress: Progress,
}

/// What is written down.
#[derive(Debug)]
pub enum What {
    /// An event, to be told too.
    Event(BuildEvent),
    /// The sandbox stands: from here on another process can go on with the build.
    Stage(Box<Stage>),
    /// Only that the build has come further.
    Nothing,
    /// Nothing: whoever waits is told when all that came before is written down, and never where that cannot be.
    Awaited(oneshot::Sender<()>),
}

/// How far a build has come, as another process has to know it to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many events and lines of its own the story has told since its sandbox stands.
    pub own: u64,
    /// The exit codes of the commands that have ended.
    pub exits: Vec<i32>,
    /// How far the output of the command that runs has been told.
    pub position: Position,
    /// How many bytes of log there are.
    pub log_bytes: u64,
}

/// Tells what happens in one attempt. Clones tell into the same order.
#[derive(Clone)]
pub struct Recorder {
    told: mpsc::Sender<Told>,
    clock: Clock,
    mask: Arc<Mask>,
    log_bytes: Arc<AtomicU64>,
    log_limit: u64,
    kept: watch::Receiver<u64>,
}

/// Told by whoever writes records down: up to which frame of the sandbox's everything has been.
pub type Kept = watch::Sender<u64>;

impl Recorder {
    /// Starts a recorder whose records come out at `records`, with what `mask` knows hidden in them; the task ends when
    /// all recorders are dropped. Where another process had begun the build, `since` is how far it had come, and what it
    /// had told is not told again.
    pub fn start(
        clock: Clock,
        mask: impl Into<Arc<Mask>>,
        log_limit: u64,
        since: Progress,
        records: mpsc::Sender<Record>,
    ) -> (Self, Kept, JoinHandle<()>) {
        let (told, waiting) = mpsc::channel(WAITING);
        let (keep, kept) = watch::channel(since.position.frame);
        let log_bytes = Arc::new(AtomicU64::new(since.log_bytes));
        let task = tokio::spawn(Collector::new(waiting, records, since).run());
        (Self { told, clock, mask: mask.into(), log_bytes, log_limit, kept }, keep, task)
    }

    /// Tells that a step begins.
    pub async fn step_started(&self, step: Step) {
        self.event(BuildEvent::StepStarted { step, at: self.clock.now() }).await;
    }

    /// Tells that a step ended.
    pub async fn step_finished(&self, step: Step, exit_code: Option<i32>) {
        self.event(BuildEvent::StepFinished { step, at: self.clock.now(), exit_code }).await;
    }

    /// Tells any other event.
    pub async fn event(&self, event: BuildEvent) {
        self.tell(Told::Event(event)).await;
    }

    /// Writes a line of our own into the log of a step.
    pub async fn say(&self, step: Step, text: impl Into<String>) {
        let text = self.masked(&text.into());
        let lines = vec![self.line(Stream::System, text)];
        self.tell(Told::Lines { step, lines, by: By::Story }).await;
    }

    /// Does the same with a line that is no part of the story, and not told again by who goes on with it.
    pub async fn remark(&self, step: Step, text: impl Into<String>) {
        let lines = vec![self.line(Stream::System, text.into())];
        self.tell(Told::Lines { step, lines, by: By::Nobody }).await;
    }

    /// Tells that the sandbox stands.
    pub async fn stage(&self, stage: Stage) {
        self.tell(Told::Stage(Box::new(stage))).await;
    }

    /// Tells that a command ended, all of whose output was told.
    pub async fn exited(&self, code: i32, position: Position) {
        self.tell(Told::Exited { code, position }).await;
    }

    /// Waits until all that was told so far is written down, and says whether it is.
    pub async fn is_written_down(&self) -> bool {
        let (written, waiting) = oneshot::channel();
        self.tell(Told::Awaited(written)).await;
        waiting.await.is_ok()
    }

    /// Hides the build's secrets in a text.
    pub fn masked(&self, text: &str) -> String {
        self.mask.text(text)
    }

    /// Returns what takes the output of a step, from a position on.
    pub fn output(&self, step: Step, position: Position) -> StepOutput {
        StepOutput::new(self.clone(), step, position)
    }

    /// Returns what says up to which frame everything is written down.
    pub(super) fn kept(&self) -> watch::Receiver<u64> {
        self.kept.clone()
    }

    pub(super) fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Returns how many bytes of log there are.
    pub(super) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Takes a line of the build's, as long as its log is below the limit; what comes after that is counted and dropped,
    /// and the build goes on.
    pub(super) fn admit(&self, stream: Stream, text: String) -> Option<LogLine> {
        let length = text.len() as u64 + 1;
        let before = self.log_bytes.fetch_add(length, Ordering::Relaxed);
        if before + length <= self.log_limit {
            return Some(self.line(stream, text));
        }
        if before > self.log_limit {
            return None;
        }
        // Whoever comes next is far enough over the limit not to say so again.
        self.log_bytes.fetch_add((self.log_limit + 1).saturating_sub(before), Ordering::Relaxed);
        let limit = self.log_limit;
        let said = format!("the log is over its limit of {limit} bytes; what follows is not kept");
        Some(self.line(Stream::System, said))
    }

    pub(super) fn line(&self, stream: Stream, text: String) -> LogLine {
        LogLine { stream, at: self.clock.now(), text }
    }

    /// Waits until there is room for what is to be told next; none where nobody listens any more.
    pub(super) async fn room(&self) -> Option<mpsc::Permit<'_, Told>> {
        self.told.reserve().await.ok()
    }

    async fn tell(&self, told: Told) {
        // Nobody listens any more when the attempt is over; then nothing is worth telling.
        let _ = self.told.send(told).await;
    }
}
