//! Faults on purpose: parts of an installation are killed while triggers come in, and then everything that was answered is
//! held against what Grapnel promises.

mod installation;
mod load;
mod verdict;

use std::{fmt, time::Duration};

pub use installation::{Database, Installation, Part};
pub use load::Load;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
pub use verdict::Verdict;

/// How many hooks are requested at once, each of a project of its own.
const HOOKS: usize = 4;

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
        write!(
            f,
            "| {case:<34} | {times:>5} | {answered:>8} | {ready:>5} | {error:>5} | {canceled:>8} | {:>4} | {:>7} | {:>9} |",
            lost.len(),
            doubled.len(),
            left_over.len()
        )
    }
}

/// The head of the table.
pub const HEAD: &str = "\
| case                               | times | answered | READY | ERROR | CANCELED | lost | doubled | left over |
|------------------------------------|-------|----------|-------|-------|----------|------|---------|-----------|";

/// Kills a part as often as asked for, at moments that follow from the seed, under a steady load of triggers.
///
/// # Panics
/// The installation does not start, or does not answer any more when all of it is back.
pub async fn killed(part: Part, database: Database, times: u32, seed: u64) -> Row {
    let mut random = StdRng::seed_from_u64(seed);
    let mut installation = Installation::start(database).await;
    let urls = installation.hooks(HOOKS).await;
    let load = Load::start(urls);
    for _ in 0..times {
        pause(random.random_range(ALONE)).await;
        installation.kill(part);
        pause(random.random_range(AWAY)).await;
        installation.start_again(part).await;
    }
    pause(ALONE.end).await;
    let answered = load.stop().await;
    let verdict = verdict::of(&installation, &answered).await;
    Row { case: format!("kill -9 of {part} over {database}"), times, verdict }
}

async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}
