//! The life of hooks, tokens and keys, by a clock that the test moves. On both databases.

use std::{path::Path, time::Duration};

use chrono::TimeDelta;
use grapnel_domain::{
    Error, Reason,
    id::{HookId, ProjectId},
    plan::Plan,
    scope::Scope,
    secret_token::{ApiKey, HookToken},
};
use grapnel_hooks::{
    app::{App, Brought, HookChanges, NewHook, TriggerTarget, WithUrl},
    model::Team,
    store::projects::ProjectRef,
};
use grapnel_runtime::{Clock, clock::ClockHand};

use crate::support::{app_at, on_both};

/// A team with a project and a hook, and the hand of its clock.
struct Bench {
    app: App,
    team: Team,
    project: ProjectRef,
    hook: HookId,
    project_id: ProjectId,
    hand: ClockHand,
}

impl Bench {
    /// Returns it with the URL of the hook.
    async fn new(url: &str) -> (Self, String) {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let (app, team, project) = app_at(url, clock).await;
        let new = NewHook::named("cms".parse().unwrap());
        let WithUrl { hook, url } = app.create_hook(team.id, &project, new).await.unwrap();
        (Self { app, team, project, hook: hook.id, project_id: hook.project_id, hand }, url)
    }

    async fn request(&self, url: &str) -> Result<(), Reason> {
        let token = HookToken::parse(url.rsplit_once('/').unwrap().1).unwrap();
        let target = TriggerTarget::Address { team: None, project: self.project_id, token };
        self.app.trigger_hook(target, Brought::default()).await.map(drop).map_err(|error| error.reason)
    }

    async fn rotate(&self, grace: Option<Duration>) -> String {
        self.app.rotate_token(self.team.id, self.hook, grace, None).await.unwrap().url
    }

    async fn live(&self) -> Vec<String> {
        let hook = self.app.hook(self.team.id, self.hook).await.unwrap();
        hook.tokens.into_iter().map(|token| token.last_four).collect()
    }

    async fn change(&self, changes: HookChanges) -> Result<(), Error> {
        self.app.update_hook(self.team.id, self.hook, changes).await.map(drop)
    }
}

fn last_four(url: &str) -> String {
    url[url.len() - 4..].to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_token_works_for_a_day_and_not_a_moment_longer() {
    on_both(async |url| {
        let (bench, first) = Bench::new(&url).await;
        let second = bench.rotate(None).await;
        assert_eq!(bench.live().await, [last_four(&second), last_four(&first)], "the newest first");
        bench.hand.advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
        assert_eq!((bench.request(&first).await, bench.request(&second).await), (Ok(()), Ok(())));
        bench.hand.advance(TimeDelta::seconds(1));
        assert_eq!(bench.request(&first).await, Err(Reason::HookRevoked), "410, not 404: it was known once");
        assert_eq!((bench.request(&second).await, bench.live().await), (Ok(()), vec![last_four(&second)]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_two_tokens_work_and_no_grace_ends_the_old_one_at_once() {
    on_both(async |url| {
        let (bench, first) = Bench::new(&url).await;
        let hour = Some(Duration::from_secs(3600));
        let second = bench.rotate(hour).await;
        let third = bench.rotate(hour).await;
        assert_eq!(bench.live().await, [last_four(&third), last_four(&second)]);
        assert_eq!(bench.request(&first).await, Err(Reason::HookRevoked));
        assert_eq!((bench.request(&second).await, bench.request(&third).await), (Ok(()), Ok(())));
        let fourth = bench.rotate(Some(Duration::ZERO)).await;
        assert_eq!(bench.live().await, [last_four(&fourth)]);
        assert_eq!(bench.request(&third).await, Err(Reason::HookRevoked));
        assert_eq!(bench.request(&fourth).await, Ok(()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_rotations_at_once_leave_two_tokens_that_work() {
    on_both(async |url| {
        let (bench, _) = Bench::new(&url).await;
        let rotating: Vec<_> = (0..10)
            .map(|_| {
                let (app, team, hook) = (bench.app.clone(), bench.team.id, bench.hook);
                tokio::spawn(async move { app.rotate_token(team, hook, None, None).await.unwrap().url })
            })
            .collect();
        let mut working = 0;
        let mut urls = Vec::new();
        for rotated in rotating {
            urls.push(rotated.await.unwrap());
        }
        for url in &urls {
            working += usize::from(bench.request(url).await.is_ok());
        }
        assert_eq!((working, bench.live().await.len()), (2, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_hook_refuses_a_revoked_one_is_gone_and_its_name_and_place_are_free_again() {
    on_both(async |url| {
        let (bench, address) = Bench::new(&url).await;
        bench.change(HookChanges { paused: Some(true), ..HookChanges::default() }).await.unwrap();
        assert_eq!(bench.request(&address).await, Err(Reason::HookPaused));
        bench.change(HookChanges { paused: Some(false), ..HookChanges::default() }).await.unwrap();
        assert_eq!(bench.request(&address).await, Ok(()));

        bench.app.revoke_hook(bench.team.id, bench.hook).await.unwrap();
        assert_eq!(bench.request(&address).await, Err(Reason::HookRevoked));
        let gone = bench.app.revoke_hook(bench.team.id, bench.hook).await.unwrap_err();
        assert_eq!(gone.reason, Reason::HookNotFound, "the second time there is nothing left to revoke");
        assert_eq!(bench.app.limits(bench.team.id, &bench.project).await.unwrap().2, 0);
        let again = NewHook::named("cms".parse().unwrap());
        bench.app.create_hook(bench.team.id, &bench.project, again).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_project_and_prefixes_of_a_good_one_open_nothing() {
    on_both(async |url| {
        let (bench, address) = Bench::new(&url).await;
        let token = address.rsplit_once('/').unwrap().1;
        for length in 0..token.len() {
            assert!(HookToken::parse(&token[..length]).is_err(), "{length} characters are no token");
        }
        let elsewhere = TriggerTarget::Address {
            team: None,
            project: bench.app.clock.new_id(),
            token: HookToken::parse(token).unwrap(),
        };
        let refused = bench.app.trigger_hook(elsewhere, Brought::default()).await.unwrap_err();
        let unknown = HookToken::generate(&mut rand::rng());
        let wrong = TriggerTarget::Address { team: None, project: bench.project_id, token: unknown };
        let unknown = bench.app.trigger_hook(wrong, Brought::default()).await.unwrap_err();
        assert_eq!(refused.to_string(), unknown.to_string(), "nobody learns which of the two was wrong");
        assert_eq!(refused.reason, Reason::HookNotFound);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_taken_once_in_a_project_however_it_comes_about() {
    on_both(async |url| {
        let (bench, _) = Bench::new(&url).await;
        let named = |name: &str| NewHook::named(name.parse().unwrap());
        let taken = bench.app.create_hook(bench.team.id, &bench.project, named("cms")).await.unwrap_err();
        assert_eq!(taken.reason, Reason::HookNameTaken);
        bench.app.create_hook(bench.team.id, &bench.project, named("cron")).await.unwrap();
        let renamed = HookChanges { name: Some("cron".parse().unwrap()), ..HookChanges::default() };
        assert_eq!(bench.change(renamed).await.unwrap_err().reason, Reason::HookNameTaken);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_key_that_can_make_keys_cannot_be_revoked() {
    on_both(async |url| {
        let (bench, _) = Bench::new(&url).await;
        let (app, team) = (&bench.app, bench.team.id);
        let key = async |scope: Scope| {
            app.create_key(team, "key".into(), [scope].into_iter().collect()).await.unwrap().0.id
        };
        let (first, reader) = (key(Scope::Admin).await, key(Scope::Read).await);
        app.revoke_key(team, reader).await.unwrap();
        assert_eq!(app.revoke_key(team, first).await.unwrap_err().reason, Reason::LastAdminKey);
        let second = key(Scope::Admin).await;
        // Both at once: one of them has to stay.
        let revoke = |id| {
            let app = app.clone();
            tokio::spawn(async move { app.revoke_key(team, id).await.is_ok() })
        };
        let (one, two) = (revoke(first), revoke(second));
        assert_eq!(usize::from(one.await.unwrap()) + usize::from(two.await.unwrap()), 1);
        assert_eq!(app.list_keys(team, None, 10).await.unwrap().items.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_key_is_the_one_that_was_given_whichever_process_is_first() {
    on_both(async |url| {
        let (bench, _) = Bench::new(&url).await;
        let (given, other) = (ApiKey::generate(&mut rand::rng()), ApiKey::generate(&mut rand::rng()));
        let nowhere = Path::new("/nowhere/admin.key");
        let start = |key: &ApiKey| {
            let (app, key) = (bench.app.clone(), key.clone());
            tokio::spawn(async move { app.ensure_first_key(Plan::Hobby, Some(&key), nowhere).await })
        };
        let all = [start(&given), start(&given), start(&given)];
        for started in all {
            started.await.unwrap().unwrap();
        }
        start(&other).await.unwrap().unwrap();
        let keys = bench.app.list_keys(bench.team.id, None, 10).await.unwrap().items;
        let told: Vec<_> = keys.iter().map(|key| (key.last_four.as_str(), key.scopes.clone())).collect();
        assert_eq!(told, [(given.last_four(), [Scope::Admin].into_iter().collect())]);
    })
    .await;
}
