//! Measures how many triggers a database stores durably in a second, by how many call at once.
//!
//! `cargo run --release --package grapnel-bench --bin triggers -- sqlite:///tmp/triggers.db [seconds]`

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use grapnel_domain::{
    BranchName, Error, RepositoryUrl,
    id::{HookId, TeamId},
    plan::{HookLimits, Plan},
    project::BuildSettings,
    secret_token::ApiKey,
};
use grapnel_hooks::{
    app::{Addresses, AllExecutors, App, Brought, NewHook, NewProject, TriggerRates, TriggerTarget},
    dispatch::{Connect, Fleet},
    executors::Reachable,
    sealing::Sealer,
    store::{Store, projects::ProjectRef},
};
use grapnel_runtime::Clock;

const HOOKS: usize = 10;
const CALLERS: [usize; 4] = [1, 16, 64, 256];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the first argument is the database's URL")?;
    let lasting = Duration::from_secs(arguments.next().unwrap_or_else(|| "5".to_owned()).parse()?);
    let directory = tempfile::tempdir()?;
    let sealer = Sealer::open(directory.path().join("secret.key"), true)?;
    let (app, team, hooks) = app(&url, sealer).await?;
    println!("| callers | answered a second | median | 99 % within |\n|---|---|---|---|");
    for callers in CALLERS {
        let begun = Instant::now();
        let calling = (0..callers)
            .map(|caller| tokio::spawn(call(app.clone(), team, hooks[caller % HOOKS], begun + lasting)));
        let calling: Vec<_> = calling.collect();
        let mut took = Vec::new();
        for caller in calling {
            took.extend(caller.await??);
        }
        took.sort_unstable();
        let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        println!("| {callers} | {rate:.0} | {:.1?} | {:.1?} |", at(0.5), at(0.99));
    }
    Ok(())
}

/// Triggers a hook again and again; returns how long each answer took.
async fn call(app: App, team: TeamId, hook: HookId, until: Instant) -> Result<Vec<Duration>, Error> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        app.trigger_hook(TriggerTarget::Hook { team, hook }, Brought::default()).await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

async fn app(url: &str, sealer: Sealer) -> Result<(App, TeamId, Vec<HookId>), Box<dyn std::error::Error>> {
    let (store, clock) = (Store::open(url).await?, Clock::system());
    let team = store.first_team(clock.new_id(), Plan::Hobby, clock.now()).await?.id;
    store.seal_under(&sealer.current()).await?;
    let plenty = NonZeroU32::MAX;
    let limits = HookLimits { hobby: 100, ..HookLimits::default() };
    let addresses = Addresses {
        public_url: "http://localhost".to_owned(),
        sites_scheme: "http".to_owned(),
        sites_domain: "localhost".to_owned(),
    };
    let rates = TriggerRates::new(plenty, plenty);
    let connect = Connect {
        key: ApiKey::generate(&mut rand::rng()),
        tls: None,
        resolve_within: Duration::ZERO,
        silence: Duration::ZERO,
    };
    // None of them: nothing is built.
    let executors = AllExecutors::new(Reachable(Fleet::new(Vec::new(), connect, store.wakeups.clone())?));
    let session_lifetime = Duration::from_secs(3_600);
    let app = App { store, sealer, clock, limits, rates, executors, addresses, session_lifetime };
    let new = NewProject {
        name: format!("bench-{:x}", rand::random::<u32>()).parse()?,
        repository: RepositoryUrl::parse("https://example.org/site.git")
            .map_err(|error| error.to_string())?,
        production_branch: BranchName::parse("main").map_err(|error| error.to_string())?,
        settings: BuildSettings::default(),
    };
    let project = ProjectRef::Id(app.create_project(team, new).await?.id);
    let mut hooks = Vec::new();
    for number in 0..HOOKS {
        let new = NewHook::named(format!("hook {number}").parse()?);
        hooks.push(app.create_hook(team, &project, new).await?.hook.id);
    }
    Ok((app, team, hooks))
}
