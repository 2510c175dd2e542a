//! The story of a build: source, cache, install, build, output.
//!
//! A function of one build's specification and a recorder of events. It knows no slots, no leases, no streams and no
//! database. However it ends, its sandbox is gone when it returns, and its directories soon after.

mod detect;
pub mod environment;
mod install;
pub mod mask;
mod project_root;
mod publish;
pub mod recorder;
pub mod sandbox;
mod story;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use grapnel_artifacts::ArtifactStore;
use grapnel_domain::{
    build::{BuildLimits, BuildSpec},
    event::{BuildEvent, Outcome},
    failure::{Failure, FailureCode},
};
use recorder::Recorder;
use sandbox::SandboxConfig;
use story::Story;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache::{Caches, Installed, Prepared},
    engine::Engine,
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

impl Pipeline {
    /// Runs one build to its end.
    ///
    /// A failed build is an outcome, and so is a failure of ours. When `cancel` is cancelled the sandbox is killed at
    /// once. Dropping the future instead leaves the sandbox to the next sweep.
    pub async fn run(&self, spec: &BuildSpec, recorder: &Recorder, cancel: &CancellationToken) -> Outcome {
        if spec.settings.run_as_root && !rustix::process::geteuid().is_root() {
            let message = "the project's builds run as root, and this executor, which is not root itself, cannot give them that";
            return Outcome::Failed { failure: Failure::new(FailureCode::ConfigInvalid, message) };
        }
        let limits = self.ceilings.under_ceilings(spec.settings.limits);
        let root = self.workspaces.join(spec.id.to_string());
        let workspace = match Workspace::create(root, self.owner(spec), &spec.body) {
            Ok(workspace) => workspace,
            Err(error) => {
                let message = format!("the workspace cannot be made: {error}");
                return Outcome::Failed { failure: Failure::new(FailureCode::ExecutorDiskFull, message) };
            }
        };
        let mut story = Story::new(self, spec, &limits, &workspace, recorder, cancel);
        let told = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(None),
            told = timeout(limits.timeout, story.tell()) => {
                told.unwrap_or_else(|_| Err(timed_out(&limits))).map_err(Some)
            }
        };
        let outcome = match told {
            Ok(outcome) => outcome,
            // It may name what a build has named.
            Err(Some(Failure { code, message })) => {
                Outcome::Failed { failure: Failure::new(code, recorder.masked(&message)) }
            }
            Err(None) => Outcome::Canceled,
        };
        self.clean_up(story, &workspace, &outcome).await;
        outcome
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
            if let Err(error) = &removed {
                tracing::warn!(%error, "the sandbox cannot be removed; the next sweep tries again");
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
        prepared: Prepared,
        installed: Option<Installed>,
        workspace: &Workspace,
        recorder: &Recorder,
    ) {
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

fn timed_out(limits: &BuildLimits) -> Failure {
    let seconds = limits.timeout.as_secs();
    Failure::new(
        FailureCode::TimedOut,
        format!("the build took longer than the {seconds} s that it may take"),
    )
}
