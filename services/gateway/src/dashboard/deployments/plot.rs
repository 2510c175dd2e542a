//! A small plot of build times and outcomes: one bar for each of the last deployments that were built.

use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{Deployment, DeploymentState},
};

/// How many bars.
const BARS: usize = 40;

/// How wide a bar is with its gap, and how high the highest is, in units of the drawing.
const STEP: usize = 8;
const HEIGHT: u64 = 48;

/// The least height of a bar, so that a build of no time can be seen.
const LEAST: u64 = 3;

/// The plot as a page draws it.
#[derive(Debug)]
pub struct Plot {
    /// From the oldest to the newest.
    pub bars: Vec<Bar>,
    /// How wide the drawing is.
    pub width: usize,
    /// How high.
    pub height: u64,
    /// What it says, in words.
    pub words: String,
}

/// One deployment of the plot.
#[derive(Debug)]
pub struct Bar {
    /// Where it stands.
    pub x: usize,
    /// Where it begins, from above.
    pub y: u64,
    /// How high it is.
    pub height: u64,
    /// `ready`, `error` or `canceled`.
    pub outcome: &'static str,
    /// What it says, in words.
    pub words: String,
}

impl Plot {
    /// Draws the last deployments that were built, the newest of which comes first. None where there are fewer than two.
    pub fn of(deployments: &[Deployment]) -> Option<Self> {
        let built: Vec<_> = deployments.iter().filter_map(built).take(BARS).collect();
        if built.len() < 2 {
            return None;
        }
        let longest = built.iter().map(|(_, ms)| *ms).max().unwrap_or_default().max(1);
        let bars = built.iter().rev().enumerate().map(|(index, (outcome, ms))| {
            let height = (ms * HEIGHT / longest).max(LEAST);
            Bar {
                x: index * STEP,
                y: HEIGHT - height,
                height,
                outcome,
                words: format!("{outcome} after {}", seconds(*ms)),
            }
        });
        let ready: Vec<u64> =
            built.iter().filter(|(outcome, _)| *outcome == "ready").map(|(_, ms)| *ms).collect();
        let words = format!(
            "Build times of the last {}: {} ready, the longest {}, the median of those ready {}",
            built.len(),
            ready.len(),
            seconds(longest),
            median(ready).map_or_else(|| "unknown".to_owned(), seconds),
        );
        Some(Self { bars: bars.collect(), width: built.len() * STEP, height: HEIGHT, words })
    }
}

fn built(deployment: &Deployment) -> Option<(&'static str, u64)> {
    let outcome = match deployment.state() {
        DeploymentState::Ready => "ready",
        DeploymentState::Error => "error",
        DeploymentState::Canceled => "canceled",
        _ => return None,
    };
    let took = datetime(deployment.finished_at.as_ref())? - datetime(deployment.building_at.as_ref())?;
    Some((outcome, u64::try_from(took.num_milliseconds()).ok()?))
}

fn median(mut times: Vec<u64>) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn deployment(state: DeploymentState, seconds: i64) -> Deployment {
        Deployment {
            id: format!("dpl_{seconds}"),
            state: state.into(),
            building_at: Some(Timestamp { seconds: 100, nanos: 0 }),
            finished_at: Some(Timestamp { seconds: 100 + seconds, nanos: 0 }),
            ..Deployment::default()
        }
    }

    #[test]
    fn bars_stand_from_old_to_new_and_are_as_high_as_builds_took() {
        let newest_first = [
            deployment(DeploymentState::Error, 0),
            Deployment { state: DeploymentState::Building.into(), ..Deployment::default() },
            deployment(DeploymentState::Ready, 10),
            deployment(DeploymentState::Ready, 20),
        ];
        let plot = Plot::of(&newest_first).unwrap();
        let drawn: Vec<_> = plot.bars.iter().map(|bar| (bar.x, bar.y, bar.height, bar.outcome)).collect();
        assert_eq!(drawn, [(0, 0, 48, "ready"), (8, 24, 24, "ready"), (16, 45, 3, "error")]);
        assert_eq!(
            plot.words,
            "Build times of the last 3: 2 ready, the longest 20.0 s, the median of those ready 20.0 s"
        );
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(Plot::of(&[]).is_none());
        assert!(Plot::of(&[deployment(DeploymentState::Ready, 3)]).is_none());
    }
}
