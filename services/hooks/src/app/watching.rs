//! Watching: what happens to one deployment, and what changes of many.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::Arc,
};

use futures_util::{Stream, stream};
use grapnel_domain::{
    Error, Reason,
    event::DeploymentEvent,
    id::{DeploymentId, ProjectId, TeamId},
};

use super::App;
use crate::{
    model::{Deployment, StoredEvent},
    store::{Changes, History, LOOK_AGAIN, Page, Store, Watched, projects::ProjectRef},
};

impl App {
    /// Streams a part of a deployment's history and then what happens to it, and ends after its final state.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND` at once; `STORE_UNAVAILABLE` at any time.
    pub async fn watch_deployment(
        &self,
        team: TeamId,
        id: DeploymentId,
        part: Part,
    ) -> Result<impl Stream<Item = Result<Arc<StoredEvent>, Error>> + Send + use<>, Error> {
        // Registered before the first reading, so that nothing falls between history and what follows.
        let history = self.store.history(id);
        let bell = history.bell();
        self.deployment(team, id).await?;
        let watch = Watch { history, bell, part, until: None, read: Vec::new().into_iter(), over: false };
        Ok(stream::try_unfold(watch, Watch::next))
    }

    /// Streams the deployments of a project, or of all that a team has, that are new or changed from now on. It does not end.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND` at once; `STORE_UNAVAILABLE` at any time.
    pub async fn watch_deployments(
        &self,
        team: TeamId,
        project: Option<&ProjectRef>,
    ) -> Result<impl Stream<Item = Result<Change, Error>> + Send + use<>, Error> {
        let project = self.one_or_all(team, project).await?;
        // Registered before the first reading, so that nothing falls between what is there and what changes.
        let bell = self.store.wakeups.watch_all();
        let mut watch = WatchAll {
            store: self.store.clone(),
            bell,
            team,
            project,
            told: HashMap::new(),
            changes: VecDeque::new(),
        };
        watch.look(HashSet::new()).await?;
        watch.changes.clear();
        Ok(stream::try_unfold(watch, WatchAll::next))
    }
}

/// What of a deployment's history somebody is told.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The position after which it begins.
    pub after: u64,
    /// Whether log lines belong to it.
    pub log: bool,
    /// Whether what is still to happen belongs to it.
    pub follow: bool,
}

impl Part {
    /// Everything after a position.
    pub fn all_after(position: u64) -> Self {
        Self { after: position, log: true, follow: true }
    }
}

/// One watcher of a deployment.
struct Watch {
    history: Arc<History>,
    bell: tokio::sync::watch::Receiver<u64>,
    /// What is still to be told.
    part: Part,
    /// What is told of who wants the history alone: as far as it went when it was asked for.
    until: Option<u64>,
    read: std::vec::IntoIter<Arc<StoredEvent>>,
    over: bool,
}

impl Watch {
    async fn next(mut self) -> Result<Option<(Arc<StoredEvent>, Self)>, Error> {
        loop {
            if let Some(event) = self.read.next() {
                self.part.after = event.position;
                self.over = is_last(&event);
                return Ok(Some((event, self)));
            }
            if self.over {
                return Ok(None);
            }
            let rung = *self.bell.borrow_and_update();
            let page = if self.part.log && self.part.follow {
                self.history.after(self.part.after, rung).await
            } else {
                self.history.page(self.part.after, self.part.log).await
            };
            let Page { mut events, last, ended } =
                page.map_err(|error| error.into_error(Reason::DeploymentNotFound))?;
            if !self.part.follow {
                let until = *self.until.get_or_insert(last);
                events.retain(|event| event.position <= until);
            }
            if events.is_empty() && (ended || !self.part.follow) {
                return Ok(None);
            }
            if events.is_empty() {
                // There is nothing but log up to there: it is not looked through again.
                self.part.after = self.part.after.max(last);
                // Rung by this process; another one's changes are found by looking again.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.bell.changed()).await;
            }
            self.read = events.into_iter();
        }
    }
}

fn is_last(event: &StoredEvent) -> bool {
    matches!(&event.event, DeploymentEvent::State(change) if change.state.is_final())
}

/// What happened to one of many deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or not as it was told last.
    Is(Box<Deployment>),
    /// It was deleted.
    Deleted(DeploymentId),
}

/// One watcher of many deployments.
struct WatchAll {
    store: Store,
    bell: Changes,
    team: TeamId,
    project: Option<ProjectId>,
    /// How the newest, and those that go on, were told last; without the end of their histories, which each line of a log moves.
    told: HashMap<DeploymentId, Deployment>,
    changes: VecDeque<Change>,
}

impl WatchAll {
    async fn next(mut self) -> Result<Option<(Change, Self)>, Error> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(Some((change, self)));
            }
            // Rung by this process; another one's changes are found by looking again.
            let named = self.bell.gathered(LOOK_AGAIN).await;
            self.look(named).await?;
        }
    }

    /// Reads what there is and finds what differs. What was told and is not listed any more is asked for by its id: it has
    /// ended, or it is gone.
    async fn look(&mut self, mut ids: HashSet<DeploymentId>) -> Result<(), Error> {
        ids.extend(self.told.keys());
        let found = self.store.watched_deployments(self.team, self.project, ids).await;
        let Watched { listed, named } = found.map_err(|error| error.into_error(Reason::ProjectNotFound))?;
        let mut told = mem::take(&mut self.told);
        let mut present = HashMap::with_capacity(listed.len());
        // The oldest first, as they happened.
        for deployment in named.iter().chain(listed.iter().rev()) {
            let stands = Deployment { last_position: 0, ..deployment.clone() };
            if told.remove(&deployment.id).as_ref() != Some(&stands) {
                self.changes.push_back(Change::Is(Box::new(deployment.clone())));
            }
            present.insert(deployment.id, stands);
        }
        self.changes.extend(told.into_keys().map(Change::Deleted));
        for deployment in named {
            present.remove(&deployment.id);
        }
        self.told = present;
        Ok(())
    }
}
