//! What is written down, and in which order it is taken.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use grapnel_domain::{
    SecretText,
    commit_status::{GitHost as Kind, ReportState},
    deployment::CancelReason,
    event::Outcome,
    failure::FailureCode,
    id::{DeploymentId, HookId},
};
use grapnel_hooks::{
    app::{HookChanges, NewHook, StatusChange, TriggerTarget},
    model::{ClaimedStatus, Silence, TokenFrom},
    store::{
        Claim, StoreError,
        statuses::{Next, NotTold},
    },
};
use grapnel_runtime::Clock;

use super::*;
use crate::support::on_both;

const SOMEWHERE: &str = "https://git.example.org/api/v1";
const TELLING: Duration = Duration::from_secs(60);

fn noon() -> DateTime<Utc> {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

impl World {
    async fn told_somewhere(url: &str) -> (Self, grapnel_runtime::clock::ClockHand) {
        let (clock, hand) = Clock::set_to(noon());
        let world = Self::new(url, clock).await;
        world.tell_at(SOMEWHERE).await;
        (world, hand)
    }

    async fn take(&self, owner: &str) -> Vec<ClaimedStatus> {
        self.app.store.claim_statuses(owner, TELLING, 100, self.app.clock.now()).await.unwrap()
    }

    async fn told(&self, claimed: &ClaimedStatus) -> Result<(), StoreError> {
        let now = self.app.clock.now();
        self.app.store.status_told(claimed, now + TimeDelta::seconds(30), now).await
    }

    async fn not_told(&self, claimed: &ClaimedStatus, ambiguous: bool) {
        let now = self.app.clock.now();
        let not_told = NotTold { error: "x".into(), ambiguous, next: Next::TryAt(now) };
        self.app.store.status_not_told(claimed, not_told, now).await.unwrap();
    }
}

fn said(claimed: &[ClaimedStatus]) -> Vec<String> {
    claimed.iter().map(|it| format!("{} {}", it.report.state, it.report.description)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_be_told_is_stored_with_the_state_or_not_at_all() {
    on_both(async |url| {
        let (world, _) = World::told_somewhere(&url).await;
        let id = world.app.trigger_deployment(world.team.id, &world.project, None, true).await.unwrap().id;
        let now = world.app.clock.now();
        world.app.store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
        let stranger = world.app.store.resolved(id, "stranger", &commit(1), "", now).await;
        assert!(matches!(stranger, Err(StoreError::Fenced)));
        assert_eq!(world.app.commit_status(id).await.unwrap(), None, "the state did not change");
        world.app.store.resolved(id, OWNER, &commit(1), "", now).await.unwrap();
        let status = world.status(id).await;
        assert_eq!((status.context.as_str(), status.delivered), ("grapnel/harbour", false));
        assert_eq!((status.report.state, status.next_try_at), (ReportState::Pending, Some(now)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_newest_is_told_and_never_two_things_of_a_lane_at_once() {
    on_both(async |url| {
        let (world, _) = World::told_somewhere(&url).await;
        let id = world.queued(&commit(1)).await;
        let queued = world.take("one").await;
        assert_eq!(said(&queued), ["PENDING Queued"]);
        let attempt = started(&world.app, id).await;
        assert!(world.take("two").await.is_empty(), "the first is still being told");
        finished(&world.app, attempt, ready()).await;
        world.told(&queued[0]).await.unwrap();
        assert!(!world.status(id).await.delivered, "something else is to be told by now");
        let last = world.take("two").await;
        assert_eq!(said(&last), ["SUCCESS Ready in 0 s"], "what was overtaken on the way is left out");
        assert!(matches!(world.told(&queued[0]).await, Err(StoreError::Fenced)), "that lease is over");
        world.told(&last[0]).await.unwrap();
        assert!(world.status(id).await.delivered && world.take("one").await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_deployment_of_the_commit_speaks_in_place_of_the_older() {
    on_both(async |url| {
        let (world, _) = World::told_somewhere(&url).await;
        let older = world.queued(&commit(1)).await;
        let in_flight = world.take("one").await;
        let newer = world.queued(&commit(1)).await;
        let other = world.queued(&commit(2)).await;
        let taken = world.take("two").await;
        assert_eq!(taken.iter().map(|it| it.deployment).collect::<Vec<_>>(), [other]);
        world.not_told(&in_flight[0], false).await;
        let taken = world.take("two").await;
        assert_eq!(taken.iter().map(|it| it.deployment).collect::<Vec<_>>(), [newer]);
        world.told(&taken[0]).await.unwrap();
        let attempt = started(&world.app, older).await;
        finished(&world.app, attempt, failed(FailureCode::BuildFailed)).await;
        assert!(world.take("one").await.is_empty(), "the older one has nothing to say any more");
        let status = world.status(older).await;
        assert!(status.overtaken && status.next_try_at.is_none() && !world.status(newer).await.overtaken);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_never_take_the_same_lane() {
    on_both(async |url| {
        let (world, _) = World::told_somewhere(&url).await;
        for number in 0..20 {
            // Two deployments of each commit, so that a lane has more than one row to be taken by.
            world.queued(&commit(number)).await;
            world.queued(&commit(number)).await;
        }
        let (one, two) = tokio::join!(world.take("one"), world.take("two"));
        let mut lanes: Vec<_> = one.iter().chain(&two).map(|it| it.commit.clone()).collect();
        lanes.sort_unstable();
        let expected: Vec<_> = (0..20).map(commit).collect();
        assert_eq!(lanes, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_without_a_result_is_never_told_as_a_failure() {
    on_both(async |url| {
        let (world, _) = World::told_somewhere(&url).await;
        let App { store, clock, .. } = &world.app;
        let waiting = world.queued(&commit(1)).await;
        store.cancel_deployment(world.team.id, waiting, CancelReason::User, clock.now()).await.unwrap();
        let ignored = world.queued(&commit(2)).await;
        let attempt = started(&world.app, ignored).await;
        finished(&world.app, attempt, Outcome::Skipped { reason: CancelReason::IgnoredByCommand }).await;
        let ended = world.queued(&commit(3)).await;
        let attempt = started(&world.app, ended).await;
        store.cancel_deployment(world.team.id, ended, CancelReason::User, clock.now()).await.unwrap();
        finished(&world.app, attempt, failed(FailureCode::BuildFailed)).await;
        for id in [waiting, ignored, ended] {
            let report = world.status(id).await.report;
            assert_eq!(report.state, ReportState::Success);
            assert!(report.description.starts_with("Nothing was deployed: "), "{report:?}");
        }
        let never = world.app.trigger_deployment(world.team.id, &world.project, None, true).await.unwrap().id;
        store.claim(Claim::Pending, OWNER, LEASE, 1, clock.now()).await.unwrap();
        store.disabled(never, OWNER, &commit(4), "", clock.now()).await.unwrap();
        assert_eq!(world.app.commit_status(never).await.unwrap(), None, "nobody had heard of it");
    })
    .await;
}

impl World {
    /// Triggers a hook and resolves what comes of it to a commit.
    async fn triggered(&self, hook: HookId, commit: &str) -> DeploymentId {
        let target = TriggerTarget::Hook { team: self.team.id, hook };
        self.app.trigger_hook(target, Default::default()).await.unwrap();
        let now = self.app.clock.now();
        let claimed = self.app.store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
        let id = claimed[0].deployment.id;
        self.app.store.resolved(id, OWNER, commit, "", now).await.unwrap();
        id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_under_a_hooks_old_name_is_ended_when_its_successor_has_a_new_one() {
    on_both(async |url| {
        let (world, hand) = World::told_somewhere(&url).await;
        let new = NewHook::named("cms".parse().unwrap());
        let hook = world.app.create_hook(world.team.id, &world.project, new).await.unwrap().hook.id;
        let older = world.triggered(hook, &commit(1)).await;
        let renamed = HookChanges { name: Some("editors".parse().unwrap()), ..Default::default() };
        world.app.update_hook(world.team.id, hook, renamed).await.unwrap();
        hand.advance(TimeDelta::seconds(1));
        let newer = world.triggered(hook, &commit(1)).await;
        let (older, newer) = (world.status(older).await, world.status(newer).await);
        assert_eq!(
            (older.context.as_str(), older.report.state),
            ("grapnel/harbour/cms", ReportState::Success)
        );
        assert_eq!(
            (newer.context.as_str(), newer.report.state),
            ("grapnel/harbour/editors", ReportState::Pending)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_deployment_says_nothing_and_its_successor_speaks_under_the_hooks_name() {
    on_both(async |url| {
        let (world, hand) = World::told_somewhere(&url).await;
        let new = NewHook::named("cms".parse().unwrap());
        let hook = world.app.create_hook(world.team.id, &world.project, new).await.unwrap().hook;
        let mut ids = Vec::new();
        for _ in 0..2 {
            hand.advance(TimeDelta::seconds(1));
            ids.push(world.triggered(hook.id, &commit(1)).await);
        }
        let older = world.app.deployment(world.team.id, ids[0]).await.unwrap();
        assert_eq!(older.canceled, Some(CancelReason::Superseded { by: ids[1] }));
        let status = world.status(ids[0]).await;
        assert!(status.overtaken && status.report.state == ReportState::Pending, "{status:?}");
        let taken = world.take("one").await;
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].deployment, taken[0].context.as_str()), (ids[1], "grapnel/harbour/cms"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_state_is_told_once_more_where_an_earlier_try_may_arrive_late() {
    on_both(async |url| {
        let (world, hand) = World::told_somewhere(&url).await;
        let id = world.queued(&commit(1)).await;
        let queued = world.take("one").await;
        world.not_told(&queued[0], true).await;
        let attempt = started(&world.app, id).await;
        finished(&world.app, attempt, ready()).await;
        for expected in ["SUCCESS Ready in 0 s", "SUCCESS Ready in 0 s"] {
            let taken = world.take("one").await;
            assert_eq!(said(&taken), [expected]);
            world.told(&taken[0]).await.unwrap();
            assert!(world.status(id).await.delivered);
            assert!(world.take("one").await.is_empty(), "not at once");
            hand.advance(TimeDelta::seconds(31));
        }
        assert!(world.take("one").await.is_empty(), "once more, and not for ever");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_was_telling_another_tells_and_says_the_end_once_more() {
    on_both(async |url| {
        let (world, hand) = World::told_somewhere(&url).await;
        let id = world.queued(&commit(1)).await;
        let dead = world.take("dead").await;
        let attempt = started(&world.app, id).await;
        finished(&world.app, attempt, failed(FailureCode::BuildFailed)).await;
        world.app.store.let_leases_age(Duration::from_secs(61));
        let taken = world.take("alive").await;
        assert_eq!(said(&taken), ["FAILURE `npm run build` exited with 1"]);
        assert!(matches!(world.told(&dead[0]).await, Err(StoreError::Fenced)), "it has lost its lease");
        world.told(&taken[0]).await.unwrap();
        hand.advance(TimeDelta::seconds(31));
        assert_eq!(said(&world.take("alive").await), ["FAILURE `npm run build` exited with 1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_something_is_missing_nothing_is_told_and_it_is_said_what() {
    on_both(async |url| {
        let (clock, _) = Clock::set_to(noon());
        let world = World::new(&url, clock).await;
        let App { store, clock, .. } = &world.app;
        let silence = async |project: &ProjectRef| {
            world.app.commit_statuses(world.team.id, project).await.unwrap().silence()
        };
        assert_eq!(silence(&world.project).await, Some(Silence::UnknownHost));
        let known = new_project(&world.app, &world.team, "known", "git@github.com:team/site.git").await;
        let known = ProjectRef::Id(known);
        assert_eq!(silence(&known).await, Some(Silence::NoToken));
        let id = world.queued(&commit(1)).await;
        assert_eq!(world.app.commit_status(id).await.unwrap(), None);
        let token = Some(SecretText::new(TOKEN));
        let automatic = StatusChange::Automatic { token: token.clone() };
        let refused = world.app.set_commit_statuses(world.team.id, &world.project, automatic.clone()).await;
        assert_eq!(refused.unwrap_err().violations[0].field, "token", "it would go nowhere");
        let plan = world.app.set_commit_statuses(world.team.id, &known, automatic).await.unwrap();
        assert_eq!((plan.silence(), plan.repository.as_deref()), (None, Some("team/site")));
        let off = world.app.set_commit_statuses(world.team.id, &known, StatusChange::Off).await.unwrap();
        assert_eq!(off.silence(), Some(Silence::Off));
        let on = StatusChange::Automatic { token: None };
        let on = world.app.set_commit_statuses(world.team.id, &known, on).await.unwrap();
        assert_eq!(on.token, Some(TokenFrom::Given { last_four: "ter2".into() }), "it was kept");
        assert!(store.claim_statuses("one", TELLING, 10, clock.now()).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_to_the_interface_that_it_was_given_for_and_to_no_other() {
    on_both(async |url| {
        let (world, _) = World::told_somewhere(&url).await;
        let elsewhere = |token| StatusChange::ByHand {
            host: Kind::Gitea,
            api_base: "https://evil.example.org/api/v1".parse().unwrap(),
            token,
        };
        let refused = world.app.set_commit_statuses(world.team.id, &world.project, elsewhere(None)).await;
        assert_eq!(refused.unwrap_err().violations[0].field, "token");
        let App { store, clock, .. } = &world.app;
        let project = world.app.project(world.team.id, &world.project).await.unwrap().id;
        let destination = world.app.status_destination(project).await.unwrap();
        assert_eq!(destination.token.expose(), TOKEN);
        assert!(!format!("{destination:?}").contains(TOKEN));
        // Also where somebody gets past that: what is stored is bound to its place.
        let forged = grapnel_hooks::store::statuses::NewStatusSetting::ByHand {
            host: Kind::Gitea,
            api_base: "https://evil.example.org/api/v1".parse().unwrap(),
            token: None,
        };
        store.set_status_setting(project, forged, clock.now()).await.unwrap();
        let lost = world.app.status_destination(project).await.unwrap_err();
        assert_eq!(lost.to_string(), Silence::NoToken.to_string());
        for bad in ["", "two words", "line\nbreak", &"x".repeat(5_000)] {
            let bad = elsewhere(Some(SecretText::new(bad)));
            let refused = world.app.set_commit_statuses(world.team.id, &world.project, bad).await;
            assert_eq!(refused.unwrap_err().violations[0].field, "token");
        }
    })
    .await;
}
