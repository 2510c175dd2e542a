//! What happens in a build: from executors to hooks services, and from those to watchers.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    Error,
    deployment::CancelReason,
    event::{
        BuildEvent, CacheAction, CacheOutcome, CacheReport, DeploymentEvent, LogLine, Outcome, Step, Stream,
    },
};

use super::{
    deployment::{cancellation_to_wire, failure_from_wire, failure_to_wire, state_to_wire},
    time::{datetime, duration, timestamp},
};
use crate::{
    executor::v1::{self as executor, trigger_deploy_response, trigger_deploy_response::Event as Sent},
    hooks::v1::{self as wire, deployment_event::Event as Shown},
};

/// Writes one event of an attempt, as executors stream it.
pub fn build_event_to_wire(sequence: u64, event: &BuildEvent) -> executor::TriggerDeployResponse {
    let event = match event {
        BuildEvent::StepStarted { step, at } => Sent::StepStarted(step_started(*step, *at)),
        BuildEvent::Log { step, lines } => Sent::Log(log_lines(*step, lines)),
        BuildEvent::StepFinished { step, at, exit_code } => {
            Sent::StepFinished(step_finished(*step, *at, *exit_code))
        }
        BuildEvent::Cache(report) => Sent::CacheReported(cache_reported(report)),
        BuildEvent::Finished { at, outcome } => Sent::Finished(finished(*at, outcome)),
    };
    executor::TriggerDeployResponse { sequence, event: Some(event) }
}

/// Writes a heartbeat.
pub fn heartbeat() -> executor::TriggerDeployResponse {
    let event = trigger_deploy_response::Event::Heartbeat(executor::Heartbeat {});
    executor::TriggerDeployResponse { sequence: 0, event: Some(event) }
}

/// Reads what an executor streamed: an event with its number, or `None` for a heartbeat.
///
/// # Errors
/// The message is not one that an executor of this release sends.
pub fn build_event_from_wire(
    message: executor::TriggerDeployResponse,
) -> Result<Option<(u64, BuildEvent)>, Error> {
    let event = match message.event.ok_or_else(|| nonsense("an event is missing"))? {
        Sent::Heartbeat(_) => return Ok(None),
        Sent::StepStarted(event) => {
            BuildEvent::StepStarted { step: step(event.step)?, at: time(event.at.as_ref())? }
        }
        Sent::Log(event) => BuildEvent::Log {
            step: step(event.step)?,
            lines: event.lines.into_iter().map(log_line).collect::<Result<_, _>>()?,
        },
        Sent::StepFinished(event) => BuildEvent::StepFinished {
            step: step(event.step)?,
            at: time(event.at.as_ref())?,
            exit_code: event.exit_code,
        },
        Sent::CacheReported(event) => BuildEvent::Cache(cache_report(event)?),
        Sent::Finished(event) => BuildEvent::Finished {
            at: time(event.at.as_ref())?,
            outcome: outcome(event.outcome.ok_or_else(|| nonsense("an outcome is missing"))?)?,
        },
    };
    Ok(Some((message.sequence, event)))
}

/// Writes one event of a deployment, as watchers see it. `None` for the end of an attempt, which they see as the
/// change of state that follows from it.
pub fn deployment_event_to_wire(
    position: u64,
    at: DateTime<Utc>,
    event: &DeploymentEvent,
) -> Option<wire::DeploymentEvent> {
    let (attempt, event) = match event {
        DeploymentEvent::State(change) => {
            let changed = wire::StateChanged {
                state: state_to_wire(change.state).into(),
                failure: change.failure.as_ref().map(failure_to_wire),
                cancellation: change.canceled.map(cancellation_to_wire),
            };
            (0, Shown::StateChanged(changed))
        }
        DeploymentEvent::Build { attempt, event } => (*attempt, shown(event)?),
        DeploymentEvent::LogRemoved => (0, Shown::LogRemoved(wire::LogRemoved {})),
    };
    Some(wire::DeploymentEvent { position, at: Some(timestamp(at)), attempt, event: Some(event) })
}

fn shown(event: &BuildEvent) -> Option<Shown> {
    Some(match event {
        BuildEvent::StepStarted { step, at } => Shown::StepStarted(step_started(*step, *at)),
        BuildEvent::Log { step, lines } => Shown::Log(log_lines(*step, lines)),
        BuildEvent::StepFinished { step, at, exit_code } => {
            Shown::StepFinished(step_finished(*step, *at, *exit_code))
        }
        BuildEvent::Cache(report) => Shown::CacheReported(cache_reported(report)),
        BuildEvent::Finished { .. } => return None,
    })
}

/// Writes the name of a step.
pub fn step_to_wire(step: Step) -> wire::Step {
    match step {
        Step::Source => wire::Step::Source,
        Step::Cache => wire::Step::Cache,
        Step::Install => wire::Step::Install,
        Step::Build => wire::Step::Build,
        Step::Output => wire::Step::Output,
    }
}

fn step_started(step: Step, at: DateTime<Utc>) -> wire::StepStarted {
    wire::StepStarted { step: step_to_wire(step).into(), at: Some(timestamp(at)) }
}

fn step_finished(step: Step, at: DateTime<Utc>, exit_code: Option<i32>) -> wire::StepFinished {
    wire::StepFinished { step: step_to_wire(step).into(), at: Some(timestamp(at)), exit_code }
}

fn log_lines(step: Step, lines: &[LogLine]) -> wire::LogLines {
    let lines = lines.iter().map(|line| wire::LogLine {
        stream: match line.stream {
            Stream::Stdout => wire::LogStream::Stdout,
            Stream::Stderr => wire::LogStream::Stderr,
            Stream::System => wire::LogStream::System,
        }
        .into(),
        at: Some(timestamp(line.at)),
        text: line.text.clone(),
    });
    wire::LogLines { step: step_to_wire(step).into(), lines: lines.collect() }
}

fn cache_reported(report: &CacheReport) -> wire::CacheReported {
    let outcome = match report.outcome {
        CacheOutcome::Hit => wire::CacheOutcome::Hit,
        CacheOutcome::Miss => wire::CacheOutcome::Miss,
        CacheOutcome::Off => wire::CacheOutcome::Off,
    };
    let action = match report.action {
        CacheAction::Restored => wire::CacheAction::Restored,
        CacheAction::Kept => wire::CacheAction::Kept,
        CacheAction::NotKept => wire::CacheAction::NotKept,
    };
    wire::CacheReported {
        outcome: outcome.into(),
        key: report.key.clone(),
        detail: report.detail.clone(),
        action: action.into(),
        layers: report.layers,
        bytes: report.bytes,
        took: duration(report.took),
    }
}

fn cache_report(event: wire::CacheReported) -> Result<CacheReport, Error> {
    let outcome = match event.outcome() {
        wire::CacheOutcome::Hit => CacheOutcome::Hit,
        wire::CacheOutcome::Miss => CacheOutcome::Miss,
        wire::CacheOutcome::Off => CacheOutcome::Off,
        wire::CacheOutcome::Unspecified => return Err(nonsense("a cache report names no outcome")),
    };
    let action = match event.action() {
        // An executor of the release before this one told only of the beginning.
        wire::CacheAction::Restored | wire::CacheAction::Unspecified => CacheAction::Restored,
        wire::CacheAction::Kept => CacheAction::Kept,
        wire::CacheAction::NotKept => CacheAction::NotKept,
    };
    Ok(CacheReport {
        action,
        outcome,
        key: event.key,
        detail: event.detail,
        layers: event.layers,
        bytes: event.bytes,
        took: event.took.and_then(|took| took.try_into().ok()).unwrap_or_default(),
    })
}

fn finished(at: DateTime<Utc>, outcome: &Outcome) -> executor::Finished {
    use executor::finished::Outcome as Wire;
    let outcome = match outcome {
        Outcome::Ready { files, bytes } => Wire::Ready(wire::Artifact { files: *files, bytes: *bytes }),
        Outcome::Failed { failure } => Wire::Failed(failure_to_wire(failure)),
        Outcome::Skipped { reason } => {
            Wire::Skipped(executor::Skipped { reason: cancellation_to_wire(*reason).reason })
        }
        Outcome::Canceled => Wire::Canceled(executor::Canceled {}),
    };
    executor::Finished { at: Some(timestamp(at)), outcome: Some(outcome) }
}

fn outcome(outcome: executor::finished::Outcome) -> Result<Outcome, Error> {
    use executor::finished::Outcome as Wire;
    Ok(match outcome {
        Wire::Ready(artifact) => Outcome::Ready { files: artifact.files, bytes: artifact.bytes },
        Wire::Failed(failure) => Outcome::Failed { failure: failure_from_wire(&failure) },
        Wire::Canceled(_) => Outcome::Canceled,
        Wire::Skipped(skipped) => Outcome::Skipped {
            reason: match skipped.reason() {
                wire::CancelReason::DisabledByConfig => CancelReason::DisabledByConfig,
                wire::CancelReason::IgnoredByCommand => CancelReason::IgnoredByCommand,
                _ => return Err(nonsense("a build is skipped for a reason that is none")),
            },
        },
    })
}

fn log_line(line: wire::LogLine) -> Result<LogLine, Error> {
    let stream = match line.stream() {
        wire::LogStream::Stdout => Stream::Stdout,
        wire::LogStream::Stderr => Stream::Stderr,
        wire::LogStream::System => Stream::System,
        wire::LogStream::Unspecified => return Err(nonsense("a log line names no stream")),
    };
    Ok(LogLine { stream, at: time(line.at.as_ref())?, text: line.text })
}

fn step(number: i32) -> Result<Step, Error> {
    match wire::Step::try_from(number) {
        Ok(wire::Step::Source) => Ok(Step::Source),
        Ok(wire::Step::Cache) => Ok(Step::Cache),
        Ok(wire::Step::Install) => Ok(Step::Install),
        Ok(wire::Step::Build) => Ok(Step::Build),
        Ok(wire::Step::Output) => Ok(Step::Output),
        Ok(wire::Step::Unspecified) | Err(_) => Err(nonsense("an event names no step")),
    }
}

fn time(at: Option<&prost_types::Timestamp>) -> Result<DateTime<Utc>, Error> {
    datetime(at).ok_or_else(|| nonsense("an event has no time"))
}

fn nonsense(what: &str) -> Error {
    Error::internal(format!("the executor's message cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use grapnel_domain::failure::{Failure, FailureCode};

    use super::*;

    #[test]
    fn every_event_survives_the_way_from_the_executor() {
        let at: DateTime<Utc> = "2026-11-24T08:00:00.123456Z".parse().unwrap();
        let line = |stream| LogLine { stream, at, text: "\u{1b}[32mok".into() };
        let finished = |outcome| BuildEvent::Finished { at, outcome };
        let mut events = vec![
            BuildEvent::Log {
                step: Step::Build,
                lines: vec![line(Stream::Stdout), line(Stream::Stderr), line(Stream::System)],
            },
            finished(Outcome::Ready { files: 3, bytes: 4096 }),
            finished(Outcome::Failed { failure: Failure::new(FailureCode::BuildFailed, "exit code 3") }),
            finished(Outcome::Canceled),
            finished(Outcome::Skipped { reason: CancelReason::DisabledByConfig }),
            finished(Outcome::Skipped { reason: CancelReason::IgnoredByCommand }),
        ];
        for step in Step::ALL {
            events.push(BuildEvent::StepStarted { step, at });
            events.push(BuildEvent::StepFinished { step, at, exit_code: Some(-1) });
        }
        for outcome in [CacheOutcome::Hit, CacheOutcome::Miss, CacheOutcome::Off] {
            for action in [CacheAction::Restored, CacheAction::Kept, CacheAction::NotKept] {
                events.push(BuildEvent::Cache(CacheReport {
                    action,
                    outcome,
                    key: "k".into(),
                    detail: "d".into(),
                    layers: 3,
                    bytes: 1 << 33,
                    took: std::time::Duration::from_micros(1_234_567),
                }));
            }
        }
        for (sequence, event) in (1..).zip(events) {
            let read = build_event_from_wire(build_event_to_wire(sequence, &event)).unwrap();
            assert_eq!(read, Some((sequence, event)));
        }
        assert_eq!(build_event_from_wire(heartbeat()).unwrap(), None);
    }

    #[test]
    fn a_message_without_its_parts_is_refused() {
        assert!(build_event_from_wire(executor::TriggerDeployResponse::default()).is_err());
        let event = Some(Sent::StepStarted(wire::StepStarted { step: 77, at: None }));
        assert!(build_event_from_wire(executor::TriggerDeployResponse { sequence: 1, event }).is_err());
    }
}
