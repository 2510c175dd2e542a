//! Superseding, waiting, limits, repeated keys and the ledger, by a clock that the test moves. On both databases.

use std::{num::NonZeroU32, time::Duration};

use chrono::TimeDelta;
use grapnel_domain::{
    Reason,
    deployment::{CancelReason, State},
    event::Outcome,
    failure::{Failure, FailureCode},
    hook::Methods,
    id::{DeploymentId, HookId},
    secret_token::HookToken,
    trigger::{Decision, Waiting},
};
use grapnel_hooks::{
    app::{Answered, App, Brought, HookChanges, NewHook, TriggerRates, TriggerTarget, WithUrl},
    model::{Deployment, Hook, Team},
    store::{Claim, Claimed, ledger::TriggerFilter, projects::ProjectRef},
};
use grapnel_runtime::{Clock, clock::ClockHand};

use crate::support::{app_at, on_both};

const OWNER: &str = "dispatcher";
const LEASE: Duration = Duration::from_secs(30);
const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

/// A hook, with the hand of its clock.
struct Bench {
    app: App,
    team: Team,
    project: ProjectRef,
    hook: Hook,
    url: String,
    hand: ClockHand,
}

impl Bench {
    async fn new(url: &str) -> Self {
        Self::waiting(url, Waiting::default()).await
    }

    async fn waiting(url: &str, waiting: Waiting) -> Self {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let (app, team, project) = app_at(url, clock).await;
        let new = NewHook { waiting, ..NewHook::named("cms".parse().unwrap()) };
        let WithUrl { hook, url } = app.create_hook(team.id, &project, new).await.unwrap();
        Self { app, team, project, hook, url, hand }
    }

    fn limited(mut self, per_minute: u32) -> Self {
        let plenty = NonZeroU32::new(1_000_000).unwrap();
        self.app.rates = TriggerRates::new(NonZeroU32::new(per_minute).unwrap(), plenty);
        self
    }

    async fn request(&self, url: &str, brought: Brought) -> Result<(Decision, Option<Deployment>), Reason> {
        let token = HookToken::parse(url.rsplit_once('/').unwrap().1).unwrap();
        let target = TriggerTarget::Address { team: None, project: self.hook.project_id, token };
        match self.app.trigger_hook(target, brought).await {
            Ok(Answered::Job(deployment, decision)) => Ok((decision, Some(*deployment))),
            Ok(Answered::Ignored) => Ok((Decision::PrefetchIgnored, None)),
            Err(error) => Err(error.reason),
        }
    }

    async fn trigger(&self) -> (Decision, DeploymentId) {
        let (decision, deployment) = self.request(&self.url, Brought::default()).await.unwrap();
        (decision, deployment.unwrap().id)
    }

    async fn read(&self, id: DeploymentId) -> Deployment {
        self.app.deployment(self.team.id, id).await.unwrap()
    }

    async fn claim(&self, which: Claim) -> Vec<Claimed> {
        self.app.store.claim(which, OWNER, LEASE, 10, self.app.clock.now()).await.unwrap()
    }

    /// Resolves whatever waits for its version.
    async fn resolve(&self, commit: &str) -> Vec<DeploymentId> {
        let mut resolved = Vec::new();
        for claimed in self.claim(Claim::Pending).await {
            let id = claimed.deployment.id;
            self.app.store.resolved(id, OWNER, commit, "", self.app.clock.now()).await.unwrap();
            resolved.push(id);
        }
        resolved
    }

    /// Starts whatever may start.
    async fn start(&self) -> Vec<Claimed> {
        let claimed = self.claim(Claim::Queued).await;
        for claimed in &claimed {
            self.app.store.started(claimed.spec.id, OWNER, self.app.clock.now()).await.unwrap();
        }
        claimed
    }

    async fn finish(&self, claimed: &Claimed, outcome: Outcome) -> Deployment {
        self.app.store.finished(claimed.spec.id, OWNER, outcome, self.app.clock.now()).await.unwrap()
    }

    async fn ledger(&self, filter: TriggerFilter) -> Vec<String> {
        let page = self.app.list_triggers(self.team.id, &self.project, filter, None, 100).await.unwrap();
        page.items.iter().map(|row| row.decision.to_string()).collect()
    }

    fn advance(&self, seconds: i64) {
        self.hand.advance(TimeDelta::seconds(seconds));
    }
}

const READY: Outcome = Outcome::Ready { files: 1, bytes: 1 };

fn superseded(by: DeploymentId) -> Option<CancelReason> {
    Some(CancelReason::Superseded { by })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_takes_the_place_of_what_waits_for_its_version_and_answers_its_triggers() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let (_, first) = bench.trigger().await;
        let (_, second) = bench.trigger().await;
        let (_, third) = bench.trigger().await;
        assert_eq!(bench.read(first).await.canceled, superseded(second));
        assert_eq!(bench.read(second).await.canceled, superseded(third));
        let last = bench.read(third).await;
        assert_eq!((last.state, last.trigger_count), (State::Pending, 3));
        let other = NewHook::named("other".parse().unwrap());
        let other = bench.app.create_hook(bench.team.id, &bench.project, other).await.unwrap();
        bench.request(&other.url, Brought::default()).await.unwrap();
        assert_eq!(bench.read(third).await.state, State::Pending, "another hook's trigger changes nothing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_built_once_and_an_older_one_at_another_commit_goes_on() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let (_, queued) = bench.trigger().await;
        bench.resolve(ONE).await;
        let (_, building) = bench.trigger().await;
        bench.resolve(ONE).await;
        assert_eq!(bench.read(queued).await.canceled, superseded(building), "QUEUED at the same version");
        let started = bench.start().await;
        let (_, newer) = bench.trigger().await;
        bench.resolve(ONE).await;
        let marked = bench.read(building).await;
        assert_eq!((marked.state, marked.cancel_requested), (State::Building, superseded(newer)));
        assert_eq!(bench.app.store.asked_to_end(OWNER).await.unwrap(), [building], "its container is to end");
        let ended = bench.finish(&started[0], Outcome::Canceled).await;
        assert_eq!((ended.state, ended.canceled), (State::Canceled, superseded(newer)));
        assert_eq!(bench.read(newer).await.trigger_count, 3);

        let started = bench.start().await;
        let (_, pushed) = bench.trigger().await;
        bench.resolve(TWO).await;
        assert_eq!(bench.read(newer).await.cancel_requested, None, "another commit goes on");
        let first = bench.start().await;
        assert_eq!(first[0].deployment.id, pushed, "both are built at once");
        assert!(bench.finish(&first[0], READY).await.promoted);
        assert!(!bench.finish(&started[0], READY).await.promoted, "an address never goes back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_wait_for_quiet_and_no_longer_than_their_chain_may() {
    let waiting = Waiting { quiet_period: Duration::from_secs(30), max_wait: Duration::from_secs(100) };
    on_both(async |url| {
        let bench = Bench::waiting(&url, waiting).await;
        bench.trigger().await;
        bench.advance(29);
        assert!(bench.resolve(ONE).await.is_empty(), "it is quiet for 29 s only");
        for _ in 0..3 {
            bench.trigger().await;
            bench.advance(23);
        }
        assert!(bench.resolve(ONE).await.is_empty(), "there was always another one");
        bench.advance(2);
        let (decision, last) = bench.trigger().await;
        assert_eq!(decision, Decision::Merged, "put off for long enough: this trigger is answered too");
        assert_eq!(bench.read(last).await.trigger_count, 5);
        assert_eq!(bench.resolve(ONE).await, [last]);
        let (_, next) = bench.trigger().await;
        assert!(bench.resolve(ONE).await.is_empty(), "a new chain begins");
        bench.advance(30);
        assert_eq!(bench.resolve(ONE).await, [next]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_is_triggered_without_end_finishes_all_the_same() {
    let waiting = Waiting { max_wait: Duration::from_secs(100), ..Waiting::default() };
    on_both(async |url| {
        let bench = Bench::waiting(&url, waiting).await;
        // A build takes longer than the time between two triggers: each one supersedes the one before.
        let mut running: Option<Claimed> = None;
        let mut ready = 0;
        let mut followers = Vec::new();
        for _ in 0..40 {
            bench.trigger().await;
            bench.resolve(ONE).await;
            if let Some(claimed) = &running {
                let now = bench.read(claimed.deployment.id).await;
                if now.cancel_requested.is_some() {
                    bench.finish(claimed, Outcome::Canceled).await;
                    running = None;
                } else {
                    // It is let finish; whoever came meanwhile waits, and only the last one is left.
                    assert!(bench.start().await.is_empty(), "two builds of one version at once");
                    followers.push(claimed.deployment.id);
                    if followers.len() == 3 {
                        assert_eq!(bench.finish(claimed, READY).await.state, State::Ready);
                        (running, ready) = (None, ready + 1);
                        followers.clear();
                    }
                }
            }
            let mut started = bench.start().await;
            assert!(started.len() <= 1, "{} builds follow", started.len());
            running = started.pop().or(running);
            bench.advance(10);
        }
        assert!(ready >= 2, "in 400 s with a wait of 100 s only {ready} builds ended");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_let_finish_and_loses_its_attempt_gives_way_to_the_one_that_follows() {
    let waiting = Waiting { max_wait: Duration::from_secs(100), ..Waiting::default() };
    on_both(async |url| {
        let bench = Bench::waiting(&url, waiting).await;
        bench.trigger().await;
        bench.resolve(ONE).await;
        let started = bench.start().await.remove(0);
        bench.advance(100);
        let (_, follower) = bench.trigger().await;
        bench.resolve(ONE).await;
        assert!(bench.start().await.is_empty(), "it waits for the one that is let finish");
        let failure = Failure::new(FailureCode::SandboxLost, "lost");
        let ended = bench.finish(&started, Outcome::Failed { failure }).await;
        assert_eq!((ended.state, ended.canceled), (State::Canceled, superseded(follower)));
        assert_eq!(bench.start().await[0].deployment.id, follower);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_limit_a_trigger_is_merged_before_it_is_refused() {
    on_both(async |url| {
        let bench = Bench::new(&url).await.limited(2);
        bench.trigger().await;
        let (_, pending) = bench.trigger().await;
        // Somebody resolves it just now: what comes with the next trigger has to be seen too.
        let claimed = bench.claim(Claim::Pending).await;
        assert_eq!(claimed[0].deployment.id, pending);
        let (decision, merged) = bench.trigger().await;
        assert_eq!(
            (decision, merged, bench.read(pending).await.trigger_count),
            (Decision::Merged, pending, 3)
        );
        let now = bench.app.clock.now();
        assert!(bench.app.store.resolved(pending, OWNER, ONE, "", now).await.is_err(), "it is resolved anew");
        assert_eq!(bench.resolve(TWO).await, [pending]);
        let refused = bench.request(&bench.url, Brought::default()).await;
        assert_eq!(refused, Err(Reason::RateLimited), "nothing waits that could answer it");
        assert_eq!(
            bench.ledger(TriggerFilter::default()).await,
            ["RATE_LIMITED", "MERGED", "ACCEPTED", "ACCEPTED"]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_key_gets_the_same_job_for_ten_minutes() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let key = |key: &str| Brought { idempotency_key: key.into(), ..Brought::default() };
        let ask = async |brought| {
            let (decision, deployment) = bench.request(&bench.url, brought).await.unwrap();
            (decision, deployment.unwrap().id)
        };
        let (_, first) = ask(key("a")).await;
        assert_eq!(ask(key("a")).await, (Decision::Replayed, first));
        let (decision, second) = ask(key("b")).await;
        assert_eq!(decision, Decision::Accepted);
        assert_eq!(ask(key("a")).await, (Decision::Replayed, first), "though it was superseded");
        assert_eq!(bench.read(first).await.canceled, superseded(second));
        assert_eq!(ask(key(&"x".repeat(1 << 20))).await.0, Decision::Accepted);
        let other = NewHook::named("other".parse().unwrap());
        let other = bench.app.create_hook(bench.team.id, &bench.project, other).await.unwrap();
        let (decision, _) = bench.request(&other.url, key("a")).await.unwrap();
        assert_eq!(decision, Decision::Accepted, "another hook's keys are its own");
        bench.advance(600);
        assert_eq!(ask(key("a")).await.0, Decision::Accepted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_knows_of_every_request_and_who_used_which_token() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let (app, team, hook) = (&bench.app, bench.team.id, bench.hook.id);
        let change = async |changes| app.update_hook(team, hook, changes).await.unwrap();
        let brought = Brought {
            method: "POST".into(),
            client_address: "192.0.2.1".into(),
            user_agent: format!("cms\u{1b}[2J{}", "x".repeat(1_000)),
            body: vec![b'x'; 100_000],
            body_bytes: 100_000,
            title: "Second edition".into(),
            ..Brought::default()
        };
        bench.request(&bench.url, brought).await.unwrap();
        bench.request(&bench.url, Brought { prefetch: true, ..Brought::default() }).await.unwrap();
        let refusal = Some("`buildCache` must be `true` or `false`".to_owned());
        let refused = bench.request(&bench.url, Brought { refusal, ..Brought::default() }).await;
        assert_eq!(refused, Err(Reason::TriggerRefused));
        let post = Methods { get: false, post: true };
        change(HookChanges { methods: Some(post), ..HookChanges::default() }).await;
        let get = Brought { method: "GET".into(), ..Brought::default() };
        assert_eq!(bench.request(&bench.url, get).await, Err(Reason::MethodRefused));
        change(HookChanges { paused: Some(true), ..HookChanges::default() }).await;
        assert_eq!(bench.request(&bench.url, Brought::default()).await, Err(Reason::HookPaused));
        change(HookChanges { paused: Some(false), ..HookChanges::default() }).await;
        let old = bench.url.clone();
        let fresh = app.rotate_token(team, hook, None, None).await.unwrap().url;
        bench.request(&old, Brought::default()).await.unwrap();
        bench.request(&fresh, Brought::default()).await.unwrap();
        let unknown = HookToken::generate(&mut rand::rng());
        assert_eq!(
            bench.request(&format!("/{}", unknown.expose()), Brought::default()).await,
            Err(Reason::HookNotFound)
        );
        let tokens = app.hook(team, hook).await.unwrap();
        let uses: Vec<_> = tokens.tokens.iter().map(|token| token.use_count).collect();
        assert_eq!((uses, tokens.trigger_count), (vec![1, 6], 7));
        assert!(tokens.tokens.iter().all(|token| token.last_used_at == Some(app.clock.now())));
        bench.advance(86_400);
        assert_eq!(bench.request(&old, Brought::default()).await, Err(Reason::HookRevoked));

        let all = bench.ledger(TriggerFilter::default()).await;
        assert_eq!(
            all,
            [
                "REVOKED",
                "UNKNOWN_TOKEN",
                "ACCEPTED",
                "ACCEPTED",
                "PAUSED",
                "REFUSED",
                "REFUSED",
                "PREFETCH_IGNORED",
                "ACCEPTED"
            ]
        );
        let of = |decision| TriggerFilter { decision: Some(decision), ..TriggerFilter::default() };
        assert_eq!(bench.ledger(of(Decision::Refused)).await.len(), 2);
        let hooks = TriggerFilter { hook: Some(hook), ..TriggerFilter::default() };
        assert_eq!(bench.ledger(hooks).await.len(), 8, "an unknown token is no hook's");
        let today = TriggerFilter { since: Some(app.clock.now()), ..TriggerFilter::default() };
        assert_eq!(bench.ledger(today).await, ["REVOKED"]);

        let page = app.list_triggers(team, &bench.project, of(Decision::Accepted), None, 10).await.unwrap();
        let first = page.items.last().unwrap();
        assert_eq!(first.request.user_agent.chars().count(), 256);
        assert!(!first.request.user_agent.contains('\u{1b}'));
        assert_eq!((first.request.body_bytes, first.request.body_digest.len()), (100_000, 64));
        assert_eq!(first.request.title, "Second edition");

        let pruned = app.store.prune_triggers(app.clock.now() - Duration::from_secs(3_600)).await.unwrap();
        assert_eq!(
            (pruned.removed, bench.ledger(TriggerFilter::default()).await),
            (8, vec!["REVOKED".to_owned()])
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_hooks_keep_the_cache_default_of_their_age() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let import = async |name: &str, at: &str| {
            let new =
                NewHook { created_at: Some(at.parse().unwrap()), ..NewHook::named(name.parse().unwrap()) };
            let made = bench.app.create_hook(bench.team.id, &bench.project, new).await.unwrap();
            let (_, deployment) = bench.request(&made.url, Brought::default()).await.unwrap();
            let asked = Brought { build_cache: Some(true), ..Brought::default() };
            let (_, overridden) = bench.request(&made.url, asked).await.unwrap();
            assert!(overridden.unwrap().use_cache);
            (made.hook.build_cache, deployment.unwrap().use_cache)
        };
        assert_eq!(import("legacy", "2021-05-10T23:59:59Z").await, (false, false));
        assert_eq!(import("modern", "2021-05-11T00:00:00Z").await, (true, true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_triggers_at_once_leave_one_that_waits_and_answers_them_all() {
    on_both(async |url| {
        let bench = Bench::new(&url).await;
        let trigger = |hook: HookId| {
            let (app, team) = (bench.app.clone(), bench.team.id);
            tokio::spawn(async move {
                app.trigger_hook(TriggerTarget::Hook { team, hook }, Brought::default()).await.unwrap();
            })
        };
        for triggered in (0..100).map(|_| trigger(bench.hook.id)).collect::<Vec<_>>() {
            triggered.await.unwrap();
        }
        let waiting = bench.claim(Claim::Pending).await;
        assert_eq!((waiting.len(), waiting[0].deployment.trigger_count), (1, 100));
        assert_eq!(bench.ledger(TriggerFilter::default()).await.len(), 100);
    })
    .await;
}
