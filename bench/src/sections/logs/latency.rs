//! How soon a watcher has a line that was printed.

use anyhow::{Context as _, Result, ensure};
use grapnel_proto::hooks::v1::CancelDeploymentRequest;
use grapnel_runtime::Clock;

use super::Bench;
use crate::watching::{self, now_ns, printed};

/// How often a line is printed, in seconds.
const EVERY: &str = "0.05";

/// What another build does: it prints for as long as it is let, at most for a while.
const NOISE: &str =
    "timeout 120 yes 'a line of some other build, as long as lines of builds are, again and again'";

/// Builds something that prints the time, and returns how many milliseconds later a watcher had each of the times. Where
/// another build is to print meanwhile, that goes on all the time.
pub async fn measure(bench: &Bench, lines: usize, crowded: bool) -> Result<Vec<f64>> {
    let command = format!("n=0; while [ $n -lt {lines} ]; do date +%s%N; sleep {EVERY}; n=$((n + 1)); done");
    let mut other = None;
    if crowded {
        let (id, mut events) = bench.deploy("noise", NOISE).await?;
        watching::first_line(&mut events).await?;
        other = Some((id, events));
    }
    let clock = Clock::system();
    let mut delays = Vec::new();
    let mut events = bench.begin("clock", &command).await?;
    while let Some(event) = watching::next(&mut events).await? {
        let now = now_ns(&clock);
        for line in printed(&event) {
            let at: i64 = line.text.parse().with_context(|| format!("`{}` is no time", line.text))?;
            delays.push((now - at) as f64 / 1e6);
        }
    }
    ensure!(delays.len() == lines, "{} of {lines} lines came", delays.len());
    if let Some((id, mut events)) = other {
        ensure!(watching::next(&mut events).await?.is_some(), "the other build has ended before");
        bench.grapnel.client().cancel_deployment(CancelDeploymentRequest { deployment_id: id }).await?;
        while watching::next(&mut events).await?.is_some() {}
    }
    Ok(delays)
}
