//! `grapnel trigger`, `grapnel deploy`, `grapnel deployment`.

use std::{
    io::{IsTerminal as _, Read as _},
    process::ExitCode,
    time::Duration,
};

use grapnel_domain::Reason;
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        CacheAction, CacheReported, CancelDeploymentRequest, Deployment, DeploymentEvent, DeploymentState,
        GetDeploymentRequest, HookAddress, ListDeploymentsRequest, StateChanged, TriggerDeploymentRequest,
        TriggerHookRequest, WatchDeploymentRequest, deployment_event::Event, trigger_hook_request::Target,
    },
};
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

use super::Client;
use crate::{
    args::{BuildArgs, DeploymentCommand},
    exit::Failure,
    output::{log_line, printable, state_name},
};

/// How a log is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// What there is by now.
    SoFar,
    /// Until the deployment ends.
    ToTheEnd,
}

impl Client {
    pub(super) async fn trigger(
        &mut self,
        hook: &str,
        title: String,
        build: &BuildArgs,
    ) -> Result<ExitCode, Failure> {
        let request = TriggerHookRequest {
            target: Some(target(hook)?),
            build_cache: build.no_cache.then_some(false),
            title,
            ..TriggerHookRequest::default()
        };
        let answer = self.answer(self.hooks.clone().trigger_hook(request)).await?;
        self.triggered(answer.deployment.unwrap_or_default(), build).await
    }

    pub(super) async fn deploy(
        &mut self,
        project: String,
        branch: Option<String>,
        build: &BuildArgs,
    ) -> Result<ExitCode, Failure> {
        let branch = branch.unwrap_or_default();
        let request = TriggerDeploymentRequest {
            project,
            branch,
            build_cache: build.no_cache.then_some(false),
            ..Default::default()
        };
        let answer = self.answer(self.hooks.clone().trigger_deployment(request)).await?;
        self.triggered(answer.deployment.unwrap_or_default(), build).await
    }

    pub(super) async fn deployment(&mut self, command: DeploymentCommand) -> Result<ExitCode, Failure> {
        match command {
            DeploymentCommand::List { project, limit } => {
                let request =
                    ListDeploymentsRequest { project, page_size: limit, ..ListDeploymentsRequest::default() };
                let answer = self.answer(self.hooks.clone().list_deployments(request)).await?;
                self.printer.message("grapnel.hooks.v1.ListDeploymentsResponse", &answer, |printer| {
                    printer.deployments(&answer.deployments)
                });
                Ok(ExitCode::SUCCESS)
            }
            DeploymentCommand::Show { deployment } => {
                self.show(&self.read(deployment).await?);
                Ok(ExitCode::SUCCESS)
            }
            DeploymentCommand::Logs { deployment, follow } => {
                let follow = if follow { Follow::ToTheEnd } else { Follow::SoFar };
                self.logs(deployment, follow).await
            }
            DeploymentCommand::Cancel { deployment } => {
                let request = CancelDeploymentRequest { deployment_id: deployment };
                let answer = self.answer(self.hooks.clone().cancel_deployment(request)).await?;
                self.show(&answer.deployment.unwrap_or_default());
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    async fn triggered(&self, deployment: Deployment, build: &BuildArgs) -> Result<ExitCode, Failure> {
        if !build.wait {
            self.show(&deployment);
            return Ok(ExitCode::SUCCESS);
        }
        if self.printer.for_people() {
            println!("{}", deployment.id);
        }
        self.logs(deployment.id, Follow::ToTheEnd).await
    }

    async fn read(&self, id: String) -> Result<Deployment, Failure> {
        let request = GetDeploymentRequest { deployment_id: id };
        Ok(self.answer(self.hooks.clone().get_deployment(request)).await?.deployment.unwrap_or_default())
    }

    fn show(&self, deployment: &Deployment) {
        self.printer
            .message("grapnel.hooks.v1.Deployment", deployment, |printer| printer.deployment(deployment));
    }

    /// Prints a deployment's history, with its state as the result.
    async fn logs(&self, id: String, follow: Follow) -> Result<ExitCode, Failure> {
        let unfinished = self.read(id.clone()).await?.finished_at.is_none();
        // The history of a deployment that has ended comes to its own end; that of one that goes on is at its end when
        // nothing comes for a while.
        let until = (follow == Follow::SoFar && unfinished).then_some(Duration::from_millis(500));
        let request =
            WatchDeploymentRequest { deployment_id: id.clone(), after_position: 0, ..Default::default() };
        let mut events = self.answer(self.hooks.clone().watch_deployment(request)).await?;
        let progress = Progress::start(follow == Follow::ToTheEnd && self.printer.for_people());
        loop {
            let message = match until {
                Some(silence) => match tokio::time::timeout(silence, events.message()).await {
                    Ok(message) => message,
                    Err(_) => break,
                },
                None => events.message().await,
            };
            let message = message.map_err(|status| {
                Failure::from_service(&from_status(&status, Reason::HooksUnavailable), &self.url)
            })?;
            let Some(message) = message else { break };
            if let Some(event) = &message.event {
                self.printer.streamed("grapnel.hooks.v1.DeploymentEvent", event, |_| {
                    progress.tell(event);
                });
            }
        }
        progress.end();
        let deployment = self.read(id).await?;
        if self.printer.for_people() {
            self.show(&deployment);
        }
        let ready = deployment.state() == DeploymentState::Ready;
        Ok(if ready || follow == Follow::SoFar { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Reads how a hook was named: by id, by URL, or by a URL on standard input.
fn target(hook: &str) -> Result<Target, Failure> {
    let mut text = hook.to_owned();
    if hook == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text)?;
    }
    let text = text.trim();
    if !text.contains("://") {
        return Ok(Target::HookId(text.to_owned()));
    }
    let url = url::Url::parse(text).map_err(|_| Failure::usage("the URL cannot be read"))?;
    let segments: Vec<_> = url.path_segments().map(Iterator::collect).unwrap_or_default();
    match segments[..] {
        [.., "deploy", project, token] => {
            Ok(Target::Address(HookAddress { project_id: project.to_owned(), token: token.to_owned() }))
        }
        _ => Err(Failure::usage("the URL is none of a hook: it ends with /deploy/<project id>/<token>")),
    }
}

/// Shows what a build does: lines, and on a terminal the step that runs.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn start(wanted: bool) -> Self {
        let bar = (wanted && std::io::stdout().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar }
    }

    fn tell(&self, event: &DeploymentEvent) {
        match &event.event {
            Some(Event::Log(log)) => {
                for line in &log.lines {
                    self.line(&log_line(&line.text));
                }
            }
            Some(Event::StepStarted(started)) => self.stage(step_name(started.step().as_str_name())),
            Some(Event::StateChanged(changed)) => self.state(changed),
            Some(Event::CacheReported(report)) => {
                self.line(&cache_line(report));
            }
            Some(Event::LogRemoved(_)) => {
                self.line(
                    "[the log of this deployment was removed: it was older than the installation keeps logs]",
                );
            }
            Some(Event::StepFinished(_)) | None => {}
        }
    }

    fn state(&self, changed: &StateChanged) {
        let name = state_name(changed.state());
        match &changed.failure {
            Some(failure) => {
                self.line(&format!("[{name}] {}: {}", failure.code, printable(&failure.message)));
            }
            None => self.line(&format!("[{name}]")),
        }
    }

    fn stage(&self, name: String) {
        match &self.bar {
            Some(bar) => bar.set_message(name),
            None => println!("--- {name}"),
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => println!("{text}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
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
