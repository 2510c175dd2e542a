//! The story of a build: source, cache, install, build, output.
//!
//! A function of one build's specification and a recorder of events. It knows no slots, no leases, no streams and no
//! database. However it ends, its sandbox is gone when it returns, and its directories soon after.

pub mod cache;
mod detect;
pub mod environment;
pub mod recorder;
pub mod sandbox;
mod story;
mod watch;
pub mod workspace;

use std::{path::PathBuf, sync::Arc, time::Duration};

use grapnel_artifacts::ArtifactStore;
use grapnel_domain::{
    build::{BuildLimits, BuildSpec},
    event::Outcome,
    failure::{Failure, FailureCode},
};
use recorder::Recorder;
use sandbox::SandboxConfig;
use story::Story;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use workspace::Workspace;

use crate::{engine::Engine, source::Mirrors};

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
    pub artifacts: ArtifactStore,
    /// What builds find again.
    pub caches: cache::Caches,
    /// How sandboxes look.
    pub sandbox: SandboxConfig,
    /// The directory of all workspaces.
    pub workspaces: PathBuf,
    /// The image of builds whose project names none.
    pub builder_image: String,
    /// What no build may exceed.
    pub ceilings: BuildLimits,
    /// Owns the removal of directories that builds leave behind.
    pub cleanups: TaskTracker,
}

impl Pipeline {
    /// Runs one build to its end.
    ///
    /// A failed build is an outcome, and so is a failure of ours. When `cancel` is cancelled the sandbox is killed at
    /// once. Dropping the future instead leaves the sandbox to the next sweep.
    pub async fn run(&self, spec: &BuildSpec, recorder: &Recorder, cancel: &CancellationToken) -> Outcome {
        let limits = self.ceilings.under_ceilings(spec.settings.limits);
        let root = self.workspaces.join(spec.id.to_string());
        let workspace = match Workspace::create(root, self.sandbox.user, &spec.body) {
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
        self.clean_up(story, &workspace).await;
        match told {
            Ok(outcome) => outcome,
            Err(Some(failure)) => Outcome::Failed { failure },
            Err(None) => Outcome::Canceled,
        }
    }

    /// Removes what the attempt has in the engine, now, and what it has on disk, soon.
    async fn clean_up(&self, mut story: Story<'_>, workspace: &Workspace) {
        let engine_side = async {
            if let Some(sandbox) = story.take_sandbox().await
                && let Err(error) = sandbox.remove().await
            {
                tracing::warn!(%error, "the sandbox cannot be removed; the next sweep tries again");
            }
            if let Some(cache) = story.take_cache()
                && let Err(error) = self.caches.release(&cache).await
            {
                tracing::warn!(%error, "the cache's volume cannot be removed; the next sweep tries again");
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
}

fn timed_out(limits: &BuildLimits) -> Failure {
    let seconds = limits.timeout.as_secs();
    Failure::new(
        FailureCode::TimedOut,
        format!("the build took longer than the {seconds} s that it may take"),
    )
}
