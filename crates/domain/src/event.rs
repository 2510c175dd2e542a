//! What an executor tells of a running attempt, and what a watcher of a deployment is told.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    deployment::{CancelReason, State},
    failure::Failure,
};

/// A named part of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The commit is fetched and checked out.
    Source,
    /// The build cache is put in place, and kept after a READY build.
    Cache,
    /// The dependencies are installed.
    Install,
    /// The site is built.
    Build,
    /// The output is checked and published.
    Output,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 5] = [Self::Source, Self::Cache, Self::Install, Self::Build, Self::Output];

    /// Returns the step's name as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Cache => "cache",
            Self::Install => "install",
            Self::Build => "build",
            Self::Output => "output",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The build's standard output.
    Stdout,
    /// The build's standard error.
    Stderr,
    /// Grapnel itself.
    System,
}

/// One line of a log, without its line end. Valid UTF-8, at most 64 KiB; longer lines come in pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Where it came from.
    pub stream: Stream,
    /// When it was printed, by the executor's clock.
    pub at: DateTime<Utc>,
    /// The text, control characters included, as the build printed it.
    pub text: String,
}

/// What became of a build's cache: told once when it is put in place, and once more when a READY build is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    /// What was done.
    #[serde(default)]
    pub action: CacheAction,
    /// `hit`, `miss` or `off`, as the build sees it in `DEPLOY_CACHE`.
    pub outcome: CacheOutcome,
    /// The key under which the cache is kept.
    pub key: String,
    /// Why it is so, for people.
    pub detail: String,
    /// The layers of the snapshot that was put in place or kept.
    #[serde(default)]
    pub layers: u32,
    /// The bytes that those layers take on disk.
    #[serde(default)]
    pub bytes: u64,
    /// How long it took.
    #[serde(default)]
    pub took: std::time::Duration,
}

/// What was done with a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheAction {
    /// It was put in place before the build.
    #[default]
    Restored,
    /// What the build left is what the next one finds.
    Kept,
    /// What the build left was dropped, and the detail says why.
    NotKept,
}

/// Whether a build found a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// There was one.
    Hit,
    /// There was none yet.
    Miss,
    /// None was wanted.
    Off,
}

impl CacheOutcome {
    /// Returns the outcome's name as builds see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Off => "off",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Outcome {
    /// The artifact is published whole.
    Ready {
        /// Files in the artifact.
        files: u64,
        /// Bytes in the artifact.
        bytes: u64,
    },
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The repository itself says that there is nothing to deploy.
    Skipped {
        /// By its configuration, or by its ignore command.
        reason: CancelReason,
    },
    /// It was ended on request; its sandbox is gone.
    Canceled,
}

/// One thing that happened in an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum BuildEvent {
    /// A step began.
    StepStarted {
        /// The step.
        step: Step,
        /// When, by the executor's clock.
        at: DateTime<Utc>,
    },
    /// Lines were printed.
    Log {
        /// In which step.
        step: Step,
        /// The lines, in order.
        lines: Vec<LogLine>,
    },
    /// A step ended.
    StepFinished {
        /// The step.
        step: Step,
        /// When, by the executor's clock.
        at: DateTime<Utc>,
        /// The exit code of its command; 0 for a step without one that went well, none where it did not get
        /// to its end.
        exit_code: Option<i32>,
    },
    /// What was found of the cache, or became of it.
    Cache(CacheReport),
    /// The attempt ended. Always the last event.
    Finished {
        /// When, by the executor's clock.
        at: DateTime<Utc>,
        /// How.
        outcome: Outcome,
    },
}

/// One thing that happened to a deployment, as it is kept and shown to watchers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum DeploymentEvent {
    /// Its state changed.
    State(StateChange),
    /// Something happened in one of its attempts.
    Build {
        /// The attempt, from 1.
        attempt: u32,
        /// What happened.
        event: BuildEvent,
    },
    /// What its attempts told was removed, as the installation's retention says. It stands in the place of the last event
    /// that was.
    LogRemoved,
}

/// A change of a deployment's state, with what became known by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// The state entered.
    pub state: State,
    /// The failure: of the deployment in `ERROR`, of the lost attempt when it was `QUEUED` again.
    pub failure: Option<Failure>,
    /// The reason, in `CANCELED`.
    pub canceled: Option<CancelReason>,
}
