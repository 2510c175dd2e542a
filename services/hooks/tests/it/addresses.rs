//! Which deployment an address serves, on both databases: by itself, and when somebody says so.

mod calls;

use std::time::Duration;

use chrono::TimeDelta;
use grapnel_domain::{
    BranchName, Reason,
    event::Outcome,
    failure::{Failure, FailureCode},
    id::{DeploymentId, ProjectId, TeamId},
    site::{BranchHash, branch_label},
};
use grapnel_hooks::{
    app::{App, ProjectChanges},
    model::{Address, AddressPlace, Team},
    store::{Claim, Claimed, Store, projects::ProjectRef},
};
use grapnel_migrations::Migrator;
use grapnel_runtime::{Clock, clock::ClockHand};
use sea_orm::{ConnectionTrait as _, Database};
use sea_orm_migration::MigratorTrait as _;
use tokio::sync::watch;

use crate::support::{app_at, new_project, on_both};

const OWNER: &str = "addresses";
const LEASE: Duration = Duration::from_secs(30);
const READY: Outcome = Outcome::Ready { files: 1, bytes: 1 };

/// A project, and what it takes to deploy it.
pub struct House {
    pub app: App,
    pub team: Team,
    pub project: ProjectRef,
    pub hand: ClockHand,
}

impl House {
    pub async fn open(url: &str) -> Self {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let (app, team, project) = app_at(url, clock).await;
        Self { app, team, project, hand }
    }

    /// Asks for a deployment of a branch.
    pub async fn asked(&self, branch: &str) -> DeploymentId {
        self.hand.advance(TimeDelta::seconds(1));
        let branch = BranchName::parse(branch).unwrap();
        let asked = self.app.trigger_deployment(self.team.id, &self.project, Some(branch), true).await;
        asked.unwrap().id
    }

    /// Lets a deployment of a branch be built.
    pub async fn building(&self, branch: &str) -> Claimed {
        let asked = self.asked(branch).await;
        let (store, now) = (&self.app.store, self.app.clock.now());
        let pending = store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
        store.resolved(pending[0].deployment.id, OWNER, &"0".repeat(40), "", now).await.unwrap();
        let claimed = store.claim(Claim::Queued, OWNER, LEASE, 1, now).await.unwrap().remove(0);
        store.started(claimed.spec.id, OWNER, now).await.unwrap();
        assert_eq!(claimed.deployment.id, asked);
        claimed
    }

    /// Lets a build end; returns whether its branch's address serves it then.
    pub async fn ends(&self, claimed: &Claimed, outcome: Outcome) -> bool {
        self.hand.advance(TimeDelta::seconds(1));
        let (store, now) = (&self.app.store, self.app.clock.now());
        store.finished(claimed.spec.id, OWNER, outcome, now).await.unwrap().promoted
    }

    /// Lets a deployment of a branch get READY.
    pub async fn ready(&self, branch: &str) -> DeploymentId {
        let claimed = self.building(branch).await;
        self.ends(&claimed, READY).await;
        claimed.deployment.id
    }

    pub async fn promote(&self, id: DeploymentId) -> Result<(Address, Option<DeploymentId>), Reason> {
        self.hand.advance(TimeDelta::seconds(1));
        let promoted = self.app.promote_deployment(self.team.id, id).await.map_err(|error| error.reason)?;
        Ok((promoted.address, promoted.previous))
    }

    pub async fn resolve(&self, label: &str) -> Result<DeploymentId, Reason> {
        self.app.resolve_site(label).await.map(|(id, _)| id).map_err(|error| error.reason)
    }

    async fn addresses(&self, branch: Option<&str>, after: Option<AddressPlace>, limit: u64) -> Vec<Address> {
        let listed = self.app.list_addresses(self.team.id, &self.project, branch, after, limit).await;
        listed.unwrap().1.items
    }

    /// Returns what the address of a branch serves, and whether it is held there.
    async fn served(&self, branch: &str) -> (DeploymentId, bool) {
        let address = self.addresses(Some(branch), None, 2).await.remove(0);
        (address.deployment, address.held)
    }

    async fn is_promoted(&self, id: DeploymentId) -> bool {
        self.app.deployment(self.team.id, id).await.unwrap().promoted
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_went_back_stays_there_until_the_newest_is_promoted() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (first, second) = (house.ready("main").await, house.ready("main").await);
        assert_eq!(house.served("main").await, (second, false));

        let (address, previous) = house.promote(first).await.unwrap();
        assert_eq!((address.deployment, address.held, previous), (first, true, Some(second)));
        assert!(house.is_promoted(first).await && !house.is_promoted(second).await);
        assert_eq!(house.resolve("site").await, Ok(first));

        let third = house.building("main").await;
        assert!(!house.ends(&third, READY).await, "a newer one took an address that is held");
        let third = third.deployment.id;
        assert_eq!(house.served("main").await, (first, true));
        let (address, _) = house.promote(second).await.unwrap();
        assert!(address.held, "it is not the newest");

        let (address, previous) = house.promote(third).await.unwrap();
        assert_eq!((address.held, previous), (false, Some(second)));
        let fourth = house.ready("main").await;
        assert_eq!(house.served("main").await, (fourth, false), "an address that is not held moves on");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promoting_twice_changes_nothing_and_rings_for_both_the_first_time() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (first, second) = (house.ready("main").await, house.ready("main").await);
        let mut bells = [first, second].map(|id| house.app.store.wakeups.watch(id));
        let promoted = house.promote(first).await.unwrap();
        assert!(bells.iter_mut().all(|bell| bell.has_changed().unwrap()));
        bells.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let (again, previous) = house.promote(first).await.unwrap();
        assert_eq!((again, previous), (promoted.0, Some(first)));
        assert!(!bells[1].has_changed().unwrap(), "nothing changed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_can_be_served_is_promoted() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let failed = house.building("main").await;
        assert_eq!(house.promote(failed.deployment.id).await, Err(Reason::DeploymentNotReady));
        let failure = Failure::new(FailureCode::BuildFailed, "exit code 1");
        house.ends(&failed, Outcome::Failed { failure }).await;
        assert_eq!(house.promote(house.app.clock.new_id()).await, Err(Reason::DeploymentNotFound));

        let (old, served) = (house.ready("main").await, house.ready("main").await);
        let stranger = house.app.clock.new_id();
        let refused = house.app.promote_deployment(stranger, old).await.unwrap_err();
        assert_eq!(refused.reason, Reason::DeploymentNotFound, "another team's is not there");
        house.hand.advance(TimeDelta::days(1));
        let now = house.app.clock.now();
        let all = grapnel_hooks::store::retention::Old { before: now, keep_ready: 0 };
        assert_eq!(house.app.store.retire_artifacts(all, now).await.unwrap().removed, 1);
        assert_eq!(house.promote(old).await, Err(Reason::ArtifactRemoved));
        assert_eq!(house.served("main").await, (served, false));

        house.app.delete_project(house.team.id, &house.project).await.unwrap();
        assert_eq!(house.promote(served).await, Err(Reason::DeploymentNotFound));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_address_is_held_at_keeps_its_artifact_however_old() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let (held, newer) = (house.ready("main").await, house.ready("main").await);
        house.promote(held).await.unwrap();
        house.hand.advance(TimeDelta::days(1_000));
        let now = house.app.clock.now();
        let all = grapnel_hooks::store::retention::Old { before: now, keep_ready: 0 };
        house.app.store.prune_logs(now, now).await.unwrap();
        assert_eq!(house.app.store.retire_artifacts(all, now).await.unwrap().removed, 1);
        assert_eq!(house.app.store.prune_deployments(all).await.unwrap().removed, 1);
        assert_eq!(house.resolve("site").await, Ok(held));
        assert_eq!(house.resolve(&newer.to_string()).await, Err(Reason::SiteNotFound));
        // It is the newest that there is now: promoted, it lets go.
        assert!(!house.promote(held).await.unwrap().0.held);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_promotes_while_another_gets_ready_is_never_overtaken_and_lets_nothing_be_lost() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let mut newest = house.ready("main").await;
        for round in 0..12 {
            let next = house.building("main").await;
            let (app, team, chosen) = (house.app.clone(), house.team.id, newest);
            let by_hand = tokio::spawn(async move {
                if round % 2 == 1 {
                    tokio::task::yield_now().await;
                }
                app.promote_deployment(team, chosen).await.unwrap().address
            });
            let moved = house.ends(&next, READY).await;
            let promoted = by_hand.await.unwrap();
            newest = next.deployment.id;
            let (served, held) = house.served("main").await;
            if promoted.held {
                // The other was READY before it was chosen.
                assert_eq!((served, held), (chosen, true), "round {round}: somebody moved a held address");
            } else {
                // It was the newest when it was chosen, and the other came after it.
                assert_eq!((served, held, moved), (newest, false, true), "round {round}");
            }
            house.promote(newest).await.unwrap();
            assert_eq!(house.served("main").await, (newest, false));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_lead_to_what_the_address_of_their_branch_serves() {
    on_both(async |url| {
        let house = House::open(&url).await;
        let name = "site".parse().unwrap();
        let mut served = Vec::new();
        for branch in ["main", "next", "feature/x", "Main", "fix-1a2b3c4d", &"long-".repeat(20), "ä"] {
            served.push((BranchName::parse(branch).unwrap(), house.ready(branch).await));
        }
        for (branch, id) in &served {
            let label = branch_label(&name, branch);
            assert_eq!(house.app.resolve_site(&label).await.unwrap(), (*id, false), "{label}");
        }
        assert_eq!(house.resolve("site").await, Ok(served[0].1));
        let id = served[1].1;
        assert_eq!(house.app.resolve_site(&id.to_string()).await.unwrap(), (id, true));
        let hashed = branch_label(&name, &served[2].0);
        for none in [
            "site--nothing",
            "other",
            "other--main",
            "site--",
            "site--feature/x",
            "site--feature-x",
            &hashed.replace("feature", "future"),
            &hashed.replace("site", "other"),
            "site--'; DROP TABLE project; --",
            &"x".repeat(100_000),
        ] {
            assert_eq!(house.resolve(none).await, Err(Reason::SiteNotFound), "{none:.80}");
        }

        // A name of another length cuts long branches elsewhere.
        let renamed = "the-site-under-another-name".parse().unwrap();
        let changes = ProjectChanges { name: Some(renamed), ..ProjectChanges::default() };
        let project = house.app.update_project(house.team.id, &house.project, changes).await.unwrap();
        for (branch, id) in &served {
            assert_eq!(house.resolve(&branch_label(&project.name, branch)).await, Ok(*id), "{branch}");
        }
        assert_eq!(house.resolve(&hashed).await, Err(Reason::SiteNotFound));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_an_older_release_are_found_and_move_on() {
    on_both(async |url| {
        let database = Database::connect(url.replace("grapnel.db", "grapnel.db?mode=rwc")).await.unwrap();
        let before = grapnel_migrations::names().iter().position(|name| name.ends_with("_addresses")).unwrap();
        Migrator::up(&database, Some(u32::try_from(before).unwrap())).await.unwrap();
        let clock = Clock::system();
        let (team, project): (TeamId, ProjectId) = (clock.new_id(), clock.new_id());
        let (deployment, at): (DeploymentId, _) = (clock.new_id(), "'2026-01-01T00:00:00+00:00'");
        for row in [
            format!("team (id, name, plan, created_at) VALUES ('{team}', 'old', 'hobby', {at})"),
            format!(
                "project (id, team_id, name, repository_url, production_branch, settings, created_at, updated_at) \
                 VALUES ('{project}', '{team}', 'old', 'https://example.org/x.git', 'main', '{{}}', {at}, {at})"
            ),
            format!(
                "deployment (id, team_id, project_id, hook_name, branch, commit_message, state, revision, attempt, \
                 resolve_attempts, not_before, use_cache, trigger_count, last_position, created_at, finished_at) \
                 VALUES ('{deployment}', '{team}', '{project}', '', 'feature/x', '', 'READY', 1, 1, 0, {at}, true, \
                 1, 1, {at}, {at})"
            ),
            format!(
                "branch_address (project_id, branch, deployment_id, updated_at) \
                 VALUES ('{project}', 'feature/x', '{deployment}', {at})"
            ),
        ] {
            database.execute_unprepared(&format!("INSERT INTO {row}")).await.unwrap();
        }
        database.close().await.unwrap();
        let store = Store::open(&url).await.unwrap();
        let (name, branch) = ("old".parse().unwrap(), BranchName::parse("feature/x").unwrap());
        let label = branch_label(&name, &branch);
        let found = store.served_deployment_by_hash(&name, &BranchHash::of(&branch), &label).await;
        assert_eq!(found.unwrap(), deployment);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_listed_with_the_production_branch_first_and_then_the_latest() {
    on_both(async |url| {
        let house = House::open(&url).await;
        for branch in ["main", "a", "b", "c", "d"] {
            house.ready(branch).await;
        }
        house.ready("b").await;
        let names = |all: &[Address]| all.iter().map(|it| it.branch.to_string()).collect::<Vec<_>>();
        let all = house.addresses(None, None, 50).await;
        assert_eq!(names(&all), ["main", "b", "d", "c", "a"]);
        for limit in [1, 2, 3] {
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = house.addresses(None, after, limit).await;
                let Some(last) = page.last() else { break };
                // As it travels in a page's token.
                after = Some(AddressPlace::from(last).to_string().parse().unwrap());
                paged.extend(page);
            }
            assert_eq!(paged, all, "{limit} at once");
        }
        assert_eq!(names(&house.addresses(Some("c"), None, 50).await), ["c"]);
        assert!(house.addresses(Some("nothing"), None, 50).await.is_empty());
        let ProjectRef::Id(_) = new_project(&house.app, house.team.id, "empty").await else { panic!() };
        let empty = ProjectRef::Name("empty".parse().unwrap());
        let listed = house.app.list_addresses(house.team.id, &empty, None, None, 50).await.unwrap();
        assert!(listed.1.items.is_empty() && !listed.1.more);
    })
    .await;
}
