//! What is worth being made ahead, by the hooks that were triggered last, and what stands ready.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use grapnel_domain::{build::BuildSpec, deployment::CancelReason, event::Outcome, failure::Fault};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::Staged;
use crate::workspace::Names;

/// How long one stands ready that nobody takes. Whoever edits publishes again within minutes; an executor that nobody asks
/// for anything comes to rest.
const IDLE: Duration = Duration::from_secs(600);

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
    pub(super) async fn take(&self, spec: &BuildSpec) -> Option<Staged> {
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

    pub(super) fn knows(&self, spec: &BuildSpec) -> bool {
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
