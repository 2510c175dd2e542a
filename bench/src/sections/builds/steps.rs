//! Where the time of a build goes, by what Grapnel tells of it.

use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{DeploymentState, Step, deployment_event::Event},
};
use prost_types::Timestamp;

use super::MARKER;
use crate::watching;

/// What is told of a build, in order.
pub const STEPS: [&str; 11] = [
    "the hook's URL is answered",
    "the commit is known: QUEUED",
    "an executor has it: BUILDING",
    "it is checked out",
    "its cache is in place",
    "its sandbox stands",
    "the build command is sent",
    "its first line is taken down",
    "a watcher has that line",
    "the commands have ended",
    "the output is published",
];

/// When each of [`STEPS`] was reached, and READY behind them.
#[derive(Debug, Default)]
pub struct Steps {
    asked_ns: i64,
    reached: [Option<f64>; STEPS.len()],
}

impl Steps {
    /// Begins with a request, at a time of the machine's clock.
    pub fn asked(asked_ns: i64) -> Self {
        Self { asked_ns, ..Self::default() }
    }

    /// Returns when a step was reached, in milliseconds after the request.
    pub fn after(&self, step: usize) -> Option<f64> {
        self.reached.get(step).copied().flatten()
    }

    /// The request was answered.
    pub fn answered(&mut self, after_ms: f64) {
        self.reach(0, after_ms);
    }

    /// A watcher has the first line.
    pub fn seen(&mut self, after_ms: f64) {
        self.reach(8, after_ms);
    }

    /// Takes an event, which was stored at a time. Those of an executor have its own time.
    pub fn take(&mut self, stored: &Timestamp, event: &Event) {
        let (step, at) = match event {
            Event::StateChanged(change) => match change.state() {
                DeploymentState::Queued => (1, Some(stored)),
                DeploymentState::Building => (2, Some(stored)),
                _ => return,
            },
            Event::StepStarted(begun) => match begun.step() {
                // Installing begins when the sandbox stands.
                Step::Install => (5, begun.at.as_ref()),
                Step::Build => (6, begun.at.as_ref()),
                _ => return,
            },
            Event::StepFinished(ended) => match ended.step() {
                Step::Source => (3, ended.at.as_ref()),
                Step::Cache => (4, ended.at.as_ref()),
                Step::Build => (9, ended.at.as_ref()),
                Step::Output => (10, ended.at.as_ref()),
                _ => return,
            },
            Event::Log(_) => match watching::printed(event).find(|line| line.text == MARKER) {
                Some(line) => (7, line.at.as_ref()),
                None => return,
            },
            Event::CacheReported(_) | Event::LogRemoved(_) => return,
        };
        if let Some(ns) = datetime(at).and_then(|at| at.timestamp_nanos_opt()) {
            self.reach(step, (ns - self.asked_ns) as f64 / 1e6);
        }
    }

    fn reach(&mut self, step: usize, after_ms: f64) {
        if let Some(reached) = self.reached.get_mut(step) {
            reached.get_or_insert(after_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use grapnel_proto::hooks::v1::{StateChanged, StepFinished, StepStarted};

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp { seconds: ms / 1000, nanos: i32::try_from(ms % 1000).unwrap() * 1_000_000 }
    }

    #[test]
    fn steps_are_told_from_the_request_on_and_by_whoever_has_seen_them() {
        let mut steps = Steps::asked(5_000_000_000);
        steps.answered(1.5);
        let queued = StateChanged { state: DeploymentState::Queued.into(), ..Default::default() };
        steps.take(&at(5_020), &Event::StateChanged(queued));
        let source = StepFinished { step: Step::Source.into(), at: Some(at(5_070)), exit_code: Some(0) };
        steps.take(&at(5_090), &Event::StepFinished(source));
        for ms in [5_200, 5_900] {
            let install = StepStarted { step: Step::Install.into(), at: Some(at(ms)) };
            steps.take(&at(5_950), &Event::StepStarted(install));
        }
        let told: Vec<_> = (0..STEPS.len()).map(|step| steps.after(step)).collect();
        let wanted = [Some(1.5), Some(20.0), None, Some(70.0), None, Some(200.0)];
        assert_eq!(told[..6], wanted, "what is told twice counts when it was first");
        assert!(told[6..].iter().all(Option::is_none));
    }
}
