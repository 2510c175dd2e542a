//! The rules of superseding, leases and attempts, over every order of a few triggers, pushes and faults. What decides is the
//! domain's own code, which the services call as this does; only around it is the model.

use std::{collections::BTreeSet, thread, time::Duration};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    deployment::{CancelReason, State, Transition},
    ending::{Held, after_attempt},
    event::Outcome,
    failure::{Failure, FailureCode},
    id::DeploymentId,
    trigger::{Fate, Unfinished, Waiting, when_resolved, when_stored},
};
use stateright::{Checker as _, Model, Property};

/// The ids of deployments, in order.
const IDS: [&str; 4] = [
    "dpl_01h455vb4pex5vsknk084sn02q",
    "dpl_01h455vb4pex5vsknk084sn02r",
    "dpl_01h455vb4pex5vsknk084sn02s",
    "dpl_01h455vb4pex5vsknk084sn02t",
];

/// The names under which hooks services hold leases.
const OWNERS: [&str; 2] = ["one", "two"];

const EXECUTORS: u8 = 2;

/// How often what may happen.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    triggers: u8,
    pushes: u8,
    faults: u8,
    /// Whether superseding has gone on for as long as it may.
    over: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Deployment {
    state: State,
    version: Option<u8>,
    attempt: u32,
    owner: Option<usize>,
    executor: Option<u8>,
    asked: bool,
}

/// An attempt on an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Run {
    executor: u8,
    deployment: usize,
    attempt: u32,
}

/// What a hooks service does about an attempt, whether its lease has run out or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Work {
    owner: usize,
    run: Run,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    /// The executor is to be asked.
    Asks,
    /// It has accepted, and that is to be stored.
    Accepted,
    /// It is followed.
    Follows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum End {
    Ready,
    Lost,
    Canceled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    deployments: Vec<Deployment>,
    /// Which version the branch is at.
    head: u8,
    runs: BTreeSet<Run>,
    /// What executors tell of attempts that have ended, to whoever asks, as often as it is asked.
    ends: BTreeSet<(Run, End)>,
    work: BTreeSet<Work>,
    artifacts: BTreeSet<usize>,
    address: Option<usize>,
    triggers: u8,
    pushes: u8,
    faults: u8,
    /// Somebody's word did not count.
    fenced: bool,
    /// What was promised and does not hold.
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Trigger,
    Push,
    Resolve(usize),
    Claim(usize, usize, u8),
    Ask(Work),
    Store(Work),
    Ends(Run, End),
    Hear(Work, End),
    RunsOut(usize),
    TakeOver(usize, usize),
    /// An executor that is there still is taken for lost.
    GiveUp(Work),
    EndGivenUp(Run),
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn id(deployment: usize) -> DeploymentId {
    IDS[deployment].parse().expect("it is an id")
}

impl Bounds {
    /// Whether nothing can happen any more.
    fn is_the_end(&self, world: &World) -> bool {
        let mut actions = Vec::new();
        self.actions(world, &mut actions);
        actions.is_empty()
    }

    fn unfinished(self, world: &World, index: usize) -> Unfinished {
        let it = &world.deployments[index];
        Unfinished {
            id: id(index),
            state: it.state,
            commit: it.version.map(|version| version.to_string()),
            waiting_since: if self.over { DateTime::UNIX_EPOCH } else { now() },
        }
    }

    fn trigger(self, world: &mut World) {
        let mut answered = false;
        for index in (0..world.deployments.len()).rev() {
            match when_stored(&self.unfinished(world, index), Waiting::default(), now()) {
                Fate::GoesOn => {}
                Fate::Superseded => world.cancel(index),
                Fate::AnswersToo => answered = true,
            }
        }
        if !answered {
            world.deployments.push(Deployment {
                state: State::Pending,
                version: None,
                attempt: 0,
                owner: None,
                executor: None,
                asked: false,
            });
        }
    }

    fn resolve(self, world: &mut World, index: usize) {
        world.apply(index, Transition::Resolve);
        let commit = world.head.to_string();
        world.deployments[index].version = Some(world.head);
        for older in 0..index {
            let it = self.unfinished(world, older);
            if when_resolved(&it, id(index), &commit, Waiting::default(), now()) == Fate::Superseded {
                world.cancel(older);
            }
        }
    }
}

impl World {
    fn apply(&mut self, index: usize, by: Transition) {
        match self.deployments[index].state.apply(by) {
            Ok(state) => self.deployments[index].state = state,
            Err(_) => self.broken = Some("a state was changed in a way that the table does not have"),
        }
    }

    /// Ends what waits, and asks what runs to end.
    fn cancel(&mut self, index: usize) {
        if self.deployments[index].state == State::Building {
            self.deployments[index].asked = true;
        } else {
            self.apply(index, Transition::Cancel);
        }
    }

    /// Whether no build of the same version runs that is let finish first.
    fn may_start(&self, index: usize) -> bool {
        let own = &self.deployments[index];
        self.deployments[..index]
            .iter()
            .all(|older| older.version != own.version || older.state != State::Building || older.asked)
    }

    /// Whoever has lost its lease stops, and ends what it began.
    fn fenced(&mut self, work: Work) {
        self.fenced = true;
        self.work.remove(&work);
        self.end(work.run, End::Canceled);
    }

    fn end(&mut self, run: Run, end: End) {
        if self.runs.remove(&run) {
            self.ends.insert((run, end));
        }
    }

    fn store_started(&mut self, work: Work) {
        let it = &mut self.deployments[work.run.deployment];
        if it.owner != Some(work.owner) || it.state != State::Queued {
            return self.fenced(work);
        }
        it.attempt = work.run.attempt;
        self.apply(work.run.deployment, Transition::Start);
        self.work.remove(&work);
        self.work.insert(Work { step: Step::Follows, ..work });
    }

    fn finish(&mut self, work: Work, end: End) {
        let index = work.run.deployment;
        let it = &self.deployments[index];
        let held = Held { by: it.owner.map(|owner| OWNERS[owner]), attempt: it.attempt };
        if !held.counts(OWNERS[work.owner], work.run.attempt) {
            return self.fenced(work);
        }
        let outcome = match end {
            End::Ready => Outcome::Ready { files: 1, bytes: 1 },
            End::Lost => Outcome::Failed { failure: Failure::new(FailureCode::ExecutorLost, "") },
            End::Canceled => Outcome::Canceled,
        };
        let newest = self.deployments.len() - 1;
        let asked = it.asked.then(|| CancelReason::Superseded { by: id(newest) });
        let (mut transition, change) = after_attempt(work.run.attempt, outcome, asked);
        // Whoever was let finish first and lost its attempt hands over to the newer one of its version.
        let same = |other: &Deployment| !other.state.is_final() && other.version == it.version;
        if transition == Transition::Retry && self.deployments[index + 1..].iter().any(same) {
            transition = Transition::Cancel;
        }
        self.apply(index, transition);
        if transition != Transition::Cancel && self.deployments[index].state != change.state {
            self.broken = Some("the event tells another state than the table");
        }
        self.deployments[index].owner = None;
        self.work.remove(&work);
        if transition == Transition::Publish {
            // As the store's statement says: an address never serves an older one than it did.
            self.address = self.address.max(Some(index));
        }
    }

    /// Whether nobody waits for an attempt that runs.
    fn is_given_up(&self, run: Run) -> bool {
        let it = &self.deployments[run.deployment];
        let here =
            it.state == State::Building && it.attempt == run.attempt && it.executor == Some(run.executor);
        it.state.is_final() || (it.attempt >= run.attempt && !here)
    }
}

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            deployments: Vec::new(),
            head: 0,
            runs: BTreeSet::new(),
            ends: BTreeSet::new(),
            work: BTreeSet::new(),
            artifacts: BTreeSet::new(),
            address: None,
            triggers: self.triggers,
            pushes: self.pushes,
            faults: self.faults,
            fenced: false,
            broken: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let may_fail = world.faults > 0;
        actions.extend((world.triggers > 0).then_some(Action::Trigger));
        actions.extend((world.pushes > 0).then_some(Action::Push));
        for (index, it) in world.deployments.iter().enumerate() {
            let busy = |owner| world.work.iter().any(|it| it.owner == owner && it.run.deployment == index);
            let owners = (0..OWNERS.len()).filter(|owner| !busy(*owner));
            // Which of them is the first makes no difference.
            let is_first = world.deployments.iter().all(|it| it.executor.is_none());
            match it.state {
                State::Pending => actions.push(Action::Resolve(index)),
                State::Queued if is_first => actions.push(Action::Claim(index, 0, 0)),
                State::Queued if it.owner.is_none() && world.may_start(index) => {
                    for owner in owners {
                        actions.extend((0..EXECUTORS).map(|executor| Action::Claim(index, owner, executor)));
                    }
                }
                State::Building if it.owner.is_none() => {
                    actions.extend(owners.map(|owner| Action::TakeOver(index, owner)));
                }
                _ => {}
            }
            if may_fail && it.owner.is_some() && !it.state.is_final() {
                actions.push(Action::RunsOut(index));
            }
        }
        for work in &world.work {
            match work.step {
                Step::Asks => actions.push(Action::Ask(*work)),
                Step::Accepted => actions.push(Action::Store(*work)),
                Step::Follows => {
                    let told = world.ends.iter().filter(|(run, _)| *run == work.run);
                    actions.extend(told.map(|(_, end)| Action::Hear(*work, *end)));
                    if world.deployments[work.run.deployment].asked && world.runs.contains(&work.run) {
                        actions.push(Action::Ends(work.run, End::Canceled));
                    }
                    actions.extend(may_fail.then_some(Action::GiveUp(*work)));
                }
            }
        }
        for run in &world.runs {
            actions.push(Action::Ends(*run, End::Ready));
            actions.extend(may_fail.then_some(Action::Ends(*run, End::Lost)));
            actions.extend(world.is_given_up(*run).then_some(Action::EndGivenUp(*run)));
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Trigger => {
                world.triggers -= 1;
                self.trigger(&mut world);
            }
            Action::Push => {
                world.pushes -= 1;
                world.head += 1;
            }
            Action::Resolve(index) => self.resolve(&mut world, index),
            Action::Claim(index, owner, executor) => {
                let it = &mut world.deployments[index];
                (it.owner, it.executor) = (Some(owner), Some(executor));
                let run = Run { executor, deployment: index, attempt: it.attempt + 1 };
                world.work.insert(Work { owner, run, step: Step::Asks });
            }
            Action::Ask(work) => {
                // Asked again it is the same attempt.
                if !world.ends.iter().any(|(run, _)| *run == work.run) {
                    world.runs.insert(work.run);
                }
                world.work.remove(&work);
                world.work.insert(Work { step: Step::Accepted, ..work });
            }
            Action::Store(work) => world.store_started(work),
            Action::Ends(run, end) => {
                world.faults -= u8::from(end == End::Lost);
                if end == End::Ready {
                    // The first artifact stands.
                    world.artifacts.insert(run.deployment);
                }
                world.end(run, end);
            }
            Action::Hear(work, end) => world.finish(work, end),
            Action::RunsOut(index) => {
                world.faults -= 1;
                world.deployments[index].owner = None;
            }
            Action::TakeOver(index, owner) => {
                let it = &mut world.deployments[index];
                it.owner = Some(owner);
                let run = Run { executor: it.executor?, deployment: index, attempt: it.attempt };
                world.work.insert(Work { owner, run, step: Step::Follows });
            }
            Action::GiveUp(work) => {
                world.faults -= 1;
                world.finish(work, End::Lost);
            }
            Action::EndGivenUp(run) => world.end(run, End::Canceled),
        }
        if before.address > world.address {
            world.broken = Some("an address went back");
        }
        for (was, is) in before.deployments.iter().zip(&world.deployments) {
            if was.state.is_final() && was.state != is.state {
                world.broken = Some("a final state changed");
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what was promised holds", |_, world: &World| world.broken.is_none()),
            Property::always("what is READY has its artifact", |_, world: &World| {
                let ready = |index: &usize| world.deployments[*index].state == State::Ready;
                (0..world.deployments.len()).filter(ready).all(|index| world.artifacts.contains(&index))
            }),
            Property::always("in the end all has ended, and nothing runs", |bounds: &Self, world: &World| {
                !bounds.is_the_end(world)
                    || (world.runs.is_empty() && world.deployments.iter().all(|it| it.state.is_final()))
            }),
            Property::always("a version is waited for once", |bounds: &Self, world: &World| {
                let live = |it: &&Deployment| it.version.is_some() && !it.state.is_final() && !it.asked;
                let versions: Vec<_> = world.deployments.iter().filter(live).map(|it| it.version).collect();
                let different: BTreeSet<_> = versions.iter().collect();
                bounds.over || different.len() == versions.len()
            }),
            Property::always("the last trigger is answered", |_, world: &World| {
                world.deployments.last().is_none_or(|it| it.state != State::Canceled && !it.asked)
            }),
            Property::sometimes("a second attempt is READY", |_, world: &World| {
                world.deployments.iter().any(|it| it.state == State::Ready && it.attempt == 2)
            }),
            Property::sometimes("somebody's word comes too late", |_, world: &World| world.fenced),
            Property::sometimes("an attempt that was given up publishes", |_, world: &World| {
                let mut deployments = world.deployments.iter().enumerate();
                deployments.any(|(index, it)| it.state == State::Queued && world.artifacts.contains(&index))
            }),
            Property::sometimes("a newer one is served while an older one is built", |_, world: &World| {
                let older = world.address.map_or(&[][..], |address| &world.deployments[..address]);
                older.iter().any(|it| it.state == State::Building)
            }),
        ]
    }
}

fn explore(bounds: Bounds) {
    let threads = thread::available_parallelism().map_or(1, Into::into);
    let checker = bounds.checker().threads(threads).spawn_bfs().join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn every_order_of_two_triggers_and_two_faults_keeps_what_is_promised() {
    explore(Bounds { triggers: 2, pushes: 0, faults: 2, over: false });
}

#[test]
fn so_does_every_order_of_two_triggers_a_push_and_a_fault() {
    explore(Bounds { triggers: 2, pushes: 1, faults: 1, over: false });
}

#[test]
fn so_does_every_order_of_them_with_a_fault_where_a_hook_has_waited_for_as_long_as_it_may() {
    explore(Bounds { triggers: 2, pushes: 1, faults: 1, over: true });
}
