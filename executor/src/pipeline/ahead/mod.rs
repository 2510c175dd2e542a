//! Sandboxes that are started ahead of their builds.
//!
//! Where a CMS calls a hook, the repository has usually not changed since the last time. So while nothing else is to be
//! done, what a build of it begins with is made whole: the checkout at that commit, the cache below it, the sandbox, its
//! runner connected. It is made by the same steps as for any build, from the mirror and the kept cache, and nothing of the
//! repository runs in it before a build has taken it. Each is taken once, by a build for which the same would be made
//! now. Where only the source or the cache differs, and the engine can take both from under a sandbox, the build puts its own
//! there; where anything else does, or the engine cannot, it is thrown away and the build makes its own.
//!
//! The [`Shelf`] knows what is worth being made, by the hooks that were triggered last, and what stands ready.

mod shelf;

use std::time::Duration;

use grapnel_domain::{
    build::{AttemptId, BuildLimits, BuildSpec},
    event::{Outcome, Step},
    failure::Failure,
};
use grapnel_runtime::{Clock, crash_point};
pub use shelf::Shelf;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Pipeline, Wishes,
    ground::Ground,
    install,
    mask::Mask,
    recorder::{Progress, Recorder},
    sandbox::RunningSandbox,
    story::Story,
};
use crate::{
    cache::{Build, MountPoints, Prepared},
    disk,
    engine::Image,
    workspace::Workspace,
};

/// How long one may take to be made.
const MADE: Duration = Duration::from_secs(60);

/// How long what a build has no use for stays: the engine is to start the build's own sandbox first.
const OUT_OF_THE_WAY: Duration = Duration::from_secs(1);

/// What a build begins with, made ahead of it.
pub struct Staged {
    /// What it was made for, and the name under which it was made. Without anything that only one build has.
    pub(super) spec: BuildSpec,
    pub(super) ground: Ground,
    pub(super) cache: Prepared,
    pub(super) sandbox: RunningSandbox,
    limits: BuildLimits,
    workspace: Workspace,
}

/// What a build begins with of what was made ahead of it.
pub struct Taken {
    /// The name under which it was made.
    pub(super) id: AttemptId,
    pub(super) workspace: Workspace,
    pub(super) sandbox: RunningSandbox,
    pub(super) laid: Laid,
}

/// What the sandbox has mounted.
pub enum Laid {
    /// The source and the cache that the build would put there.
    Ground(Box<(Ground, Prepared)>),
    /// Nothing yet.
    MountPoints(MountPoints),
}

impl Pipeline {
    /// Makes what a build begins with, ahead of it and under the name in `spec`; none where that cannot be.
    pub async fn stage_ahead(
        &self,
        spec: BuildSpec,
        clock: &Clock,
        cancel: &CancellationToken,
    ) -> Option<Staged> {
        let limits = self.ceilings.under_ceilings(spec.settings.limits);
        let held = self.shelf.names().hold(spec.id);
        let workspace = Workspace::create(self.root_of(spec.id), self.owner(&spec), &[]);
        let workspace = workspace
            .inspect_err(|error| tracing::warn!(%error, "no workspace can be made ahead of a build"))
            .ok()?
            .held(held);
        // Nobody is told of it: whatever build takes it tells its own story.
        let (tell, _) = mpsc::channel(1);
        let (recorder, _kept, _) =
            Recorder::start(clock.clone(), Mask::of(&[]), 0, Progress::default(), tell);
        let mut story = Story::new(self, &spec, &limits, &workspace, &recorder, cancel);
        let laid = tokio::select! {
            () = cancel.cancelled() => None,
            laid = timeout(MADE, story.lay_ahead()) => laid.ok(),
        };
        match laid {
            Some(Ok(Some((ground, cache, sandbox)))) => {
                drop(story);
                crash_point("ahead.staged");
                Some(Staged { spec, ground, cache, sandbox, limits, workspace })
            }
            failed => {
                if let Some(Err(Failure { code, message })) = failed {
                    tracing::info!(%code, message, "no sandbox can be started ahead of a build");
                }
                self.clean_up(story, &workspace, &Outcome::Canceled).await;
                None
            }
        }
    }

    /// Takes what was made ahead of a build: all of it where it is what would be made for it now, the sandbox alone where another
    /// source and cache can be put under it.
    pub(super) async fn take_ahead(
        &self,
        spec: &BuildSpec,
        limits: &BuildLimits,
        wishes: &Wishes,
    ) -> Option<Taken> {
        if !spec.use_cache || !self.shelf.knows(spec) {
            return None;
        }
        let taking = async {
            let (name, image) = self.find_image(spec).await.ok()?;
            Some((name, image, self.shelf.take(spec).await?))
        };
        let (name, image, mut staged) = tokio::select! {
            biased;
            () = wishes.cancel.cancelled() => return None,
            () = wishes.hand_over.cancelled() => return None,
            taken = taking => taken?,
        };
        let build = Build { spec, image_name: &name, image_id: &image.id, owner: self.owner(spec) };
        let taken = if !staged.has_sandbox_for(spec, limits, &image)
            || staged.workspace.give_body(&spec.body).is_err()
        {
            self.throw_away_later(staged);
            None
        } else if staged.spec.commit == spec.commit && self.caches.renew(&mut staged.cache, &build) {
            Some(staged.whole())
        } else if staged.cache.can_be_taken_away() {
            self.clear(staged, build.owner).await
        } else {
            self.throw_away_later(staged);
            None
        };
        let outcome = match &taken {
            Some(Taken { laid: Laid::Ground(..), .. }) => "taken",
            Some(Taken { laid: Laid::MountPoints(_), .. }) => "taken_for_another_source",
            None => "thrown_away",
        };
        metrics::counter!("grapnel_executor_started_ahead_total", "outcome" => outcome).increment(1);
        if taken.is_some() {
            crash_point("ahead.taken");
        } else {
            tracing::info!(attempt = %spec.id, "what was started ahead is not what the build needs, and is thrown away");
        }
        taken
    }

    /// Takes the source and the cache from under a sandbox that nothing has run in.
    async fn clear(&self, staged: Staged, owner: (u32, u32)) -> Option<Taken> {
        let Staged { spec, cache, sandbox, workspace, .. } = staged;
        if let Some(points) = self.caches.take_away(cache, spec.id).await {
            match workspace.clear_tree(owner) {
                Ok(before) => {
                    self.cleanups.spawn(async move { disk::remove_tree(&before).await });
                    return Some(Taken { id: spec.id, workspace, sandbox, laid: Laid::MountPoints(points) });
                }
                Err(error) => {
                    tracing::warn!(%error, "the workspace of a sandbox cannot be cleared");
                    self.caches.give_back(points).await;
                }
            }
        }
        let this = self.clone();
        self.cleanups.spawn(async move { this.remove_empty(sandbox, workspace).await });
        None
    }

    /// Removes what no build has taken, beside whatever comes next.
    pub fn throw_away(&self, staged: Staged) {
        let this = self.clone();
        self.cleanups.spawn(async move { this.remove_staged(staged).await });
    }

    fn throw_away_later(&self, staged: Staged) {
        let this = self.clone();
        self.cleanups.spawn(async move {
            tokio::time::sleep(OUT_OF_THE_WAY).await;
            this.remove_staged(staged).await;
        });
    }

    async fn remove_staged(&self, Staged { cache, sandbox, workspace, .. }: Staged) {
        remove(&sandbox).await;
        self.caches.release(cache).await;
        workspace.remove().await;
    }

    async fn remove_empty(&self, sandbox: RunningSandbox, workspace: Workspace) {
        remove(&sandbox).await;
        workspace.remove().await;
    }
}

async fn remove(sandbox: &RunningSandbox) {
    if let Err(error) = sandbox.remove().await {
        tracing::warn!(%error, "a sandbox that was started ahead cannot be removed; the next sweep tries again");
    }
}

impl Staged {
    /// Tells whether its sandbox is what would be made for a build, whatever is mounted in it.
    fn has_sandbox_for(&self, spec: &BuildSpec, limits: &BuildLimits, image: &Image) -> bool {
        let made_for = &self.spec;
        made_for.project_id == spec.project_id
            && made_for.repository == spec.repository
            && made_for.access == spec.access
            && made_for.branch == spec.branch
            && made_for.production == spec.production
            && made_for.settings == spec.settings
            && self.limits == *limits
            && self.ground.image == *image
            && self.sandbox.runs()
    }

    fn whole(self) -> Taken {
        let Self { spec, ground, cache, sandbox, workspace, .. } = self;
        Taken { id: spec.id, workspace, sandbox, laid: Laid::Ground(Box::new((ground, cache))) }
    }
}

impl Story<'_> {
    /// Lays the ground for a build to come, and waits until it can begin at once.
    async fn lay_ahead(&mut self) -> Result<Option<(Ground, Prepared, RunningSandbox)>, Failure> {
        let Some(mut ground) = self.lay_ground().await? else { return Ok(None) };
        if ground.plan.install_is_plain && self.pipeline.skip_unchanged_install {
            ground.tree = install::tree_of(self).await;
        }
        self.be_connected(Step::Cache).await?;
        let (Some(cache), Some(sandbox)) = (self.cache.take(), self.sandbox.take()) else { return Ok(None) };
        Ok(Some((ground, cache, sandbox)))
    }
}
