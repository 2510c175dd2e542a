//! What a watch shows: lines on standard output and, on a terminal, beside them what goes on at the moment.

use std::time::Duration;

use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{
        CacheAction, CacheReported, Deployment, DeploymentEvent, DeploymentState, StateChanged, StepFinished,
        StepStarted, deployment_event::Event,
    },
    json::to_json,
};
use grapnel_runtime::Clock;
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    exit::Failure,
    out,
    output::{Printer, colour_of_state, log_line, printable, state_name},
    terminal::Colour,
};

/// How many bytes of lines are kept until they are written, while more come.
const HELD: usize = 64 * 1024;

/// How often what moves is drawn.
const TICK: Duration = Duration::from_millis(100);

/// What of a deployment's history is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Everything.
    Log,
    /// Its states and steps.
    Steps,
}

/// Tells a deployment's history as it comes.
pub struct Telling<'a> {
    printer: &'a Printer,
    shown: Shown,
    held: String,
    bar: Option<ProgressBar>,
    state: DeploymentState,
    step_began: Option<prost_types::Timestamp>,
}

impl<'a> Telling<'a> {
    /// Begins; `moving` says whether what goes on is to be shown where there is a terminal.
    pub fn start(printer: &'a Printer, shown: Shown, deployment: &Deployment, moving: bool) -> Self {
        let goes_on = deployment.finished_at.is_none();
        let moving = moving && goes_on && printer.for_people() && printer.terminal().progress;
        let mut telling = Self {
            printer,
            shown,
            held: String::new(),
            bar: moving.then(|| spinner(deployment)),
            state: deployment.state(),
            step_began: None,
        };
        telling.enter(deployment.state());
        telling
    }

    /// Tells one event.
    pub fn tell(&mut self, event: &DeploymentEvent) -> Result<(), Failure> {
        if !self.printer.for_people() {
            let wanted = self.shows_log() || !matches!(event.event, Some(Event::Log(_)));
            let json = || to_json("grapnel.hooks.v1.DeploymentEvent", event).to_string();
            return if wanted { self.line(&json()) } else { Ok(()) };
        }
        match &event.event {
            Some(Event::Log(log)) if self.shows_log() => {
                let colours = self.printer.terminal().colours;
                log.lines.iter().try_for_each(|line| self.line(&log_line(&line.text, colours)))
            }
            Some(Event::StepStarted(started)) => self.begin(started),
            Some(Event::StepFinished(finished)) => self.finish(finished),
            Some(Event::StateChanged(changed)) => self.change(changed),
            Some(Event::CacheReported(report)) => self.faint(&cache_line(report)),
            Some(Event::LogRemoved(_)) => self.faint(
                "[the log of this deployment was removed: it was older than the installation keeps logs]",
            ),
            Some(Event::Log(_)) | None => Ok(()),
        }
    }

    /// Tells whether it shows the lines of a log.
    pub fn shows_log(&self) -> bool {
        self.shown == Shown::Log
    }

    /// Tells how many deployments wait before this one, while it waits.
    pub fn wait_behind(&self, others: usize) {
        let before = match others {
            0 => "it is the next".to_owned(),
            1 => "1 deployment waits before it".to_owned(),
            more => format!("{more} deployments wait before it"),
        };
        self.say(format!("QUEUED, waits for a free slot; {before}"));
    }

    /// Tells that the line is cut.
    pub fn reconnect(&self) {
        self.say("the service does not answer; trying again".to_owned());
    }

    /// Tells whether it waits for a slot, and somebody sees that.
    pub fn waits(&self) -> bool {
        self.bar.is_some() && self.state == DeploymentState::Queued
    }

    /// Writes what is kept.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.held.is_empty() {
            return Ok(());
        }
        let written = match &self.bar {
            Some(bar) => bar.suspend(|| out::text(&self.held)),
            None => out::text(&self.held),
        };
        self.held.clear();
        written
    }

    /// Writes what is kept and takes away what moves.
    pub fn end(mut self) -> Result<(), Failure> {
        self.flush()
    }

    fn begin(&mut self, started: &StepStarted) -> Result<(), Failure> {
        let step = step_name(started.step().as_str_name());
        self.step_began = started.at;
        self.say(format!("BUILDING, {step}"));
        match self.shown {
            Shown::Log => self.faint(&format!("--- {step}")),
            Shown::Steps => Ok(()),
        }
    }

    fn finish(&mut self, finished: &StepFinished) -> Result<(), Failure> {
        let began = self.step_began.take();
        if self.shows_log() {
            return Ok(());
        }
        let (began, ended) = (datetime(began.as_ref()), datetime(finished.at.as_ref()));
        let took = began.zip(ended).and_then(|(began, ended)| (ended - began).to_std().ok());
        let took = took.unwrap_or_default().as_secs_f64();
        let end = match finished.exit_code {
            Some(0) => String::new(),
            Some(code) => format!(", exit code {code}"),
            None => ", cut short".to_owned(),
        };
        self.line(&format!("{:<8} {took:.1} s{end}", step_name(finished.step().as_str_name())))
    }

    fn change(&mut self, changed: &StateChanged) -> Result<(), Failure> {
        let state = changed.state();
        self.enter(state);
        let name = self.printer.terminal().painted(colour_of_state(state), state_name(state));
        match &changed.failure {
            Some(failure) => {
                self.line(&format!("[{name}] {}: {}", failure.code, printable(&failure.message)))
            }
            None => self.line(&format!("[{name}]")),
        }
    }

    fn enter(&mut self, state: DeploymentState) {
        self.state = state;
        self.say(match state {
            DeploymentState::Pending => "PENDING, its commit is looked for".to_owned(),
            DeploymentState::Queued => "QUEUED, waits for a free slot".to_owned(),
            other => state_name(other).to_owned(),
        });
    }

    fn say(&self, what: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(what);
        }
    }

    fn faint(&mut self, text: &str) -> Result<(), Failure> {
        let text = self.printer.terminal().painted(Some(Colour::Faint), text);
        self.line(&text)
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.held.push_str(text);
        self.held.push('\n');
        if self.held.len() < HELD { Ok(()) } else { self.flush() }
    }
}

/// However a watch ends, nothing that moves is left on the terminal.
impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What turns on standard error, with how long the deployment is there.
fn spinner(deployment: &Deployment) -> ProgressBar {
    let since = datetime(deployment.created_at.as_ref()).map(|at| Clock::system().now() - at);
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_elapsed(since.and_then(|since| since.to_std().ok()).unwrap_or_default());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn step_name(name: &str) -> String {
    name.trim_start_matches("STEP_").to_lowercase()
}

/// Tells what became of a build's cache in one line, such as `cache hit: … (3 layers, 120.5 MiB, 2 ms)`.
fn cache_line(report: &CacheReported) -> String {
    let what = match report.action() {
        CacheAction::Kept => "kept".to_owned(),
        CacheAction::NotKept => "not kept".to_owned(),
        CacheAction::Restored | CacheAction::Unspecified => {
            report.outcome().as_str_name().trim_start_matches("CACHE_OUTCOME_").to_lowercase()
        }
    };
    let took: Duration = report.took.and_then(|took| took.try_into().ok()).unwrap_or_default();
    let size = match report.layers {
        0 => String::new(),
        1 => format!("1 layer, {}, ", BinaryBytes(report.bytes)),
        many => format!("{many} layers, {}, ", BinaryBytes(report.bytes)),
    };
    format!("cache {what}: {} ({size}{} ms)", printable(&report.detail), took.as_millis())
}
