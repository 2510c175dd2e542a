//! Triggers that come together: one transaction, and to each its own answer; on both databases.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use futures_util::future::join_all;
use grapnel_domain::{
    Error, Reason,
    deployment::{CancelReason, State},
    id::HookId,
    trigger::Decision,
};
use grapnel_hooks::{
    app::{Answered, App, Brought, HookChanges, NewHook, TriggerRates, TriggerTarget},
    model::{Deployment, Team},
    store::{Store, deployments::DeploymentFilter, ledger::TriggerFilter, projects::ProjectRef},
};
use grapnel_runtime::Clock;

use crate::support::{app_at, on_both};

const CALLERS: usize = 64;

/// A project with hooks at which many call at once.
struct Crowd {
    app: App,
    team: Team,
    project: ProjectRef,
    hooks: Vec<HookId>,
}

impl Crowd {
    async fn gather(url: &str) -> Self {
        let (app, team, project) = app_at(url, Clock::system()).await;
        let mut hooks = Vec::new();
        for name in ["one", "two", "three", "four"] {
            let new = NewHook::named(name.parse().unwrap());
            hooks.push(app.create_hook(team.id, &project, new).await.unwrap().hook.id);
        }
        Self { app, team, project, hooks }
    }

    async fn call(&self, app: &App, hook: HookId, brought: Brought) -> Result<(Deployment, Decision), Error> {
        let target = TriggerTarget::Hook { team: self.team.id, hook };
        match app.trigger_hook(target, brought).await? {
            Answered::Job(deployment, decision) => Ok((*deployment, decision)),
            Answered::Ignored => panic!("it was ignored"),
        }
    }

    async fn deployments(&self) -> Vec<Deployment> {
        let filter = DeploymentFilter::default();
        self.app.list_deployments(self.team.id, &self.project, filter, None, 1_000).await.unwrap().items
    }

    async fn ledger(&self) -> usize {
        let filter = TriggerFilter::default();
        self.app.list_triggers(self.team.id, &self.project, filter, None, 1_000).await.unwrap().items.len()
    }

    /// Checks that the newest deployment of each hook answers all of its triggers.
    async fn nothing_is_lost(&self, triggers: usize) {
        let all = self.deployments().await;
        assert_eq!(self.ledger().await, triggers, "the ledger has a row for each");
        let waiting: Vec<_> = all.iter().filter(|it| it.state == State::Pending).collect();
        let hooks: BTreeSet<_> = waiting.iter().map(|it| it.hook.as_ref().unwrap().0).collect();
        assert_eq!(
            (waiting.len(), hooks.len()),
            (self.hooks.len(), self.hooks.len()),
            "one waits of each hook"
        );
        let answered: u32 = waiting.iter().map(|it| it.trigger_count).sum();
        assert_eq!(answered as usize, triggers, "each trigger is answered by one that waits");
        for it in all.iter().filter(|it| it.state != State::Pending) {
            assert!(matches!(it.canceled, Some(CancelReason::Superseded { .. })), "{it:?}");
        }
        let mut used = 0;
        for hook in &self.hooks {
            used += self.app.hook(self.team.id, *hook).await.unwrap().trigger_count;
        }
        assert_eq!(used as usize, triggers, "each use is counted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_stored_whole_and_everybody_gets_an_answer_of_its_own() {
    on_both(async |url| {
        let crowd = Crowd::gather(&url).await;
        let paused = NewHook::named("paused".parse().unwrap());
        let paused = crowd.app.create_hook(crowd.team.id, &crowd.project, paused).await.unwrap().hook.id;
        let pause = HookChanges { paused: Some(true), ..Default::default() };
        crowd.app.update_hook(crowd.team.id, paused, pause).await.unwrap();
        let nobody = crowd.app.clock.new_id();
        let calls = (0..CALLERS).map(async |n| {
            let hook = match n % 8 {
                6 => paused,
                7 => nobody,
                n => crowd.hooks[n % 4],
            };
            (n % 8, crowd.call(&crowd.app, hook, Brought::default()).await)
        });
        let mut jobs = BTreeSet::new();
        for (kind, answer) in join_all(calls).await {
            match (kind, answer) {
                (6, answer) => assert_eq!(answer.unwrap_err().reason, Reason::HookPaused),
                (7, answer) => assert_eq!(answer.unwrap_err().reason, Reason::HookNotFound),
                (_, answer) => {
                    let (deployment, decision) = answer.unwrap();
                    assert_eq!(decision, Decision::Accepted);
                    assert!(jobs.insert(deployment.id), "two triggers were given one deployment");
                }
            }
        }
        assert_eq!(jobs.len(), CALLERS / 8 * 6);
        assert_eq!(crowd.deployments().await.len(), jobs.len());
        // The paused hook's are in the ledger too; those of nobody's are nowhere.
        assert_eq!(crowd.ledger().await, CALLERS / 8 * 7);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_store_bursts_of_the_same_hooks_lose_nothing_and_nobody_is_refused() {
    on_both(async |url| {
        let crowd = Crowd::gather(&url).await;
        let mut other = crowd.app.clone();
        other.store = Store::open(&url).await.unwrap();
        let calls = (0..4 * CALLERS).map(|n| {
            let app = if n % 2 == 0 { &crowd.app } else { &other };
            // Each process meets the hooks in another order.
            let hook = if n % 2 == 0 { n / 2 % 4 } else { 3 - n / 2 % 4 };
            crowd.call(app, crowd.hooks[hook], Brought::default())
        });
        for answer in join_all(calls).await {
            answer.unwrap();
        }
        crowd.nothing_is_lost(4 * CALLERS).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_in_a_burst_is_one_deployment() {
    on_both(async |url| {
        let crowd = Crowd::gather(&url).await;
        let calls = (0..CALLERS).map(|_| {
            let brought = Brought { idempotency_key: "publish-7".into(), ..Brought::default() };
            crowd.call(&crowd.app, crowd.hooks[0], brought)
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let jobs: BTreeSet<_> = answers.iter().map(|(deployment, _)| deployment.id).collect();
        let accepted = answers.iter().filter(|(_, decision)| *decision == Decision::Accepted).count();
        assert_eq!((jobs.len(), accepted), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_one_trigger_is_that_ones_answer_and_counts_for_nobody_twice() {
    on_both(async |url| {
        let mut crowd = Crowd::gather(&url).await;
        // So few a minute that none is given back while this runs.
        let (hook, plenty) = (NonZeroU32::new(4).unwrap(), NonZeroU32::new(1_000).unwrap());
        crowd.app.rates = TriggerRates::new(hook, plenty);
        let calls = (0..4).map(async |n| {
            // PostgreSQL takes no such commit, and SQLite any.
            let commit = (n == 2).then(|| "f".repeat(100));
            let brought = Brought { commit, ..Brought::default() };
            (n, crowd.call(&crowd.app, crowd.hooks[0], brought).await)
        });
        for (n, answer) in join_all(calls).await {
            match answer {
                Ok((_, decision)) => assert_eq!(decision, Decision::Accepted, "{n} was counted twice"),
                Err(error) => {
                    assert_eq!((n, error.reason, crowd.app.store.is_shared()), (2, Reason::Internal, true));
                }
            }
        }
        let over = crowd.call(&crowd.app, crowd.hooks[0], Brought::default()).await.unwrap();
        assert_eq!(over.1, Decision::Merged, "all four are counted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_does_not_undo_its_trigger() {
    on_both(async |url| {
        let crowd = Crowd::gather(&url).await;
        let call = crowd.call(&crowd.app, crowd.hooks[0], Brought::default());
        let left = tokio::time::timeout(Duration::ZERO, call).await;
        assert!(left.is_err(), "it was answered before anybody could leave");
        let stored = async {
            while crowd.ledger().await == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), stored).await.expect("it was undone");
        assert_eq!(crowd.deployments().await.len(), 1);
    })
    .await;
}
