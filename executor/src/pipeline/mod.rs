//! The story of a build: source, cache, install, build, output.
//!
//! A function of one build's specification and a recorder of events. It knows no slots, no leases, no streams and no
//! database. However it ends, its sandbox is gone when it returns, and its directories soon after; unless it is handed over
//! to the next process, as [`stage`] says, which goes on with it where it is.

pub mod ahead;
mod collect;
mod detect;
pub mod environment;
mod ground;
mod install;
pub mod mask;
mod output;
pub mod position;
mod project_root;
mod publish;
pub mod recorder;
pub mod sandbox;
pub mod stage;
mod starting;
mod story;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use ahead::Shelf;
use grapnel_artifacts::ArtifactStore;
use grapnel_domain::{
    build::{AttemptId, BuildLimits, BuildSpec},
    event::{BuildEvent, Outcome},
    failure::{Failure, FailureCode},
};
use grapnel_runtime::crash_point;
use recorder::{Progress, Recorder};
use sandbox::{RunningSandbox, SandboxConfig};
use stage::Stage;
use story::Story;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache::{Caches, Installed, Prepared},
    engine::Engine,
    link::Link,
    network::BuildNetwork,
    source::Mirrors,
    workspace::Workspace,
};

/// How long the cleanup of an attempt may take before it is left to the next sweep.
const CLEANUP: Duration = Duration::from_secs(60);

/// All that builds on one executor share.
#[derive(Clone)]
pub struct Pipeline {
    /// The engine that runs sandboxes.
    pub engine: Arc<dyn Engine>,
    /// Where commits come from.
    pub mirrors: Arc<Mirrors>,
    /// Where outputs go.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// What builds find again.
    pub caches: Caches,
    /// What they reach.
    pub network: BuildNetwork,
    /// What was made ahead of builds.
    pub shelf: Shelf,
    /// How sandboxes look.
    pub sandbox: SandboxConfig,
    /// The directory of all workspaces.
    pub workspaces: PathBuf,
    /// The image of builds whose project names none.
    pub builder_image: String,
    /// What no build may exceed.
    pub ceilings: BuildLimits,
    /// Whether an install that would do nothing is left out.
    pub skip_unchanged_install: bool,
    /// Owns the removal of directories that builds leave behind.
    pub cleanups: TaskTracker,
}

/// How a build is asked to end before it has come to its end.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// At once, and nothing of it is wanted any more.
    pub cancel: CancellationToken,
    /// The process ends, and another one may go on with it.
    pub hand_over: CancellationToken,
}

/// What came of a build in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It ended.
    Outcome(Outcome),
    /// It goes on in its sandbox, and another process has to take it up.
    HandedOver,
}

/// What another process has left of a build, to go on with.
#[derive(Debug)]
pub struct Left {
    /// What is known of it.
    pub stage: Stage,
    /// How far it had come.
    pub progress: Progress,
    /// The line to its sandbox.
    pub link: Link,
    /// Its directories.
    pub workspace: Workspace,
}

/// Why a story was not told to its end.
enum Broken {
    Canceled,
    HandOver,
    Failed(Failure),
}

impl Pipeline {
    /// Runs one build to its end.
    ///
    /// A failed build is an outcome, and so is a failure of ours. When it is cancelled the sandbox is killed at once.
    /// Dropping the future instead leaves the sandbox to the next process.
    pub async fn run(&self, spec: &BuildSpec, recorder: &Recorder, wishes: &Wishes) -> Told {
        if spec.settings.run_as_root && !rustix::process::geteuid().is_root() {
            let message = "the project's builds run as root, and this executor, which is not root itself, cannot give them that";
            let failure = Failure::new(FailureCode::ConfigInvalid, message);
            return Told::Outcome(Outcome::Failed { failure });
        }
        let limits = self.ceilings.under_ceilings(spec.settings.limits);
        let taken = self.take_ahead(spec, &limits, wishes).await;
        let workspace = match &taken {
            Some(taken) => Ok(taken.workspace.clone()),
            None => Workspace::create(self.root_of(spec.id), self.owner(spec), &spec.body),
        };
        let workspace = match workspace {
            Ok(workspace) => workspace,
            Err(error) => {
                let message = format!("the workspace cannot be made: {error}");
                let failure = Failure::new(FailureCode::ExecutorDiskFull, message);
                return Told::Outcome(Outcome::Failed { failure });
            }
        };
        let mut story = Story::new(self, spec, &limits, &workspace, recorder, &wishes.cancel);
        if let Some(taken) = taken {
            story.begin_on(taken);
        }
        self.tell(story, limits.timeout, wishes).await
    }

    /// Goes on with a build that another process has begun, given its specification once more.
    pub async fn resume(&self, spec: &BuildSpec, left: Left, recorder: &Recorder, wishes: &Wishes) -> Told {
        let Left { stage, progress, link, workspace } = left;
        let rest = stage.limits.timeout.saturating_sub(stage.began.elapsed());
        let mut story = Story::new(self, spec, &stage.limits, &workspace, recorder, &wishes.cancel);
        let sandbox = RunningSandbox::adopt(self.engine.clone(), stage.sandbox, link, progress.position);
        story.enter(stage.script, self.caches.adopt(stage.cache), sandbox, progress.exits);
        self.tell(story, rest, wishes).await
    }

    /// Removes what another process has left of a build with which nobody goes on.
    pub async fn abandon(&self, Left { stage, workspace, .. }: Left) {
        let engine_side = async {
            if let Err(error) = self.engine.remove(&stage.sandbox).await {
                tracing::warn!(%error, "the sandbox cannot be removed; the next sweep tries again");
            }
            self.caches.release(self.caches.adopt(stage.cache)).await;
        };
        if timeout(CLEANUP, engine_side).await.is_err() {
            tracing::warn!("the engine does not answer; the next sweep removes what is left");
        }
        workspace.remove().await;
    }

    /// Returns the directories that another process has left of an attempt.
    pub fn workspace_of(&self, id: AttemptId, stage: &Stage) -> Workspace {
        match stage.ahead.as_ref().and_then(|name| name.parse().ok()) {
            Some(ahead) => Workspace::open(self.root_of(ahead)).held(self.shelf.names().hold(ahead)),
            None => Workspace::open(self.root_of(id)),
        }
    }

    async fn tell(&self, mut story: Story<'_>, within: Duration, wishes: &Wishes) -> Told {
        let (recorder, workspace) = (story.recorder, story.workspace);
        let timeout_of_all = story.limits.timeout;
        let told = tokio::select! {
            biased;
            () = wishes.cancel.cancelled() => Err(Broken::Canceled),
            () = wishes.hand_over.cancelled() => Err(Broken::HandOver),
            told = timeout(within, story.tell()) => {
                told.unwrap_or_else(|_| Err(timed_out(timeout_of_all))).map_err(Broken::Failed)
            }
        };
        let outcome = match told {
            Ok(outcome) => outcome,
            Err(Broken::HandOver) if story.has_stage() => return Told::HandedOver,
            Err(Broken::HandOver) => {
                let message = "the executor's process ended before the build had its sandbox";
                Outcome::Failed { failure: Failure::new(FailureCode::ExecutorLost, message) }
            }
            // It may name what a build has named.
            Err(Broken::Failed(Failure { code, message })) => {
                Outcome::Failed { failure: Failure::new(code, recorder.masked(&message)) }
            }
            Err(Broken::Canceled) => Outcome::Canceled,
        };
        self.clean_up(story, workspace, &outcome).await;
        Told::Outcome(outcome)
    }

    /// Returns the directory of an attempt.
    fn root_of(&self, id: AttemptId) -> PathBuf {
        self.workspaces.join(id.to_string())
    }

    /// Returns the user and group that a build's files belong to, and its steps run as.
    fn owner(&self, spec: &BuildSpec) -> (u32, u32) {
        if spec.settings.run_as_root { (0, 0) } else { self.sandbox.user }
    }

    /// Removes what the attempt has in the engine, now, and what it has on disk, soon. What a READY build leaves for the
    /// next one is taken in between, and nothing ends that early.
    async fn clean_up(&self, mut story: Story<'_>, workspace: &Workspace, outcome: &Outcome) {
        let recorder = story.recorder.clone();
        let engine_side = async {
            let removed = match story.take_sandbox().await {
                Some(sandbox) => sandbox.remove().await,
                None => Ok(()),
            };
            crash_point("sandbox.removed");
            if let Err(error) = &removed {
                tracing::warn!(%error, "the sandbox cannot be removed; the next sweep tries again");
            }
            if let Some(points) = story.points.take() {
                self.caches.give_back(points).await;
            }
            let Some((prepared, installed)) = story.take_cache().await else { return };
            // A workspace that may still be mounted is not taken apart.
            if matches!(outcome, Outcome::Ready { .. }) && removed.is_ok() {
                self.keep(prepared, installed, workspace, &recorder).await;
            } else {
                self.caches.release(prepared).await;
            }
        };
        // The engine first: a build that was ended has no container within two seconds, however large its output.
        if timeout(CLEANUP, engine_side).await.is_err() {
            tracing::warn!("the engine does not answer; the next sweep removes what is left");
        }
        story.give_up().await;
        let workspace = workspace.clone();
        self.cleanups.spawn(async move { workspace.remove().await });
    }

    async fn keep(
        &self,
        mut prepared: Prepared,
        installed: Option<Installed>,
        workspace: &Workspace,
        recorder: &Recorder,
    ) {
        // Some engines know an image's id only now, when it has run.
        if prepared.is_of_unknown_image()
            && let Ok(Some(image)) = self.engine.image(prepared.image_name()).await
        {
            prepared.name_image(image.id);
        }
        let (caches, directories) = (self.caches.clone(), workspace.clone());
        let kept = tokio::task::spawn_blocking(move || {
            let report = caches.keep(&prepared, &directories, installed);
            (prepared, report)
        });
        match kept.await {
            Ok((prepared, report)) => {
                recorder.event(BuildEvent::Cache(report)).await;
                self.caches.release(prepared).await;
            }
            Err(error) => tracing::error!(%error, "keeping a cache broke off"),
        }
    }
}

fn timed_out(limit: Duration) -> Failure {
    let seconds = limit.as_secs();
    Failure::new(
        FailureCode::TimedOut,
        format!("the build took longer than the {seconds} s that it may take"),
    )
}
