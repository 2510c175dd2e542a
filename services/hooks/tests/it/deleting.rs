//! Deployments that somebody deletes, on both databases.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use grapnel_domain::{
    BranchName, Reason,
    deployment::State,
    event::{BuildEvent, LogLine, Outcome, Step, Stream},
    id::DeploymentId,
};
use grapnel_hooks::{
    app::{Answered, Brought, NewHook, Part, TriggerTarget},
    retention::{Pruned, Pruner, Retention},
    store::{deployments::DeploymentFilter, ledger::TriggerFilter, retention::Claimed},
};
use grapnel_runtime::CancellationToken;

use crate::{addresses::House, support::on_both};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
const READY: Outcome = Outcome::Ready { files: 1, bytes: 1 };

impl House {
    async fn delete(&self, id: DeploymentId) -> Result<(), Reason> {
        self.app.delete_deployment(self.team.id, id).await.map_err(|error| error.reason)
    }

    async fn is_there(&self, id: DeploymentId) -> bool {
        self.app.deployment(self.team.id, id).await.is_ok()
    }

    async fn listed(&self) -> Vec<DeploymentId> {
        let filter = DeploymentFilter::default();
        let page = self.app.list_deployments(self.team.id, &self.project, filter, None, 50).await.unwrap();
        page.items.into_iter().map(|it| it.id).collect()
    }

    /// Removes what nobody is to find any more, and what is older than a year.
    async fn prune(&self, keep_ready: u32) -> Pruned {
        let retention = Retention {
            triggers: YEAR,
            events: YEAR,
            deployments: YEAR,
            logs: YEAR,
            artifacts: YEAR,
            keep_ready,
        };
        let (store, clock) = (self.app.store.clone(), self.app.clock.clone());
        let pruner = Pruner::new(store, clock, retention, Duration::ZERO, CancellationToken::new());
        pruner.pass().await.unwrap()
    }

    async fn claims(&self, id: DeploymentId) -> Claimed {
        self.app.store.artifact_claims(&[id]).await.unwrap()[0].1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_deployment_is_found_by_nobody_and_its_log_and_artifact_go() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let building = house.building("main").await;
        let (deleted, store, now) = (building.deployment.id, &house.app.store, house.app.clock.now());
        let lines = vec![LogLine { stream: Stream::Stdout, at: now, text: "secret".into() }];
        let line = (1, BuildEvent::Log { step: Step::Build, lines });
        store.append_build_events(building.spec.id, "addresses", vec![line], now).await.unwrap();
        house.ends(&building, READY).await;
        let kept = house.ready("main").await;
        let token = house.app.status_token(deleted).await.unwrap();

        assert_eq!(
            house.app.delete_deployment(house.app.clock.new_id(), deleted).await.unwrap_err().reason,
            Reason::DeploymentNotFound,
            "another team's is not there"
        );
        assert_eq!(house.delete(kept).await, Err(Reason::DeploymentServed));
        assert_eq!(house.delete(deleted).await, Ok(()));
        assert_eq!(house.delete(deleted).await, Ok(()), "a second time changes nothing");

        assert!(!house.is_there(deleted).await);
        assert_eq!(house.listed().await, [kept]);
        let (app, team) = (&house.app, house.team.id);
        assert!(app.watch_deployment(team, deleted, Part::all_after(0)).await.is_err());
        assert!(app.cancel_deployment(team, deleted).await.is_err());
        assert!(app.read_status(deleted, &token, Duration::ZERO).await.is_err());
        assert_eq!(house.promote(deleted).await, Err(Reason::DeploymentNotFound));
        assert_eq!(house.resolve(&deleted.to_string()).await, Err(Reason::ArtifactRemoved));

        assert_eq!(house.prune(10).await, Pruned { logs: 1, artifacts: 1, ..Pruned::default() });
        assert_eq!(
            (house.claims(deleted).await, house.claims(kept).await),
            (Claimed::Removed, Claimed::Kept)
        );
        assert_eq!(house.prune(10).await, Pruned::default());
        let left = store.events_after(deleted, 0, true, 50).await.unwrap();
        assert!(left.iter().all(|event| !format!("{event:?}").contains("secret")));
        assert_eq!(house.resolve(&deleted.to_string()).await, Err(Reason::ArtifactRemoved));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_ends_before_it_disappears_and_is_never_served() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let waits = house.asked("main").await;
        house.delete(waits).await.unwrap();
        assert!(!house.is_there(waits).await, "what waits ends at once");
        assert_eq!(house.resolve(&waits.to_string()).await, Err(Reason::ArtifactRemoved));

        let runs = house.building("main").await;
        let id = runs.deployment.id;
        let watched = house.app.watch_deployment(house.team.id, id, Part::all_after(0)).await.unwrap();
        house.delete(id).await.unwrap();
        let shown = house.app.deployment(house.team.id, id).await.unwrap();
        assert_eq!((shown.state, shown.cancel_requested.is_some()), (State::Building, true));
        assert_eq!(house.listed().await, [id]);
        house.ends(&runs, Outcome::Canceled).await;
        assert!(!house.is_there(id).await && house.listed().await.is_empty());
        let told: Vec<_> = watched.try_collect().await.unwrap();
        assert_eq!(told.len(), 4, "whoever watched was told of its end");

        // It was quicker than whoever deleted it.
        let quick = house.building("main").await;
        house.delete(quick.deployment.id).await.unwrap();
        assert!(!house.ends(&quick, READY).await, "an address serves a deleted deployment");
        assert_eq!(house.resolve("site").await, Err(Reason::SiteNotFound));
        assert_eq!(house.prune(10).await.artifacts, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_deployments_do_not_count_among_those_that_are_kept() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(house.ready("main").await);
        }
        house.promote(all[4]).await.unwrap();
        house.delete(all[3]).await.unwrap();
        house.delete(all[2]).await.unwrap();
        house.hand.advance(chrono::TimeDelta::days(400));
        house.prune(2).await;
        // The newest two that were not deleted: the last one and the second.
        assert_eq!(house.listed().await, [all[4], all[1]]);
        assert_eq!(house.claims(all[1]).await, Claimed::Kept);
        let gone = house.app.store.artifact_claims(&[all[3], all[2], all[0]]).await.unwrap();
        assert_eq!(gone, [], "their rows go like those of others");
        assert_eq!(house.delete(all[3]).await, Err(Reason::DeploymentNotFound));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_deleted_and_served_at_once() {
    on_both(async |url| {
        let house = House::open(&url).await;
        house.ready("main").await;
        for round in 0..12 {
            let newest = house.ready("main").await;
            let older = house.ready("main").await;
            house.promote(newest).await.unwrap();
            let (app, team) = (house.app.clone(), house.team.id);
            let deleting = tokio::spawn(async move { app.delete_deployment(team, older).await.is_ok() });
            if round % 2 == 1 {
                tokio::task::yield_now().await;
            }
            let promoted = house.promote(older).await.is_ok();
            let deleted = deleting.await.unwrap();
            assert!(promoted != deleted, "round {round}: promoted {promoted}, deleted {deleted}");
            let served = house.resolve("site").await.unwrap();
            assert_eq!(served == older, promoted, "round {round}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_keeps_the_triggers_that_a_deleted_deployment_answered() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (app, team) = (&house.app, house.team.id);
        let new = NewHook {
            branch: Some(BranchName::parse("main").unwrap()),
            ..NewHook::named("cms".parse().unwrap())
        };
        let hook = app.create_hook(team, &house.project, new).await.unwrap().hook;
        let target = || TriggerTarget::Hook { team, hook: hook.id };
        let Answered::Job(job, _) = app.trigger_hook(target(), Brought::default()).await.unwrap() else {
            panic!("it was ignored")
        };
        house.delete(job.id).await.unwrap();
        let filter = TriggerFilter { hook: Some(hook.id), ..TriggerFilter::default() };
        let ledger = app.list_triggers(team, &house.project, filter, None, 50).await.unwrap().items;
        assert_eq!(ledger.iter().map(|row| row.deployment).collect::<Vec<_>>(), [Some(job.id)]);
        let Answered::Job(next, _) = app.trigger_hook(target(), Brought::default()).await.unwrap() else {
            panic!("it was ignored")
        };
        assert_ne!(next.id, job.id, "the hook works on");
    })
    .await;
}
