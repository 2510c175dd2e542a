//! What happened to a deployment so far, as its page tells it: steps with their times, what became of the cache, attempts that
//! were lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{
        CacheAction, CacheOutcome, CacheReported, DeploymentEvent, DeploymentState, Step,
        deployment_event::Event,
    },
};

/// The story of a deployment, told event by event.
#[derive(Debug, Default)]
pub struct Story {
    attempt: u32,
    /// The position of the last event that it tells of.
    pub position: u64,
    /// The steps of the last attempt, in the order in which they began.
    pub steps: Vec<StepRun>,
    /// What was told of the last attempt's cache.
    pub caches: Vec<CacheReported>,
    /// What ended attempts that were tried again.
    pub lost: Vec<Lost>,
}

/// One run of a step.
#[derive(Debug)]
pub struct StepRun {
    /// Its name.
    pub name: &'static str,
    /// When it began.
    pub started: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished: Option<DateTime<Utc>>,
    /// The exit code of its command; none where it did not get to its end.
    pub exit_code: Option<i32>,
}

/// An attempt that was lost.
#[derive(Debug)]
pub struct Lost {
    /// Which, from 1.
    pub attempt: u32,
    /// Why.
    pub message: String,
}

impl StepRun {
    /// Returns how long it took, or none while it goes on.
    pub fn took(&self) -> Option<Duration> {
        (self.finished? - self.started?).to_std().ok()
    }

    /// Tells how it stands, in a word.
    pub fn outcome(&self) -> &'static str {
        match (self.finished, self.exit_code) {
            (None, _) => "running",
            (Some(_), Some(0)) => "done",
            (Some(_), Some(_)) => "failed",
            (Some(_), None) => "broken off",
        }
    }
}

impl Story {
    /// Goes on with what happened next. Log lines are not part of it.
    pub fn tell(&mut self, event: &DeploymentEvent) {
        self.position = event.position;
        if event.attempt > self.attempt {
            self.attempt = event.attempt;
            self.steps.clear();
            self.caches.clear();
        }
        match &event.event {
            Some(Event::StepStarted(started)) => self.steps.push(StepRun {
                name: step_name(started.step),
                started: datetime(started.at.as_ref()),
                finished: None,
                exit_code: None,
            }),
            Some(Event::StepFinished(finished)) => {
                let name = step_name(finished.step);
                let open = self.steps.iter_mut().rev().find(|run| run.name == name && run.finished.is_none());
                if let Some(run) = open {
                    run.finished = datetime(finished.at.as_ref());
                    run.exit_code = finished.exit_code;
                }
            }
            Some(Event::CacheReported(report)) => self.caches.push(report.clone()),
            Some(Event::StateChanged(change)) if change.state() == DeploymentState::Queued => {
                let message = change.failure.as_ref().map(|failure| failure.message.clone());
                self.lost.extend(message.map(|message| Lost { attempt: self.attempt, message }));
            }
            _ => {}
        }
    }

    /// Returns the name of the step that runs.
    pub fn running(&self) -> Option<&'static str> {
        self.steps.iter().rev().find(|run| run.finished.is_none()).map(|run| run.name)
    }
}

/// Returns a step's name.
pub fn step_name(step: i32) -> &'static str {
    match Step::try_from(step) {
        Ok(Step::Source) => "source",
        Ok(Step::Cache) => "cache",
        Ok(Step::Install) => "install",
        Ok(Step::Build) => "build",
        Ok(Step::Output) => "output",
        Ok(Step::Unspecified) | Err(_) => "",
    }
}

/// Says in words what became of a cache.
pub fn cache_words(report: &CacheReported) -> &'static str {
    match (report.action(), report.outcome()) {
        (CacheAction::Kept, _) => "kept for the next build",
        (CacheAction::NotKept, _) => "not kept",
        (_, CacheOutcome::Hit) => "restored",
        (_, CacheOutcome::Miss) => "none yet",
        (_, CacheOutcome::Off) => "not wanted",
        (_, CacheOutcome::Unspecified) => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use grapnel_proto::hooks::v1::{Failure, StateChanged, StepFinished, StepStarted};
    use prost_types::Timestamp;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn event(attempt: u32, event: Event) -> DeploymentEvent {
        DeploymentEvent { position: 1, at: at(0), attempt, event: Some(event) }
    }

    #[test]
    fn steps_are_told_with_their_times_and_ends() {
        let mut story = Story::default();
        story.tell(&event(1, Event::StepStarted(StepStarted { step: Step::Source.into(), at: at(10) })));
        assert_eq!(story.running(), Some("source"));
        let finished = StepFinished { step: Step::Source.into(), at: at(12), exit_code: Some(0) };
        story.tell(&event(1, Event::StepFinished(finished)));
        story.tell(&event(1, Event::StepStarted(StepStarted { step: Step::Build.into(), at: at(12) })));
        let finished = StepFinished { step: Step::Build.into(), at: at(15), exit_code: Some(2) };
        story.tell(&event(1, Event::StepFinished(finished)));
        let told: Vec<_> = story.steps.iter().map(|run| (run.name, run.took(), run.outcome())).collect();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(told, [("source", seconds(2), "done"), ("build", seconds(3), "failed")]);
    }

    #[test]
    fn an_attempt_that_is_tried_again_begins_the_steps_anew() {
        let mut story = Story::default();
        story.tell(&event(1, Event::StepStarted(StepStarted { step: Step::Source.into(), at: at(10) })));
        let failure = Some(Failure { message: "the executor was lost".into(), ..Failure::default() });
        let change = StateChanged { state: DeploymentState::Queued.into(), failure, cancellation: None };
        story.tell(&event(0, Event::StateChanged(change)));
        story.tell(&event(2, Event::StepStarted(StepStarted { step: Step::Source.into(), at: at(20) })));
        assert_eq!(story.steps.len(), 1);
        assert_eq!((story.lost[0].attempt, story.lost[0].message.as_str()), (1, "the executor was lost"));
    }
}
