//! Sandboxes that are started ahead of their builds.
//!
//! Where a CMS calls a hook, the repository has usually not changed since the last time. So while nothing else is to be
//! done, what a build of it begins with is made whole: the checkout at that commit, the cache below it, the sandbox, its
//! runner connected. It is made by the same steps as for any build, from the mirror and the kept cache, and nothing of the
//! repository runs in it before a build has taken it. Each is taken once, by a build for which the same would be made
//! now; where anything differs it is thrown away and the build makes its own.
//!
//! The [`Shelf`] knows what is worth being made, by the hooks that were triggered last, and what stands ready.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use grapnel_domain::{
    build::{BuildLimits, BuildSpec},
    deployment::CancelReason,
    event::{Outcome, Step},
    failure::{Failure, Fault},
};
use grapnel_runtime::{Clock, crash_point};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Pipeline, Wishes,
    ground::{Ground, not_connected},
    install,
    mask::Mask,
    recorder::{Progress, Recorder},
    sandbox::RunningSandbox,
    story::Story,
};
use crate::{
    cache::{Build, Prepared},
    workspace::{Names, Workspace},
};

/// How long one may take to be made.
const MADE: Duration = Duration::from_secs(60);

/// How long one stands ready that nobody takes. Whoever edits publishes again within minutes; an executor that nobody asks
/// for anything comes to rest.
const IDLE: Duration = Duration::from_secs(600);

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

/// What is worth being made ahead, and what stands ready. Clones are the same one.
#[derive(Clone)]
pub struct Shelf(Arc<Inner>);

struct Inner {
    capacity: usize,
    /// What was triggered last comes first.
    wanted: Mutex<Wanted>,
    changed: Notify,
    names: Names,
}

#[derive(Default)]
struct Wanted {
    places: Vec<Place>,
    closed: bool,
}

/// What builds of one project, branch and root directory find.
struct Place {
    spec: BuildSpec,
    since: Instant,
    holds: Holds,
}

enum Holds {
    Nothing,
    /// It is being made; what is dropped here tells those who wait for it.
    Making {
        _told: watch::Sender<()>,
        tell: watch::Receiver<()>,
    },
    Ready(Box<Staged>),
}

impl Shelf {
    /// Makes room for so many.
    pub fn new(capacity: usize) -> Self {
        let (wanted, changed, names) = (Mutex::default(), Notify::new(), Names::default());
        Self(Arc::new(Inner { capacity, wanted, changed, names }))
    }

    /// Returns the names under which something was made ahead that is on the shelf, or in use by a build.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// Says that a build of this kind has ended, and that another one may come. Returns what there is no room for any more.
    #[must_use]
    pub fn want(&self, spec: &BuildSpec, outcome: &Outcome) -> Vec<Staged> {
        let mut wanted = self.wanted();
        if wanted.closed || self.0.capacity == 0 || !is_worth_it(spec, outcome) {
            return Vec::new();
        }
        let mut out: Vec<Place> = wanted.places.extract_if(.., |place| place.is_of(spec)).collect();
        let spec =
            BuildSpec { variables: Vec::new(), body: Vec::new(), title: String::new(), ..spec.clone() };
        wanted.places.insert(0, Place { spec, since: Instant::now(), holds: Holds::Nothing });
        let kept = self.0.capacity.min(wanted.places.len());
        out.extend(wanted.places.drain(kept..));
        self.0.changed.notify_one();
        ready(out)
    }

    /// Forgets a project, or one of its branches, and returns what stood ready for it.
    #[must_use]
    pub fn forget(&self, project: &str, branch: Option<&str>) -> Vec<Staged> {
        let is_meant = |place: &mut Place| {
            place.spec.project_id.to_string() == project
                && branch.is_none_or(|branch| place.spec.branch.as_str() == branch)
        };
        ready(self.wanted().places.extract_if(.., is_meant).collect())
    }

    /// Forgets what nobody has asked for in a long while, and returns what stood ready for it.
    #[must_use]
    pub fn expired(&self) -> Vec<Staged> {
        ready(self.wanted().places.extract_if(.., |place| place.since.elapsed() >= IDLE).collect())
    }

    /// Returns when something has to be forgotten next.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.wanted().places.iter().map(|place| place.since + IDLE).min()
    }

    /// Makes nothing ready any more, and returns what there is.
    #[must_use]
    pub fn close(&self) -> Vec<Staged> {
        let mut wanted = self.wanted();
        wanted.closed = true;
        ready(std::mem::take(&mut wanted.places))
    }

    /// Tells whether something is worth being made.
    pub fn is_wanting(&self) -> bool {
        self.wanted().places.iter().any(|place| matches!(place.holds, Holds::Nothing))
    }

    /// Waits until that may have changed. A change that came while nobody waited is heard by the next who does.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Returns what is to be made next: builds that come for it meanwhile wait for [`Shelf::put`].
    pub fn begin(&self) -> Option<BuildSpec> {
        let mut wanted = self.wanted();
        let place = wanted.places.iter_mut().find(|place| matches!(place.holds, Holds::Nothing))?;
        let (told, tell) = watch::channel(());
        place.holds = Holds::Making { _told: told, tell };
        Some(place.spec.clone())
    }

    /// Puts what was made where it is wanted, and returns it where it is not wanted any more. What cannot be made is not tried
    /// again before the next build.
    #[must_use]
    pub fn put(&self, spec: &BuildSpec, made: Option<Staged>) -> Option<Staged> {
        let mut wanted = self.wanted();
        let is_made = |place: &Place| place.is_of(spec) && matches!(place.holds, Holds::Making { .. });
        let at = wanted.places.iter().position(is_made);
        match (at, made) {
            (Some(at), Some(staged)) => wanted.places[at].holds = Holds::Ready(Box::new(staged)),
            (Some(at), None) => drop(wanted.places.remove(at)),
            (None, made) => return made,
        }
        None
    }

    /// Takes what stands ready for a build, when it has been made if that is under way. Nothing is made for its place then
    /// until it has ended.
    async fn take(&self, spec: &BuildSpec) -> Option<Staged> {
        loop {
            let mut made = {
                let mut wanted = self.wanted();
                let at = wanted.places.iter().position(|place| place.is_of(spec))?;
                match &wanted.places[at].holds {
                    Holds::Making { tell, .. } => tell.clone(),
                    Holds::Nothing | Holds::Ready(_) => {
                        return ready(vec![wanted.places.remove(at)]).pop();
                    }
                }
            };
            // An error is what is waited for.
            let _ = made.changed().await;
        }
    }

    fn knows(&self, spec: &BuildSpec) -> bool {
        self.wanted().places.iter().any(|place| place.is_of(spec))
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn is_of(&self, spec: &BuildSpec) -> bool {
        let of = |it: &BuildSpec| (it.project_id, it.branch.clone(), it.settings.root_directory.clone());
        of(&self.spec) == of(spec)
    }
}

fn ready(places: Vec<Place>) -> Vec<Staged> {
    let ready = places.into_iter().filter_map(|place| match place.holds {
        Holds::Ready(staged) => Some(*staged),
        Holds::Nothing | Holds::Making { .. } => None,
    });
    ready.collect()
}

/// Tells whether the next build like one that ended is likely to begin as it did. Submodules and large files are of other
/// people's servers, which nobody goes to ahead of a build.
fn is_worth_it(spec: &BuildSpec, outcome: &Outcome) -> bool {
    let will_come = match outcome {
        Outcome::Ready { .. } => true,
        Outcome::Skipped { reason } => *reason == CancelReason::IgnoredByCommand,
        Outcome::Failed { failure } => failure.fault() == Fault::User,
        Outcome::Canceled => false,
    };
    let settings = &spec.settings;
    will_come && spec.hook.is_some() && spec.use_cache && !settings.submodules && !settings.lfs
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

    /// Takes what was made ahead of a build, where it is what would be made for it now.
    pub(super) async fn take_ahead(
        &self,
        spec: &BuildSpec,
        limits: &BuildLimits,
        wishes: &Wishes,
    ) -> Option<(Workspace, Staged)> {
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
        let fits = staged.is_for(spec)
            && staged.ground.image == image
            && staged.limits == *limits
            && staged.sandbox.runs()
            && self.caches.renew(&mut staged.cache, &build)
            && staged.workspace.give_body(&spec.body).is_ok();
        let outcome = if fits { "taken" } else { "thrown_away" };
        metrics::counter!("grapnel_executor_started_ahead_total", "outcome" => outcome).increment(1);
        if !fits {
            tracing::info!(attempt = %spec.id, "what was started ahead is not what the build needs, and is thrown away");
            let this = self.clone();
            self.cleanups.spawn(async move {
                tokio::time::sleep(OUT_OF_THE_WAY).await;
                this.remove_staged(staged).await;
            });
            return None;
        }
        crash_point("ahead.taken");
        Some((staged.workspace.clone(), staged))
    }

    /// Removes what no build has taken, beside whatever comes next.
    pub fn throw_away(&self, staged: Staged) {
        let this = self.clone();
        self.cleanups.spawn(async move { this.remove_staged(staged).await });
    }

    async fn remove_staged(&self, Staged { cache, sandbox, workspace, .. }: Staged) {
        if let Err(error) = sandbox.remove().await {
            tracing::warn!(%error, "a sandbox that was started ahead cannot be removed; the next sweep tries again");
        }
        self.caches.release(cache).await;
        workspace.remove().await;
    }
}

impl Staged {
    /// Tells whether it was made of what a build is to be made of.
    fn is_for(&self, spec: &BuildSpec) -> bool {
        let made_for = &self.spec;
        made_for.project_id == spec.project_id
            && made_for.repository == spec.repository
            && made_for.access == spec.access
            && made_for.branch == spec.branch
            && made_for.commit == spec.commit
            && made_for.production == spec.production
            && made_for.settings == spec.settings
    }
}

impl Story<'_> {
    /// Lays the ground for a build to come, and waits until it can begin at once.
    async fn lay_ahead(&mut self) -> Result<Option<(Ground, Prepared, RunningSandbox)>, Failure> {
        let Some(mut ground) = self.lay_ground().await? else { return Ok(None) };
        if ground.plan.install_is_plain && self.pipeline.skip_unchanged_install {
            ground.tree = install::tree_of(self).await;
        }
        if let Some(sandbox) = &mut self.sandbox {
            let connected = sandbox.connected(Step::Cache, self.recorder).await;
            connected.map_err(|not| not_connected(not, self.spec))?;
        }
        let (Some(cache), Some(sandbox)) = (self.cache.take(), self.sandbox.take()) else { return Ok(None) };
        Ok(Some((ground, cache, sandbox)))
    }
}
