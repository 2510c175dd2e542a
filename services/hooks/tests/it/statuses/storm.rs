//! Two hundred deployments, and a host that fails in every way there is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use grapnel_domain::{deployment::CancelReason, failure::FailureCode};
use grapnel_runtime::Clock;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    host::{Heard, Reply},
    *,
};
use crate::support::on_both;

const DEPLOYMENTS: usize = 200;
const PROJECTS: usize = 20;

/// How a deployment goes.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Ready,
    Failed,
    /// Its first attempt is lost, and the second is ready.
    ReadyInTheEnd,
    /// Somebody ends it while it waits.
    Canceled,
}

const FATES: [Fate; 4] = [Fate::Ready, Fate::Failed, Fate::ReadyInTheEnd, Fate::Canceled];

impl Fate {
    fn last_state(self) -> &'static str {
        match self {
            Self::Ready | Self::ReadyInTheEnd | Self::Canceled => "success",
            Self::Failed => "failure",
        }
    }
}

/// Answers at random, and counts how.
fn stormy(seed: u64, counts: Arc<Mutex<[usize; 4]>>) -> impl FnMut(&Heard) -> Reply + Send {
    let mut random = StdRng::seed_from_u64(seed);
    move |_| {
        let (kind, reply) = match random.random_range(0..100) {
            0..15 => (1, Reply::Refuse(500, None)),
            15..18 => (2, Reply::Refuse(429, Some(1))),
            18..26 => (3, Reply::Silent { heard: random.random() }),
            _ => (0, Reply::Ok),
        };
        counts.lock().unwrap()[kind] += 1;
        reply
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_deployments_are_told_right_to_a_host_that_fails_and_dies_twice() {
    on_both(async |url| {
        let begun = tokio::time::Instant::now();
        let seed: u64 = rand::rng().random();
        eprintln!("seed {seed}");
        let counts = Arc::new(Mutex::new([0; 4]));
        let host = GitHost::start(stormy(seed, counts.clone())).await;
        let world = World::new(&url, Clock::system()).await;
        let mut projects = Vec::new();
        for number in 0..PROJECTS {
            let name = format!("site-{number}");
            let repository = format!("https://git.example.org/team/{name}.git");
            let project = ProjectRef::Id(new_project(&world.app, &world.team, &name, &repository).await);
            tell_at(&world.app, &world.team, &project, &host.api_base()).await;
            projects.push(project);
        }
        // As many processes may share a database. They wait less than they are asked to: there is an end to this test.
        let patience = Patience { longest_wait: Duration::from_millis(250), ..QUICK };
        let _tellers = (world.teller("one", patience), world.teller("two", patience));
        let mut random = StdRng::seed_from_u64(seed);
        let mut all = BTreeMap::new();
        for number in 0..DEPLOYMENTS {
            let dies = number == 60 || number == 140;
            if dies {
                host.kill();
            }
            let id = queued(&world.app, &world.team, &projects[number % PROJECTS], &commit(number)).await;
            let fate = FATES[random.random_range(0..FATES.len())];
            all.insert(id, (number, fate));
            if dies {
                until("somebody finds it dead", async || {
                    world.status(id).await.last_error.contains("cannot be reached")
                })
                .await;
                host.revive().await;
            }
            if matches!(fate, Fate::Canceled) {
                let now = world.app.clock.now();
                world.app.store.cancel_deployment(world.team.id, id, CancelReason::User, now).await.unwrap();
            }
            // Some go on at once and some later, so that not all is told in the order of its making.
            if random.random_bool(0.5) {
                oldest_goes_on(&world, &all).await;
            }
        }
        while oldest_goes_on(&world, &all).await {}
        for id in all.keys() {
            until("everything is told", async || {
                let status = world.status(*id).await;
                assert!(!status.gave_up, "{status:?}");
                status.delivered && status.next_try_at.is_none()
            })
            .await;
        }
        eprintln!("all is told after {:?}", begun.elapsed());
        let [ok, broken, limited, silent] = *counts.lock().unwrap();
        eprintln!("{ok} heard, {broken} times 500, {limited} times 429, {silent} times no answer");
        assert!(broken > 0 && limited > 0 && silent > 0, "the host was too kind");
        for (number, fate) in all.into_values() {
            let states = host.states_of(&commit(number));
            assert_eq!(
                states.last().map(String::as_str),
                Some(fate.last_state()),
                "{number} {fate:?}: {states:?}"
            );
            let ended = states.iter().position(|state| state != "pending").unwrap();
            assert!(states[ended..].iter().all(|state| state != "pending"), "{number} went back: {states:?}");
        }
    })
    .await;
}

/// Starts the next attempt at the deployment that waits for the longest time, and ends it; `false` where none waits.
async fn oldest_goes_on(world: &World, all: &BTreeMap<DeploymentId, (usize, Fate)>) -> bool {
    let app = &world.app;
    // Whoever lost an attempt is not let wait here.
    let later = app.clock.now() + Duration::from_secs(60);
    let claimed = app.store.claim(Claim::Queued, OWNER, LEASE, 1, later).await.unwrap();
    let Some(claimed) = claimed.first() else {
        return false;
    };
    let attempt = claimed.spec.id;
    app.store.started(attempt, OWNER, app.clock.now()).await.unwrap();
    let outcome = match all[&attempt.deployment].1 {
        Fate::ReadyInTheEnd if attempt.attempt == 1 => failed(FailureCode::SandboxLost),
        Fate::Failed => failed(FailureCode::BuildFailed),
        Fate::Ready | Fate::ReadyInTheEnd | Fate::Canceled => ready(),
    };
    finished(app, attempt, outcome).await;
    true
}
