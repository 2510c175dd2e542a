//! One event of a deployment, as callers know it.

use grapnel_proto::hooks::v1::{self as wire, DeploymentState, LogStream, Step, deployment_event::Event};
use prost_types::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{paging::milliseconds, status::State};

/// Something that happened to a deployment: mostly a line that was printed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentEvent {
    /// The place in the history.
    pub id: String,
    /// The same, so that the order of texts is that of events.
    pub serial: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// How bad it is; not there for what is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// When, in milliseconds of Unix time.
    pub created: i64,
    /// When, again.
    pub date: i64,
    /// The deployment's id.
    pub deployment_id: String,
    /// What was printed, control characters included, or what happened in words.
    pub text: String,
    /// What it belongs to.
    pub info: EventInfo,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A line on the standard output.
    Stdout,
    /// A line on the standard error.
    Stderr,
    /// A line of Grapnel's own.
    Command,
    /// A step begins or ends.
    Delimiter,
    /// The deployment is in another state.
    DeploymentState,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It failed.
    Error,
}

/// What an event belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventInfo {
    /// `build`.
    #[serde(rename = "type")]
    pub kind: InfoKind,
    /// The step: `source`, `cache`, `install`, `build`, `output`; empty outside of steps.
    pub name: String,
    /// The state that the deployment is in from here on; not there where it stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_state: Option<State>,
}

/// What an event belongs to.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InfoKind {
    /// The deployment's build.
    Build,
}

/// Something that happened, before it has its place.
struct Told {
    kind: EventKind,
    level: Option<Level>,
    at: Option<i64>,
    step: String,
    state: Option<State>,
    text: String,
}

impl Told {
    fn new(kind: EventKind, step: Option<Step>, text: impl Into<String>) -> Self {
        let step = step.map(step_name).unwrap_or_default();
        Self { kind, level: None, at: None, step, state: None, text: text.into() }
    }

    fn at(self, at: Option<&Timestamp>) -> Self {
        Self { at: milliseconds(at), ..self }
    }
}

/// Returns what an event of the history tells: one event, or one for each line that it holds.
pub fn events_of(deployment: &str, event: &wire::DeploymentEvent) -> Vec<DeploymentEvent> {
    let stored = milliseconds(event.at.as_ref()).unwrap_or_default();
    let told = told(event).into_iter().zip(0u32..);
    let shaped = told.map(|(told, line)| {
        // As wide as the largest, so that texts sort as numbers do.
        let serial = format!("{:012}-{line:05}", event.position);
        let at = told.at.unwrap_or(stored);
        DeploymentEvent {
            id: serial.clone(),
            serial,
            kind: told.kind,
            level: told.level,
            created: at,
            date: at,
            deployment_id: deployment.to_owned(),
            text: told.text,
            info: EventInfo { kind: InfoKind::Build, name: told.step, ready_state: told.state },
        }
    });
    shaped.collect()
}

fn told(event: &wire::DeploymentEvent) -> Vec<Told> {
    match &event.event {
        Some(Event::StateChanged(changed)) => vec![state(changed)],
        Some(Event::StepStarted(started)) => {
            let text = format!("step {} begins", step_name(started.step()));
            vec![Told::new(EventKind::Delimiter, Some(started.step()), text).at(started.at.as_ref())]
        }
        Some(Event::StepFinished(finished)) => {
            let name = step_name(finished.step());
            let (text, level) = match finished.exit_code {
                Some(0) => (format!("step {name} is done"), None),
                Some(code) => (format!("step {name} ended with exit code {code}"), Some(Level::Error)),
                None => (format!("step {name} did not get to its end"), Some(Level::Error)),
            };
            let told = Told::new(EventKind::Delimiter, Some(finished.step()), text);
            vec![Told { level, ..told.at(finished.at.as_ref()) }]
        }
        Some(Event::Log(log)) => log.lines.iter().map(|line| printed(log.step(), line)).collect(),
        Some(Event::CacheReported(report)) => {
            vec![Told::new(EventKind::Command, Some(Step::Cache), report.detail.clone())]
        }
        Some(Event::LogRemoved(_)) => {
            vec![Told::new(
                EventKind::Command,
                None,
                "the log was removed, as the installation's retention says",
            )]
        }
        None => Vec::new(),
    }
}

fn printed(step: Step, line: &wire::LogLine) -> Told {
    let kind = match line.stream() {
        LogStream::Unspecified | LogStream::Stdout => EventKind::Stdout,
        LogStream::Stderr => EventKind::Stderr,
        LogStream::System => EventKind::Command,
    };
    Told::new(kind, Some(step), line.text.clone()).at(line.at.as_ref())
}

fn state(changed: &wire::StateChanged) -> Told {
    let name = changed.state().as_str_name().trim_start_matches("DEPLOYMENT_STATE_");
    let text = match (&changed.failure, &changed.cancellation) {
        (Some(failure), _) => format!("{name}: {}: {}", failure.code, failure.message),
        (None, Some(canceled)) => {
            let reason = canceled.reason().as_str_name().trim_start_matches("CANCEL_REASON_");
            format!("{name}: {reason} {}", canceled.superseded_by).trim_end().to_owned()
        }
        (None, None) => name.to_owned(),
    };
    let level = (changed.state() == DeploymentState::Error).then_some(Level::Error);
    let told = Told::new(EventKind::DeploymentState, None, text);
    Told { level, state: Some(changed.state().into()), ..told }
}

fn step_name(step: Step) -> String {
    match step {
        Step::Unspecified => String::new(),
        step => step.as_str_name().trim_start_matches("STEP_").to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: Event) -> wire::DeploymentEvent {
        let at = Some(Timestamp { seconds: 1, nanos: 500_000_000 });
        wire::DeploymentEvent { position: 7, at, attempt: 1, event: Some(event) }
    }

    #[test]
    fn each_line_is_an_event_with_the_time_at_which_it_was_printed() {
        let line = |stream: LogStream, text: &str| wire::LogLine {
            stream: stream.into(),
            at: Some(Timestamp { seconds: 1, nanos: 250_000_000 }),
            text: text.into(),
        };
        let lines = vec![
            line(LogStream::Stdout, "built"),
            line(LogStream::Stderr, "\u{1b}[33mwarning\u{1b}[0m <b>"),
            line(LogStream::System, "$ npm run build"),
        ];
        let log = event(Event::Log(wire::LogLines { step: Step::Build.into(), lines }));
        insta::assert_json_snapshot!(events_of("dpl_1", &log));
    }

    #[test]
    fn steps_states_and_caches_are_told_in_words() {
        let failure = wire::Failure {
            code: "BUILD_FAILED".into(),
            message: "it ended with 1".into(),
            ..Default::default()
        };
        let canceled = wire::Cancellation {
            reason: wire::CancelReason::Superseded.into(),
            superseded_by: "dpl_2".into(),
        };
        let changed =
            |state: DeploymentState| wire::StateChanged { state: state.into(), ..Default::default() };
        let finished = |exit_code| wire::StepFinished { step: Step::Install.into(), at: None, exit_code };
        let told = [
            Event::StateChanged(changed(DeploymentState::Ready)),
            Event::StateChanged(wire::StateChanged {
                failure: Some(failure),
                ..changed(DeploymentState::Error)
            }),
            Event::StateChanged(wire::StateChanged {
                cancellation: Some(canceled),
                ..changed(DeploymentState::Canceled)
            }),
            Event::StepStarted(wire::StepStarted { step: Step::Install.into(), at: None }),
            Event::StepFinished(finished(Some(0))),
            Event::StepFinished(finished(Some(137))),
            Event::StepFinished(finished(None)),
            Event::CacheReported(wire::CacheReported { detail: "a hit".into(), ..Default::default() }),
            Event::LogRemoved(wire::LogRemoved {}),
        ];
        let told = told.into_iter().flat_map(|told| events_of("dpl_1", &event(told)));
        let told: Vec<_> = told.map(|it| (it.created, it.info.name, it.info.ready_state, it.text)).collect();
        insta::assert_json_snapshot!(told);
    }
}
