//! Faults on purpose: parts of an installation are killed while triggers come in, and then everything that was answered is
//! held against what Grapnel promises.

mod installation;
mod line;
mod load;
mod verdict;

use std::{fmt, time::Duration};

pub use installation::{Database, Installation, Part, Shape};
pub use line::Quality;
pub use load::Load;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
pub use verdict::Verdict;

/// How many hooks are requested at once, each of a project of its own, where there is one executor.
const HOOKS: usize = 6;

/// How long a part is left alone before it is killed, and how long it stays away.
const ALONE: std::ops::Range<f64> = 0.2..1.5;
const AWAY: std::ops::Range<f64> = 0.0..1.0;

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// How often.
    pub times: u32,
    /// What came of it.
    pub verdict: Verdict,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, times, verdict } = self;
        let Verdict { answered, ready, error, canceled, lost, doubled, left_over } = verdict;
        let (lost, doubled, left_over) = (lost.len(), doubled.len(), left_over.len());
        write!(
            f,
            "| {case:<44} | {times:>5} | {answered:>8} | {ready:>5} | {error:>5} | {canceled:>8} | {lost:>4} | {doubled:>7} | {left_over:>9} |"
        )
    }
}

/// The head of the table.
pub const HEAD: &str = "\
| case                                         | times | answered | READY | ERROR | CANCELED | lost | doubled | left over |
|----------------------------------------------|-------|----------|-------|-------|----------|------|---------|-----------|";

/// Kills a part as often as asked for, at moments that follow from the seed, under a steady load of triggers.
///
/// # Panics
/// The installation does not start, or does not answer any more when all of it is back.
pub async fn killed(part: Part, database: Database, times: u32, seed: u64) -> Row {
    let shape = Shape { database, of_each: 1, lines: false };
    let case = format!("kill -9 of {part} over {database}");
    let kill = async |installation: &mut Installation, random: &mut StdRng| {
        installation.kill(part);
        pause(random.random_range(AWAY)).await;
        installation.start_again(part).await;
    };
    under_load(case, shape, HOOKS, times, seed, kill).await
}

/// Spoils the line between hooks and executor as often as asked for, each time for as many seconds as come out of the range.
///
/// # Panics
/// As [`killed`].
pub async fn spoiled(
    quality: Quality,
    seconds: std::ops::Range<f64>,
    database: Database,
    times: u32,
    seed: u64,
) -> Row {
    let shape = Shape { database, of_each: 1, lines: true };
    let what = match quality {
        Quality::Good => "good",
        Quality::Cut => "cut",
        Quality::Silent => "silent",
        Quality::Slow(_) => "slow",
    };
    let case = format!("line to the executor {what} over {database}");
    let spoil = async |installation: &mut Installation, random: &mut StdRng| {
        installation.make_lines(quality);
        pause(random.random_range(seconds.clone())).await;
        installation.make_lines(Quality::Good);
    };
    under_load(case, shape, HOOKS, times, seed, spoil).await
}

/// Kills any of three hooks services, executors and gateways over one PostgreSQL, again and again, while more hooks are
/// requested.
///
/// # Panics
/// As [`killed`].
pub async fn any_of_many(hooks: usize, times: u32, seed: u64) -> Row {
    let shape = Shape { database: Database::Postgres, of_each: 3, lines: false };
    let kill = async |installation: &mut Installation, random: &mut StdRng| {
        let parts = installation.parts();
        let part = parts[random.random_range(0..parts.len())];
        installation.kill(part);
        pause(random.random_range(AWAY)).await;
        installation.start_again(part).await;
    };
    under_load("kill -9 of any of 3 of each".to_owned(), shape, hooks, times, seed, kill).await
}

async fn under_load(
    case: String,
    shape: Shape,
    hooks: usize,
    times: u32,
    seed: u64,
    fault: impl AsyncFn(&mut Installation, &mut StdRng),
) -> Row {
    let mut random = StdRng::seed_from_u64(seed);
    let mut installation = Installation::start(shape).await;
    let urls = installation.hooks(hooks).await;
    let load = Load::start(urls);
    for _ in 0..times {
        pause(random.random_range(ALONE)).await;
        fault(&mut installation, &mut random).await;
    }
    pause(ALONE.end).await;
    let answered = load.stop().await;
    let verdict = verdict::of(&installation, &answered).await;
    Row { case, times, verdict }
}

async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}
