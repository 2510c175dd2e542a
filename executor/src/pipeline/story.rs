//! One build, told step by step.

use grapnel_artifacts::{ArtifactError, Manifest};
use grapnel_domain::{
    build::{AttemptId, BuildLimits, BuildSpec},
    deployment::CancelReason,
    event::{CacheOutcome, Outcome, Step},
    failure::{Failure, FailureCode},
};
use grapnel_run::message::StepRequest;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Pipeline,
    ahead::{Laid, Taken},
    detect::Plan,
    environment::{self, WORKSPACE},
    ground::Ground,
    install,
    recorder::Recorder,
    sandbox::RunningSandbox,
    stage::{self, Began, Script, Stage},
    starting::Starting,
    watch::too_much_on_disk,
};
use crate::{
    cache::{CacheError, Installed, MountPoints, Prepared},
    engine::Image,
    source::SourceError,
    workspace::Workspace,
};

/// The label of images that have our tools, `grapnel-node` among them.
const TOOLS_LABEL: &str = "dev.grapnel.tools";

/// The Node.js that such images carry.
const OWN_NODE: u32 = 24;

/// What came of a build's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commands {
    /// They ran, and went well.
    Ran,
    /// The ignore command said that there is nothing to build.
    Ignored,
}

/// One build under way, with what has to be cleaned up after it.
pub struct Story<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) spec: &'a BuildSpec,
    pub(super) limits: &'a BuildLimits,
    pub(super) workspace: &'a Workspace,
    pub(super) recorder: &'a Recorder,
    /// Ends what was begun below and goes on without the story.
    pub(super) given_up: CancellationToken,
    /// Git writes until it has ended, and its files can only be removed then.
    pub(super) checking_out: Option<JoinHandle<Result<Vec<String>, SourceError>>>,
    /// A start that is under way goes on when the story is dropped, so that what it makes can be removed.
    pub(super) starting: Option<Starting>,
    pub(super) sandbox: Option<RunningSandbox>,
    /// What the sandbox mounts, and no cache was put in yet.
    pub(super) points: Option<MountPoints>,
    /// As with the sandbox.
    pub(super) preparing: Option<JoinHandle<Result<Prepared, CacheError>>>,
    /// What was laid ahead of this build, and under which name.
    ground: Option<Ground>,
    ahead: Option<AttemptId>,
    pub(super) cache: Option<Prepared>,
    /// What is to be done in the sandbox, once it stands.
    script: Option<Script>,
    /// The exit codes of the commands that another process has seen ending, and how many were come to in this one.
    exits: Vec<i32>,
    commands: usize,
    /// As with the sandbox: what is being published when the story is dropped must not stay.
    pub(super) publishing: Option<JoinHandle<Result<Manifest, ArtifactError>>>,
}

impl<'a> Story<'a> {
    /// Begins a story.
    pub fn new(
        pipeline: &'a Pipeline,
        spec: &'a BuildSpec,
        limits: &'a BuildLimits,
        workspace: &'a Workspace,
        recorder: &'a Recorder,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            pipeline,
            spec,
            limits,
            workspace,
            recorder,
            given_up: cancel.child_token(),
            checking_out: None,
            starting: None,
            sandbox: None,
            points: None,
            preparing: None,
            ground: None,
            ahead: None,
            cache: None,
            script: None,
            exits: Vec::new(),
            commands: 0,
            publishing: None,
        }
    }

    /// Goes on with what another process has begun: the sandbox stands, and these commands have ended in it.
    pub fn enter(&mut self, script: Script, cache: Prepared, sandbox: RunningSandbox, exits: Vec<i32>) {
        (self.script, self.cache, self.sandbox, self.exits) =
            (Some(script), Some(cache), Some(sandbox), exits);
    }

    /// Begins with what was made ahead of it.
    pub fn begin_on(&mut self, Taken { id, sandbox, laid, .. }: Taken) {
        (self.ahead, self.sandbox) = (Some(id), Some(sandbox));
        match laid {
            Laid::Ground(laid) => (self.ground, self.cache) = (Some(laid.0), Some(laid.1)),
            Laid::MountPoints(points) => self.points = Some(points),
        }
    }

    /// Tells whether another process can go on from here.
    pub fn has_stage(&self) -> bool {
        self.script.is_some()
    }

    /// Hands the sandbox over to whoever cleans up, when it has been started if that is under way. It is given up otherwise.
    pub async fn take_sandbox(&mut self) -> Option<RunningSandbox> {
        self.given_up.cancel();
        match self.starting.take() {
            Some(starting) => starting.ended().await,
            None => self.sandbox.take(),
        }
    }

    /// Hands the cache over to whoever cleans up, with what the install step was given.
    pub async fn take_cache(&mut self) -> Option<(Prepared, Option<Installed>)> {
        let prepared = match self.preparing.take() {
            Some(preparing) => preparing.await.ok()?.ok(),
            None => self.cache.take(),
        };
        Some((prepared?, self.script.take().and_then(|script| script.installed)))
    }

    /// Waits until nothing of a story that was not told to its end writes any more. It leaves no artifact.
    pub async fn give_up(&mut self) {
        self.given_up.cancel();
        if let Some(checking_out) = self.checking_out.take() {
            let _ = checking_out.await;
        }
        if let Some(publishing) = self.publishing.take()
            && let Ok(Ok(_)) = publishing.await
            && let Err(error) = self.pipeline.artifacts.remove(self.spec.id.deployment).await
        {
            tracing::warn!(%error, "the artifact of a build that was ended cannot be removed");
        }
    }

    /// Tells the whole story, or what is left of it.
    pub async fn tell(&mut self) -> Result<Outcome, Failure> {
        if self.script.is_none() {
            self.script = self.prepare().await?;
        }
        let Some(script) = self.script.clone() else {
            return Ok(Outcome::Skipped { reason: CancelReason::DisabledByConfig });
        };
        if self.run_commands(&script).await? == Commands::Ignored {
            return Ok(Outcome::Skipped { reason: CancelReason::IgnoredByCommand });
        }
        self.publish(&script).await
    }

    /// Tells the story until the sandbox stands, and returns what is to be done in it; none where nothing is.
    async fn prepare(&mut self) -> Result<Option<Script>, Failure> {
        let began = Began::now();
        let ground = match self.ground.take() {
            Some(ground) => {
                self.stand_on().await?;
                ground
            }
            None => match self.lay_ground().await? {
                Some(ground) => ground,
                None => return Ok(None),
            },
        };
        let Ground { root, plan, image, tree } = ground;
        // The runner starts meanwhile.
        let node = self.wanted_node(&plan, &image).await;
        let mut script = Script { plan, root, node, installed: None };
        if script.plan.install_is_plain && self.pipeline.skip_unchanged_install {
            script.installed = install::record(self, &script, &image, tree).await;
        }
        if let (Some(cache), Some(sandbox)) = (&self.cache, &self.sandbox) {
            let stage = Stage {
                script: script.clone(),
                cache: cache.clone(),
                sandbox: sandbox.id().clone(),
                limits: *self.limits,
                began,
                given: stage::given(self.spec),
                ahead: self.ahead.map(|id| id.to_string()),
            };
            self.recorder.stage(stage).await;
        }
        Ok(Some(script))
    }

    async fn run_commands(&mut self, script: &Script) -> Result<Commands, Failure> {
        let directories = vec![self.workspace.tree(), self.workspace.tools()];
        let disk_limit = self.limits.disk_bytes;
        let commands = async {
            if let Some(ignore) = &script.plan.ignore
                && self.ignores(ignore, script).await?
            {
                return Ok(Commands::Ignored);
            }
            self.install(script).await?;
            self.run_command(Step::Build, script.plan.build.as_deref(), script).await?;
            Ok(Commands::Ran)
        };
        let told = tokio::select! {
            told = commands => told,
            failure = too_much_on_disk(directories, disk_limit) => Err(failure),
        };
        // With the sandbox gone nothing changes the output any more.
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.kill().await;
        }
        match (told, &self.sandbox) {
            (Err(failure), Some(sandbox))
                if failure.code != FailureCode::DiskLimit && sandbox.ran_out_of_memory().await =>
            {
                Err(self.out_of_memory(&failure))
            }
            (told, _) => told,
        }
    }

    /// Another major version of Node.js can be had where the image has our tools for it.
    async fn wanted_node(&self, plan: &Plan, image: &Image) -> Option<u32> {
        let wanted = plan.node_major.filter(|major| *major != OWN_NODE)?;
        if image.labels.contains_key(TOOLS_LABEL) {
            return Some(wanted);
        }
        let message =
            format!("the repository asks for Node.js {wanted}; the project's own image decides instead");
        self.recorder.say(Step::Cache, message).await;
        None
    }

    /// Asks the repository's ignore command: 0 says that there is nothing to build. It is told which hook asked, so that it
    /// need not answer a hook as it answers a push.
    async fn ignores(&mut self, command: &str, script: &Script) -> Result<bool, Failure> {
        // It belongs to no step of its own: whether there is anything to install is what it says.
        let step = Step::Install;
        self.recorder.say(step, format!("$ {command}")).await;
        let code = self.run_in_sandbox(step, command, script).await?;
        let said = match code {
            0 => "the ignore command says that there is nothing to build (exit code 0)".to_owned(),
            code => {
                format!("the ignore command does not say that there is nothing to build (exit code {code})")
            }
        };
        self.recorder.say(step, said).await;
        Ok(code == 0)
    }

    /// Runs a command to its end and returns its exit code. One that another process has seen ending has run already.
    async fn run_in_sandbox(&mut self, step: Step, command: &str, script: &Script) -> Result<i32, Failure> {
        let known = self.exits.get(self.commands).copied();
        self.commands += 1;
        if let Some(code) = known {
            return Ok(code);
        }
        self.be_connected(step).await?;
        let (request, recorder) = (self.request(command, script), self.recorder);
        match &mut self.sandbox {
            Some(sandbox) => Ok(sandbox.run_step(step, &request, recorder).await?.code),
            None => Err(out_of_order("no sandbox was started")),
        }
    }

    /// Installs, unless that would do nothing: see [`install`].
    async fn install(&mut self, script: &Script) -> Result<(), Failure> {
        let before = self.cache.as_ref().and_then(|cache| cache.installed.as_ref());
        match &script.installed {
            Some(installed) if Some(&installed.given) == before => {
                self.recorder.step_started(Step::Install).await;
                self.recorder.say(Step::Install, install::LEFT_OUT).await;
                self.recorder.step_finished(Step::Install, Some(0)).await;
                Ok(())
            }
            _ => self.run_command(Step::Install, script.plan.install.as_deref(), script).await,
        }
    }

    async fn run_command(
        &mut self,
        step: Step,
        command: Option<&str>,
        script: &Script,
    ) -> Result<(), Failure> {
        self.recorder.step_started(step).await;
        let Some(command) = command else {
            self.recorder.say(step, format!("nothing to {step}")).await;
            self.recorder.step_finished(step, Some(0)).await;
            return Ok(());
        };
        self.recorder.say(step, format!("$ {command}")).await;
        let ran = self.run_in_sandbox(step, command, script).await;
        self.recorder.step_finished(step, ran.as_ref().ok().copied()).await;
        match ran? {
            0 => Ok(()),
            code => Err(step_failure(step, command, code)),
        }
    }

    pub(super) fn request(&self, command: &str, script: &Script) -> StepRequest {
        let command = match script.node {
            Some(major) => format!(
                "node=$(grapnel-node {major}) || exit $?; PATH=\"$node:$PATH\"; export PATH; {command}"
            ),
            None => command.to_owned(),
        };
        let outcome = self.cache.as_ref().map_or(CacheOutcome::Off, |cache| cache.report.outcome);
        let ca_bundle = self.pipeline.sandbox.ca_bundle.is_some();
        StepRequest {
            command,
            directory: format!("{WORKSPACE}/{}", script.root.below()),
            environment: environment::variables(self.spec, outcome, ca_bundle),
        }
    }

    fn out_of_memory(&self, failure: &Failure) -> Failure {
        let limit = self.limits.memory_bytes;
        let message = format!(
            "the build used more than the {limit} bytes of memory that are allowed ({})",
            failure.message
        );
        Failure::new(FailureCode::OutOfMemory, message)
    }
}

/// A fault of the story's own order.
pub(super) fn out_of_order(what: &str) -> Failure {
    Failure::new(FailureCode::Internal, what)
}

fn step_failure(step: Step, command: &str, code: i32) -> Failure {
    let failed = if step == Step::Install { FailureCode::InstallFailed } else { FailureCode::BuildFailed };
    let why = match code {
        127 => "a command was not found (exit code 127)".to_owned(),
        code if code > 128 => format!("signal {} ended it (exit code {code})", code - 128),
        code => format!("exit code {code}"),
    };
    Failure::new(failed, format!("`{command}` failed: {why}; its log says more"))
}
