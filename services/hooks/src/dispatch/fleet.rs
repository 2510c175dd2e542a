//! All executors: where they are, which of them answer, and which of them has room for a build.
//!
//! Each executor is watched over a stream of its own, on which it tells how busy it is whenever that changes. So a slot
//! that becomes free is known at once, and an executor that vanishes is not asked for anything.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use grapnel_domain::secret_token::ApiKey;
use grapnel_runtime::{
    CancellationToken, TaskTracker,
    grpc::{EndError, Tls},
};
use tokio::{net::lookup_host, sync::watch, time::timeout};

use super::{Executor, executor::Slot};
use crate::{
    model::{ExecutorInfo, ExecutorState},
    store::{Affinity, Wakeups},
};

/// How often the addresses behind a name are looked up, and how long that may take.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Where executors are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorAddress {
    /// One of them.
    Url(String),
    /// All that are behind a name.
    Dns {
        /// `https` where there are certificates.
        scheme: &'static str,
        /// The name.
        host: String,
        /// The port of all.
        port: u16,
    },
}

/// How executors are connected to.
#[derive(Clone, Debug)]
pub struct Connect {
    /// What is shown to them.
    pub key: ApiKey,
    /// The certificates.
    pub tls: Option<Tls>,
    /// How long resolving a version may take.
    pub resolve_within: Duration,
    /// How long an executor may be silent before it counts as away.
    pub silence: Duration,
}

/// The executors of an installation, as one process sees them. Clones share everything.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    names: Vec<ExecutorAddress>,
    connect: Connect,
    /// Rung when there may be room that was not there before.
    wakeups: Wakeups,
    members: Mutex<BTreeMap<String, Member>>,
    changed: watch::Sender<()>,
    /// Gives the next one the turn among those that are as good.
    turn: AtomicUsize,
    tasks: TaskTracker,
}

struct Member {
    executor: Executor,
    /// Whether it was found behind a name, and can vanish with it.
    looked_up: bool,
    watching: CancellationToken,
}

impl Fleet {
    /// Takes the addresses. Nothing is connected to before [`Fleet::run`].
    ///
    /// # Errors
    /// An address is none, or the certificates are unusable.
    pub fn new(names: Vec<ExecutorAddress>, connect: Connect, wakeups: Wakeups) -> Result<Self, EndError> {
        let fleet = Self(Arc::new(Inner {
            names,
            connect,
            wakeups,
            members: Mutex::default(),
            changed: watch::channel(()).0,
            turn: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
        }));
        for name in &fleet.0.names {
            if let ExecutorAddress::Url(url) = name {
                fleet.join(url.clone(), None)?;
            }
        }
        Ok(fleet)
    }

    /// Watches all executors, and looks names up, until it is stopped.
    pub async fn run(self, stopping: CancellationToken) {
        let looks_up = self.0.names.iter().any(|name| matches!(name, ExecutorAddress::Dns { .. }));
        self.watch_members(&stopping);
        while looks_up && !stopping.is_cancelled() {
            self.look_up().await;
            self.watch_members(&stopping);
            stopping.run_until_cancelled(tokio::time::sleep(LOOK_UP)).await;
        }
        stopping.cancelled().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Returns all executors, by address.
    pub fn list(&self) -> Vec<ExecutorInfo> {
        self.executors().iter().map(Executor::info).collect()
    }

    /// Returns all executors, whether they answer or not, by address.
    pub fn executors(&self) -> Vec<Executor> {
        self.members().values().map(|member| member.executor.clone()).collect()
    }

    /// Returns the executors that answer, each name once.
    pub fn present(&self) -> Vec<Executor> {
        let mut names = HashSet::new();
        let mut present = self.executors();
        present.retain(|executor| executor.occupancy().is_some_and(|occupancy| names.insert(occupancy.name)));
        present
    }

    /// Returns the executor that answers to a name.
    pub fn named(&self, name: &str) -> Option<Executor> {
        self.present().into_iter().find(|executor| executor.info().name == name)
    }

    /// Waits for the executor of a name; `None` when it does not come in time.
    pub async fn wait_for(&self, name: &str, patience: Duration) -> Option<Executor> {
        let mut changed = self.0.changed.subscribe();
        let coming = async {
            loop {
                if let Some(executor) = self.named(name) {
                    return Some(executor);
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(patience, coming).await.ok().flatten()
    }

    /// Returns whom to ask for a version: whose mirror has the repository, else each in turn; one that takes no builds only
    /// where all are such.
    pub fn resolver(&self, affinity: &Affinity) -> Option<Executor> {
        let mut present = self.present();
        if present.iter().any(|executor| executor.info().state == ExecutorState::Ready) {
            present.retain(|executor| executor.info().state == ExecutorState::Ready);
        }
        let preferred = affinity
            .prefer
            .iter()
            .find_map(|name| present.iter().find(|executor| executor.info().name == *name).cloned());
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        preferred.or_else(|| present.get(turn.checked_rem(present.len())?).cloned())
    }

    /// Returns the free slots of all executors.
    pub fn room(&self) -> Room {
        let free = self.present().into_iter().map(|executor| (executor.free_slots(), executor));
        Room(free.filter(|(slots, _)| *slots > 0).collect())
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, url: String, certified_as: Option<&str>) -> Result<(), EndError> {
        let executor = Executor::new(&url, certified_as, &self.0.connect)?;
        let looked_up = certified_as.is_some();
        let member = Member { executor, looked_up, watching: CancellationToken::new() };
        self.members().entry(url).or_insert(member);
        Ok(())
    }

    /// Watches those that nobody watches yet.
    fn watch_members(&self, stopping: &CancellationToken) {
        for member in self.members().values_mut().filter(|member| !member.executor.begin_watching()) {
            member.watching = stopping.child_token();
            let (executor, inner, watching) =
                (member.executor.clone(), self.0.clone(), member.watching.clone());
            self.0.tasks.spawn(async move {
                let told = || {
                    inner.changed.send_replace(());
                    inner.wakeups.work();
                };
                watching.run_until_cancelled(executor.watch(inner.connect.silence, told)).await;
            });
        }
    }

    /// Takes in the addresses that are behind the names now. One that is there no more is let go when it does not answer
    /// any more either: it may be finishing what it has.
    async fn look_up(&self) {
        for name in &self.0.names {
            let ExecutorAddress::Dns { host, port, scheme } = name else { continue };
            let found = match timeout(LOOK_UP, lookup_host((host.as_str(), *port))).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    tracing::warn!(host, %error, "the executors' name cannot be looked up; those that are known stay");
                    continue;
                }
                Err(_) => {
                    tracing::warn!(
                        host,
                        "the look-up of the executors' name takes too long; those that are known stay"
                    );
                    continue;
                }
            };
            let urls: HashSet<_> = found.map(|address| format!("{scheme}://{address}")).collect();
            let gone = |url: &String, member: &Member| {
                member.looked_up && !urls.contains(url) && member.executor.is_idle_and_away()
            };
            self.members().retain(|url, member| {
                let gone = gone(url, member);
                if gone {
                    tracing::info!(address = url, "an executor is gone");
                    member.watching.cancel();
                }
                !gone
            });
            for url in urls {
                if !self.members().contains_key(&url) {
                    tracing::info!(address = url, "an executor was found");
                    if let Err(error) = self.join(url, Some(host)) {
                        tracing::error!(%error, "an executor's address cannot be used");
                    }
                }
            }
        }
    }
}

/// The free slots of all executors at one moment.
pub struct Room(Vec<(usize, Executor)>);

impl Room {
    /// Returns how many builds there is room for.
    pub fn slots(&self) -> usize {
        self.0.iter().map(|(free, _)| free).sum()
    }

    /// Takes the slot that suits a build best: on the executor that it prefers, for as long as that has one; else where
    /// most are free, and on the one that lost it before only where there is no other.
    pub fn take(&mut self, affinity: &Affinity) -> Option<(Executor, Slot)> {
        let named = |name: &String| self.0.iter().position(|(_, executor)| executor.info().name == *name);
        let best = affinity.prefer.iter().find_map(named);
        let index = best.or_else(|| {
            let avoided = |executor: &Executor| Some(&executor.info().name) == affinity.avoid.as_ref();
            let places = self.0.iter().enumerate();
            let best = places.max_by_key(|(_, (free, executor))| (!avoided(executor), *free));
            best.map(|(index, _)| index)
        })?;
        let (free, executor) = self.0.get_mut(index)?;
        *free -= 1;
        let taken = (executor.clone(), executor.take_slot());
        self.0.retain(|(free, _)| *free > 0);
        Some(taken)
    }
}
