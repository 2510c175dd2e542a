//! The sandbox of one attempt: started, spoken to, ended.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use grapnel_domain::{
    build::{BuildLimits, BuildSpec},
    event::Step,
    failure::{Failure, FailureCode},
};
use grapnel_run::message::{StepExit, StepRequest};
use tokio::{sync::watch, time::timeout};

use super::{
    environment::{BODY, CA_BUNDLE, CACHE, HOME, WORKSPACE},
    position::Position,
    recorder::Recorder,
};
use crate::{
    engine::{
        Engine, EngineError, Exit, Mount, MountSource, NetworkAccess, Sandbox, SandboxId, SandboxLimits,
        label,
    },
    link::{CONNECT, Link, LinkError, SOCKET},
    workspace::Workspace,
};

/// Where the runner stands in a sandbox.
const RUNNER: &str = "/run/grapnel/grapnel-run";
/// Where the directory of the runner's socket stands in a sandbox.
const LINK: &str = "/run/grapnel/link";
/// How long a sandbox may stand ready before its build begins, and be left to another process after it: none is of use to
/// anybody that is older.
const AHEAD_AND_AFTER: Duration = Duration::from_secs(1_800);
/// How long the engine may take to say how a killed sandbox ended.
const ENDED: Duration = Duration::from_secs(10);

/// What all sandboxes of an executor have in common.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The executor's name, for labels.
    pub executor: String,
    /// The runner's program on the host.
    pub runner: PathBuf,
    /// The operator's bundle of authorities on the host.
    pub ca_bundle: Option<PathBuf>,
    /// The user and group that builds run as.
    pub user: (u32, u32),
    /// The network of builds, which no project exceeds.
    pub network: NetworkAccess,
    /// Another OCI runtime than the engine's default.
    pub runtime: Option<String>,
    /// Another seccomp profile than the engine's default: its text.
    pub seccomp: Option<String>,
}

/// What a sandbox has of its node's disk.
pub struct Directories<'a> {
    /// Those of the attempt.
    pub own: &'a Workspace,
    /// What is mounted as the workspace.
    pub workspace: MountSource,
    /// What is mounted for the tools' own caches.
    pub tools: MountSource,
}

/// A sandbox that runs.
pub struct RunningSandbox {
    engine: Arc<dyn Engine>,
    id: SandboxId,
    link: Link,
    /// How far what it prints has been told.
    position: Position,
    ended: watch::Receiver<Option<Ended>>,
    /// Whether it was seen that nothing runs in it any more.
    is_over: bool,
    /// Whether it could not be ended.
    is_deaf: bool,
}

/// Why nobody is in a sandbox to be spoken to.
pub enum NotConnected {
    /// The engine does not begin it.
    Engine(EngineError),
    /// It, or the line to it, failed.
    Failed(Failure),
}

/// How a sandbox ended; the error in words, since all who wait are told.
type Ended = Result<Exit, String>;

impl RunningSandbox {
    /// Starts a sandbox. Its steps can be sent at once: they wait for the runner.
    ///
    /// # Errors
    /// The engine refuses; nothing is left behind then.
    pub async fn start(engine: Arc<dyn Engine>, sandbox: &Sandbox, link: &Path) -> Result<Self, EngineError> {
        let link = Link::listen(link)
            .map_err(|error| EngineError::Refused(format!("the runner's socket cannot be made: {error}")))?;
        let id = engine.start(sandbox).await?;
        Ok(Self::adopt(engine, id, link, Position::default()))
    }

    /// Goes on with a sandbox that another process has started, over a line that goes on where it had come to.
    pub fn adopt(engine: Arc<dyn Engine>, id: SandboxId, link: Link, position: Position) -> Self {
        let (tell, ended) = watch::channel(None);
        let (waiting, waited) = (engine.clone(), id.clone());
        tokio::spawn(async move {
            let exit = waiting.wait(&waited).await.map_err(|error| error.to_string());
            tell.send_replace(Some(exit));
        });
        Self { engine, id, link, position, ended, is_over: false, is_deaf: false }
    }

    /// Waits until its runner is there, for as long as the engine takes to begin it. What is in the way is said in the log of
    /// a step.
    ///
    /// # Errors
    /// The sandbox ended or never begins, or its runner does not come in time after that.
    pub async fn connected(&mut self, step: Step, recorder: &Recorder) -> Result<(), NotConnected> {
        let (waiting, mut heard) = watch::channel(String::new());
        let never = async {
            if let Err(error) = self.engine.begun(&self.id, &waiting).await {
                return NotConnected::Engine(error);
            }
            tokio::time::sleep(CONNECT).await;
            NotConnected::Failed(line_failure(&LinkError::NotConnected))
        };
        let saying = async {
            while heard.changed().await.is_ok() {
                let trouble = heard.borrow_and_update().clone();
                recorder.say(step, format!("the sandbox waits: {trouble}")).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            greeted = self.link.greeted() => greeted.map_err(|error| NotConnected::Failed(line_failure(&error))),
            never = never => Err(never),
            failure = ended_by_itself(self.ended.clone()) => Err(NotConnected::Failed(failure)),
            nobody = saying => nobody,
        }
    }

    /// Tells whether it runs, as far as is known.
    pub fn runs(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Returns the engine's name for it.
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// Runs one step to its end.
    ///
    /// # Errors
    /// The sandbox ended or the line to it failed; a step that failed is no error here.
    pub async fn run_step(
        &mut self,
        step: Step,
        request: &StepRequest,
        recorder: &Recorder,
    ) -> Result<StepExit, Failure> {
        let mut output = recorder.output(step, self.position);
        let exit = tokio::select! {
            exit = self.link.run_step(request, &mut output) => exit.map_err(|error| line_failure(&error)),
            failure = ended_by_itself(self.ended.clone()) => Err(failure),
        };
        output.finish().await;
        let exit = exit?;
        self.position = Position::at(self.link.received());
        recorder.exited(exit.code, self.position).await;
        Ok(exit)
    }

    /// Ends the sandbox. Where nobody can say that nothing of it runs any more, that is told in the log, and it is removed by
    /// force later.
    pub async fn kill(&mut self) {
        self.is_over = match self.link.first_process() {
            Some(first) => first.kill().await,
            None => false,
        };
        if !self.is_over
            && let Err(error) = self.engine.kill(&self.id, Duration::ZERO).await
        {
            tracing::warn!(sandbox = self.id.0, %error, "the sandbox cannot be ended; it is removed by force");
            self.is_deaf = true;
        }
    }

    /// Says whether the kernel had to end something in it for want of memory, once it was killed.
    pub async fn ran_out_of_memory(&self) -> bool {
        if self.is_deaf {
            return false;
        }
        let exit = timeout(ENDED, self.ended.clone().wait_for(Option::is_some))
            .await
            .map(|ended| ended.map(|it| it.clone()));
        exit.is_ok_and(|ended| {
            ended.is_ok_and(|ended| matches!(ended, Some(Ok(Exit { out_of_memory: true, .. }))))
        })
    }

    /// Removes the sandbox.
    ///
    /// # Errors
    /// The engine fails; the sweep at the next start tries again.
    pub async fn remove(&self) -> Result<(), EngineError> {
        let is_over = match self.link.first_process() {
            Some(first) => self.is_over || first.kill().await,
            None => false,
        };
        if is_over { self.engine.remove_ended(&self.id).await } else { self.engine.remove(&self.id).await }
    }
}

/// Waits until the sandbox ends without having been asked to, and says what that means.
async fn ended_by_itself(mut ended: watch::Receiver<Option<Ended>>) -> Failure {
    let told = ended.wait_for(Option::is_some).await.map(|ended| ended.clone());
    match told {
        Ok(Some(Ok(Exit { out_of_memory: true, .. }))) => Failure::new(
            FailureCode::OutOfMemory,
            "the build used more memory than allowed, and its sandbox ended",
        ),
        Ok(Some(Ok(Exit { taken_away: Some(why), .. }))) => {
            Failure::new(FailureCode::SandboxLost, format!("the sandbox was taken away: {why}"))
        }
        Ok(Some(Ok(exit))) => Failure::new(
            FailureCode::SandboxLost,
            format!("the sandbox ended with code {} before its step did", exit.code),
        ),
        Ok(Some(Err(error))) => Failure::new(FailureCode::EngineUnavailable, error),
        Ok(None) | Err(_) => Failure::new(FailureCode::SandboxLost, "the sandbox was lost"),
    }
}

/// An engine without the right to raise limits refuses to start a sandbox with more open files than it may have.
fn open_files(wanted: u32) -> u32 {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    own.and_then(|own| u32::try_from(own).ok()).map_or(wanted, |own| wanted.min(own))
}

fn line_failure(error: &LinkError) -> Failure {
    match error {
        LinkError::Nonsense(_) => Failure::new(FailureCode::SandboxEnded, error.to_string()),
        LinkError::NotConnected | LinkError::Io(_) => {
            Failure::new(FailureCode::SandboxLost, error.to_string())
        }
    }
}

impl SandboxConfig {
    /// Returns the network of a build: what its project asks for, never more than the operator's.
    pub fn network_of(&self, spec: &BuildSpec) -> NetworkAccess {
        spec.settings.network.unwrap_or(self.network).min(self.network)
    }

    /// Describes the sandbox of an attempt.
    pub fn describe(
        &self,
        spec: &BuildSpec,
        image: &str,
        limits: &BuildLimits,
        Directories { own, workspace, tools }: Directories<'_>,
    ) -> Sandbox {
        let host = |path: PathBuf, target: &str, read_only| Mount {
            source: MountSource::Host(path),
            target: target.to_owned(),
            read_only,
        };
        let memory = |bytes, target: &str| Mount {
            source: MountSource::Memory { bytes },
            target: target.to_owned(),
            read_only: false,
        };
        let mut mounts = vec![
            Mount { source: workspace, target: WORKSPACE.to_owned(), read_only: false },
            Mount { source: tools, target: CACHE.to_owned(), read_only: false },
            host(self.runner.clone(), RUNNER, true),
            host(own.link(), LINK, true),
            memory(limits.memory_bytes / 2, "/tmp"),
            memory(limits.memory_bytes / 4, HOME),
            // Empty where there is none: a sandbox that is started ahead cannot know.
            host(own.body(), BODY, true),
        ];
        mounts.extend(self.ca_bundle.clone().map(|bundle| host(bundle, CA_BUNDLE, true)));
        Sandbox {
            name: format!("grapnel-{}", spec.id),
            image: image.to_owned(),
            command: vec![
                RUNNER.to_owned(),
                format!("{LINK}/{SOCKET}"),
                // Not all engines can limit them.
                format!("--open-files={}", open_files(limits.open_files)),
            ],
            env: BTreeMap::new(),
            working_dir: WORKSPACE.to_owned(),
            user: if spec.settings.run_as_root { (0, 0) } else { self.user },
            mounts,
            network: self.network_of(spec),
            limits: SandboxLimits {
                memory_bytes: limits.memory_bytes,
                milli_cpus: limits.milli_cpus,
                processes: limits.processes,
                open_files: open_files(limits.open_files),
            },
            deadline: limits.timeout + AHEAD_AND_AFTER,
            runtime: self.runtime.clone(),
            seccomp: self.seccomp.clone(),
            labels: BTreeMap::from([
                (label::EXECUTOR.to_owned(), self.executor.clone()),
                (label::DEPLOYMENT.to_owned(), spec.id.deployment.to_string()),
                (label::ATTEMPT.to_owned(), spec.id.attempt.to_string()),
            ]),
        }
    }
}
