//! A deployment as a watcher sees it.

use anyhow::{Context as _, Result, bail, ensure};
use grapnel_e2e::{Repository, grapnel::Client};
use grapnel_proto::hooks::v1::{
    BuildSettings, CreateProjectRequest, DeploymentState, LogLine, LogStream, Step, WatchDeploymentRequest,
    WatchDeploymentResponse, deployment_event::Event,
};
use grapnel_runtime::Clock;
use tonic::Streaming;

/// The events of a deployment, from its first to its last.
pub type Events = Streaming<WatchDeploymentResponse>;

/// Begins to watch a deployment.
///
/// # Errors
/// The service refuses.
pub async fn watch(client: &mut Client, id: &str) -> Result<Events> {
    let request = WatchDeploymentRequest { deployment_id: id.to_owned(), ..Default::default() };
    Ok(client.watch_deployment(request).await?.into_inner())
}

/// Describes a project that only builds: nothing is installed, and all of its repository is published.
pub fn project(name: &str, repository: &Repository, build: &str) -> CreateProjectRequest {
    let settings = BuildSettings {
        install_command: Some(String::new()),
        build_command: Some(build.to_owned()),
        output_directory: Some(".".to_owned()),
        ..Default::default()
    };
    CreateProjectRequest {
        name: name.to_owned(),
        repository_url: repository.path(),
        settings: Some(settings),
        ..Default::default()
    }
}

/// Returns what the build command printed, as far as an event has some of it.
pub fn printed(event: &Event) -> impl Iterator<Item = &LogLine> {
    let log = match event {
        Event::Log(log) if log.step() == Step::Build => Some(log),
        _ => None,
    };
    log.into_iter().flat_map(|log| &log.lines).filter(|line| line.stream() == LogStream::Stdout)
}

/// Waits for the first line that the build command prints.
///
/// # Errors
/// It prints none.
pub async fn first_line(events: &mut Events) -> Result<String> {
    while let Some(event) = next(events).await? {
        if let Some(line) = printed(&event).next() {
            return Ok(line.text.clone());
        }
    }
    bail!("the build printed nothing")
}

/// Waits for the end of a deployment, which is to be READY.
///
/// # Errors
/// It is another one.
pub async fn until_ready(events: &mut Events) -> Result<()> {
    let mut last = None;
    while let Some(event) = next(events).await? {
        if let Event::StateChanged(change) = event {
            last = Some(change);
        }
    }
    let last = last.context("the deployment has no state")?;
    ensure!(last.state() == DeploymentState::Ready, "the build came to another end: {last:?}");
    Ok(())
}

/// Returns what happens next; none at the end.
///
/// # Errors
/// The stream breaks.
pub async fn next(events: &mut Events) -> Result<Option<Event>> {
    let message = events.message().await?;
    message.map(|message| message.event.and_then(|it| it.event).context("an event is missing")).transpose()
}

/// Returns the time of the machine's clock in nanoseconds, as `date +%s%N` prints it.
pub fn now_ns(clock: &Clock) -> i64 {
    clock.now().timestamp_nanos_opt().unwrap_or_default()
}
