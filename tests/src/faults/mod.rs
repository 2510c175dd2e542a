//! Faults on purpose: parts of an installation are killed while triggers come in, and then everything that was answered is
//! held against what Grapnel promises.

mod by_hand;
mod case;
mod clock;
mod engine;
mod hearers;
mod installation;
mod line;
mod load;
mod parts;
pub mod verdict;

use std::fmt;

pub use case::{Case, Fault};
pub use installation::Installation;
pub use line::{Line, Quality};
pub use load::Load;
pub use parts::{Database, Extra, Part, Place, Shape};
pub use verdict::Verdict;

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// How often.
    pub times: u32,
    /// What came of it.
    pub verdict: Verdict,
    /// What the processes have logged, where not everything is as promised.
    pub logs: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, times, verdict, .. } = self;
        let Verdict { triggers, deployments, ready, error, canceled, failures, lost, doubled, left_over } =
            verdict;
        let (lost, doubled, left_over) = (lost.len(), doubled.len(), left_over.len());
        write!(
            f,
            "| {case:<46} | {times:>5} | {triggers:>8} | {deployments:>11} | {ready:>5} | {error:>5} | {canceled:>8} | {lost:>4} | {doubled:>7} | {left_over:>9} |"
        )?;
        failures.iter().try_for_each(|(why, count)| write!(f, "\n  {count} x {why}"))
    }
}

/// The head of the table. `answered` counts the triggers that were answered with 200, of which several may have got the same
/// deployment.
pub const HEAD: &str = "\
| case                                           | times | answered | deployments | READY | ERROR | CANCELED | lost | doubled | left over |
|------------------------------------------------|-------|----------|-------------|-------|-------|----------|------|---------|-----------|";
