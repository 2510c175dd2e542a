//! Puts what is told in order: lines of one step together for a short while, everything else at once.

use std::time::Duration;

use grapnel_domain::event::{BuildEvent, LogLine, Step};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    position::Position,
    recorder::{Progress, Record, What},
    stage::Stage,
};

/// How long lines are collected, from the first one on.
const COLLECT: Duration = Duration::from_millis(25);

/// How many bytes of lines one event carries, and how many a line counts beside its own.
const BATCH: usize = 32 * 1024;
const LINE: usize = 16;

/// What is told to the collector.
pub enum Told {
    /// Lines of a log, to be told by one event.
    Lines {
        /// In which step.
        step: Step,
        /// The lines; none where only the position has changed.
        lines: Vec<LogLine>,
        /// Whose they are.
        by: By,
    },
    /// An event of the story's own.
    Event(BuildEvent),
    /// The sandbox stands.
    Stage(Box<Stage>),
    /// A command ended.
    Exited { code: i32, position: Position },
    /// Somebody waits until all that came before is written down.
    Awaited(oneshot::Sender<()>),
}

/// Who tells lines.
#[derive(Clone, Copy)]
pub enum By {
    /// The story.
    Story,
    /// The command that runs; how far its output is told with these, and how many bytes of log there are.
    Output { position: Position, log_bytes: u64 },
    /// The executor, of itself.
    Nobody,
}

/// Makes records of what is told.
pub struct Collector {
    told: mpsc::Receiver<Told>,
    records: mpsc::Sender<Record>,
    progress: Progress,
    /// How much of its own the story has told in this process. What another has told before is passed over.
    own: u64,
}

impl Collector {
    pub fn new(told: mpsc::Receiver<Told>, records: mpsc::Sender<Record>, since: Progress) -> Self {
        Self { told, records, progress: since, own: 0 }
    }

    /// Collects until nobody is left who could tell anything.
    pub async fn run(mut self) {
        let mut next = self.told.recv().await;
        while let Some(told) = next.take() {
            let what = match told {
                Told::Lines { step, lines, by } => {
                    let (lines, after) = self.collect(step, lines, by).await;
                    next = after;
                    if lines.is_empty() {
                        What::Nothing
                    } else {
                        What::Event(BuildEvent::Log { step, lines })
                    }
                }
                Told::Event(event) if self.is_new() => What::Event(event),
                Told::Event(_) => What::Nothing,
                Told::Stage(stage) => {
                    (self.own, self.progress.own) = (0, 0);
                    What::Stage(stage)
                }
                Told::Exited { code, position } => {
                    self.progress.exits.push(code);
                    self.progress.position = position;
                    What::Nothing
                }
                Told::Awaited(written) => What::Awaited(written),
            };
            let record = Record { what, progress: self.progress.clone() };
            if self.records.send(record).await.is_err() {
                return;
            }
            if next.is_none() {
                next = self.told.recv().await;
            }
        }
    }

    /// Counts what the story has told itself, and says whether no other process has told it.
    fn is_new(&mut self) -> bool {
        self.own += 1;
        let is_new = self.own > self.progress.own;
        self.progress.own = self.progress.own.max(self.own);
        is_new
    }

    /// Takes lines, and those that follow for the same step, until time or room is over, or something else comes, which
    /// is returned with them.
    async fn collect(&mut self, step: Step, first: Vec<LogLine>, by: By) -> (Vec<LogLine>, Option<Told>) {
        let until = Instant::now() + COLLECT;
        let mut lines = Vec::new();
        self.take(first, by, &mut lines);
        while size(&lines) < BATCH {
            match timeout_at(until, self.told.recv()).await {
                Ok(Some(Told::Lines { step: same, lines: more, by })) if same == step => {
                    self.take(more, by, &mut lines);
                }
                Ok(other) => return (lines, other),
                Err(_) => break,
            }
        }
        (lines, None)
    }

    fn take(&mut self, more: Vec<LogLine>, by: By, lines: &mut Vec<LogLine>) {
        let is_new = match by {
            By::Story => self.is_new(),
            By::Output { position, log_bytes } => {
                self.progress.position = position;
                self.progress.log_bytes = log_bytes;
                true
            }
            By::Nobody => true,
        };
        lines.extend(more.into_iter().filter(|_| is_new));
    }
}

fn size(lines: &[LogLine]) -> usize {
    lines.iter().map(|line| line.text.len() + LINE).sum()
}
