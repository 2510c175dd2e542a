//! Random histories of one hook, against what has to hold whatever happens in them.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use grapnel_domain::{
    deployment::{CancelReason, State},
    event::Outcome,
    failure::{Failure, FailureCode},
    id::DeploymentId,
    trigger::Waiting,
};
use grapnel_hooks::{
    app::{Answered, App, Brought, NewHook, TriggerTarget},
    model::{Deployment, Hook, Team},
    store::{Claim, Claimed, deployments::DeploymentFilter, projects::ProjectRef},
};
use grapnel_runtime::{Clock, clock::ClockHand};
use proptest::prelude::*;

use crate::support::app_at;

const OWNER: &str = "dispatcher";
const LEASE: Duration = Duration::from_secs(3_600);
const MAX_WAIT: Duration = Duration::from_secs(40);

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody requests the hook.
    Trigger,
    /// Somebody pushes to its branch.
    Push,
    /// The waiting deployment is resolved to where the branch is.
    Resolve,
    /// A slot is free.
    Start,
    /// The oldest build that runs ends like this.
    Finish(End),
    /// Time passes.
    Wait(u8),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Ready,
    Failed,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![4 => Just(End::Ready), 1 => Just(End::Failed), 1 => Just(End::Lost)];
    prop_oneof![
        5 => Just(Step::Trigger),
        1 => Just(Step::Push),
        4 => Just(Step::Resolve),
        3 => Just(Step::Start),
        2 => end.prop_map(Step::Finish),
        2 => (1..30_u8).prop_map(Step::Wait),
    ]
}

/// A hook, and what the history has done to it.
struct World {
    app: App,
    team: Team,
    project: ProjectRef,
    hook: Hook,
    hand: ClockHand,
    head: u32,
    running: Vec<Claimed>,
    /// When each deployment was last the answer to a trigger.
    answered: BTreeMap<DeploymentId, DateTime<Utc>>,
    triggers: u32,
    served: Option<DeploymentId>,
}

impl World {
    async fn new(url: &str, quiet_period: Duration) -> Self {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let (app, team, project) = app_at(url, clock).await;
        let waiting = Waiting { quiet_period, max_wait: MAX_WAIT };
        let new = NewHook { waiting, ..NewHook::named("cms".parse().unwrap()) };
        let hook = app.create_hook(team.id, &project, new).await.unwrap().hook;
        Self {
            app,
            team,
            project,
            hook,
            hand,
            head: 0,
            running: Vec::new(),
            answered: BTreeMap::new(),
            triggers: 0,
            served: None,
        }
    }

    async fn happens(&mut self, step: Step) {
        // No two things happen at one moment.
        self.hand.advance(TimeDelta::milliseconds(10));
        let now = self.app.clock.now();
        match step {
            Step::Trigger => {
                let target = TriggerTarget::Hook { team: self.team.id, hook: self.hook.id };
                let answered = self.app.trigger_hook(target, Brought::default()).await.unwrap();
                let Answered::Job(deployment, _) = answered else { panic!("it was ignored") };
                self.answered.insert(deployment.id, now);
                self.triggers += 1;
            }
            Step::Push => self.head += 1,
            Step::Resolve => {
                let commit = format!("{:040}", self.head);
                for claimed in self.claim(Claim::Pending).await {
                    self.app.store.resolved(claimed.deployment.id, OWNER, &commit, "", now).await.unwrap();
                }
            }
            Step::Start => {
                for claimed in self.claim(Claim::Queued).await {
                    self.app.store.started(claimed.spec.id, OWNER, now).await.unwrap();
                    self.running.push(claimed);
                }
            }
            Step::Finish(end) if !self.running.is_empty() => self.finish(end).await,
            Step::Finish(_) => {}
            Step::Wait(seconds) => self.hand.advance(TimeDelta::seconds(seconds.into())),
        }
    }

    async fn claim(&self, which: Claim) -> Vec<Claimed> {
        self.app.store.claim(which, OWNER, LEASE, 10, self.app.clock.now()).await.unwrap()
    }

    async fn finish(&mut self, end: End) {
        let claimed = self.running.remove(0);
        let asked = self.app.deployment(self.team.id, claimed.deployment.id).await.unwrap().cancel_requested;
        let failed = |code| Outcome::Failed { failure: Failure::new(code, "so it happened") };
        let outcome = match end {
            _ if asked.is_some() => Outcome::Canceled,
            End::Ready => Outcome::Ready { files: 1, bytes: 1 },
            End::Failed => failed(FailureCode::BuildFailed),
            End::Lost => failed(FailureCode::SandboxLost),
        };
        self.app.store.finished(claimed.spec.id, OWNER, outcome, self.app.clock.now()).await.unwrap();
    }

    async fn all(&self) -> Vec<Deployment> {
        let filter = DeploymentFilter::default();
        let page = self.app.list_deployments(self.team.id, &self.project, filter, None, 200).await.unwrap();
        assert!(!page.more, "the history is short");
        page.items
    }

    /// What holds after every step.
    async fn holds(&mut self) {
        let all = self.all().await;
        let in_state = |state: State| all.iter().filter(move |it| it.state == state);
        assert!(in_state(State::Pending).count() <= 1, "two wait for their version");
        for it in in_state(State::Queued) {
            let same = |other: &&Deployment| other.commit == it.commit && other.cancel_requested.is_none();
            assert_eq!(in_state(State::Queued).filter(same).count(), 1, "two wait at one version");
            for older in in_state(State::Building).filter(same) {
                assert!(older.id < it.id, "a build runs beside an older one that waits");
            }
        }
        for it in in_state(State::Building).filter(|it| it.cancel_requested.is_none()) {
            let beside = in_state(State::Building)
                .filter(|other| other.commit == it.commit && other.cancel_requested.is_none());
            assert_eq!(beside.count(), 1, "two builds of one version run");
        }
        let served = all.iter().filter(|it| it.promoted).map(|it| it.id).max();
        assert!(served >= self.served, "the address went back");
        self.served = served;
    }

    /// Lets everything come to its end, and checks that no trigger was lost on the way.
    async fn comes_to_its_end(&mut self) {
        for _ in 0..200 {
            self.happens(Step::Wait(30)).await;
            for step in [Step::Resolve, Step::Start, Step::Finish(End::Ready)] {
                self.happens(step).await;
                self.holds().await;
            }
            if self.all().await.iter().all(|it| it.state.is_final()) {
                break;
            }
        }
        let all: BTreeMap<_, _> = self.all().await.into_iter().map(|it| (it.id, it)).collect();
        for (id, at) in &self.answered {
            let mut answer = &all[id];
            while let Some(CancelReason::Superseded { by }) = answer.canceled {
                assert!(by > answer.id, "an older one took the place of a newer one");
                answer = &all[&by];
            }
            assert!(matches!(answer.state, State::Ready | State::Error), "a trigger was lost: {answer:?}");
            assert!(answer.building_at.unwrap() > *at, "the answer had begun before the question");
        }
        let ended = all.values().filter(|it| it.state != State::Canceled);
        let counted: u32 = ended.map(|it| it.trigger_count).sum();
        assert_eq!(counted, self.triggers, "every trigger is answered once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_moved_back(
        steps in proptest::collection::vec(step(), 1..40),
        quiet in prop_oneof![Just(0_u64), Just(12)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}/grapnel.db", directory.path().display());
            let mut world = World::new(&url, Duration::from_secs(quiet)).await;
            for step in steps {
                world.happens(step).await;
                world.holds().await;
            }
            world.comes_to_its_end().await;
        });
    }
}
