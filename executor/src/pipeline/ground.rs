//! What a build's commands stand on: a checkout, with a cache in place below it, in a sandbox that runs.

use grapnel_domain::{
    build::{AttemptId, BuildSpec},
    event::{BuildEvent, Step},
    failure::{Failure, FailureCode},
};
use grapnel_runtime::crash_point;
use tokio::task::JoinHandle;

use super::{
    Pipeline,
    detect::{self, Plan},
    project_root::ProjectRoot,
    sandbox::{Directories, NotConnected},
    starting::Starting,
    story::{Story, out_of_order},
};
use crate::{
    cache::{Build, CacheError, Fetching},
    engine::{EngineError, Image, MountSource},
    source::{Checkout, Source},
};

/// What the log says of a build that did not have to wait for its sandbox.
const ALL_AHEAD: &str = "the sandbox was started ahead of this build, with the source and the cache in place";
const SANDBOX_AHEAD: &str = "the sandbox was started ahead of this build";

/// What is known of it, beside the cache and the sandbox.
#[derive(Debug)]
pub struct Ground {
    /// Where the project lives in the checkout.
    pub root: ProjectRoot,
    /// What is to be run.
    pub plan: Plan,
    /// The image of the sandbox.
    pub image: Image,
    /// The hash of the commit's tree, where it is known already.
    pub tree: Option<String>,
}

impl Story<'_> {
    /// Lays the ground; none where the repository's configuration switches deployments off.
    pub(super) async fn lay_ground(&mut self) -> Result<Option<Ground>, Failure> {
        let (image_name, image) = self.pipeline.find_image(self.spec).await?;
        let ready = self.make_sure_of_the_network();
        let owner = self.pipeline.owner(self.spec);
        let build = Build { spec: self.spec, image_name: &image_name, image_id: &image.id, owner };
        let fetching = self.pipeline.caches.fetch(&build);
        self.start_beside_the_source(&image_name).await?;
        let (root, plan) = self.check_out().await?;
        made_sure(ready, self.spec).await?;
        if plan.disabled {
            return Ok(None);
        }
        if self.points.is_some() && self.spec.id.attempt == AttemptId::AHEAD {
            // What is put under it is to be taken away again where its build is of another commit: only what was mounted
            // after it had begun can be.
            self.have_sandbox(&image_name).await?;
            self.be_connected(Step::Source).await?;
        }
        self.prepare_cache(&image_name, &image, fetching).await?;
        self.have_sandbox(&image_name).await?;
        Ok(Some(Ground { root, plan, image, tree: None }))
    }

    /// Tells of the ground that was laid ahead, and makes sure of what may have changed around it.
    pub(super) async fn stand_on(&mut self) -> Result<(), Failure> {
        let ready = self.make_sure_of_the_network();
        self.recorder.step_started(Step::Source).await;
        self.say_where_the_branch_is().await;
        self.recorder.say(Step::Source, ALL_AHEAD).await;
        self.recorder.step_finished(Step::Source, Some(0)).await;
        self.recorder.step_started(Step::Cache).await;
        if let Some(cache) = &self.cache {
            self.recorder.event(BuildEvent::Cache(cache.report.clone())).await;
        }
        self.recorder.step_finished(Step::Cache, Some(0)).await;
        made_sure(ready, self.spec).await
    }

    /// A trial of the network that has begun is brought to its end, also where this story is not: it has a sandbox.
    fn make_sure_of_the_network(&self) -> JoinHandle<Result<(), EngineError>> {
        let access = self.pipeline.sandbox.network_of(self.spec);
        let network = self.pipeline.network.clone();
        tokio::spawn(async move { network.ready(access).await })
    }

    async fn say_where_the_branch_is(&self) {
        let BuildSpec { branch, commit, .. } = self.spec;
        let message = self.spec.commit_message.lines().next().unwrap_or_default();
        self.recorder.say(Step::Source, format!("{branch} is at {} {message}", &commit[..12])).await;
    }

    async fn check_out(&mut self) -> Result<(ProjectRoot, Plan), Failure> {
        self.recorder.step_started(Step::Source).await;
        let told = self.try_check_out().await;
        self.recorder.step_finished(Step::Source, told.is_ok().then_some(0)).await;
        told
    }

    async fn try_check_out(&mut self) -> Result<(ProjectRoot, Plan), Failure> {
        let BuildSpec { repository, access, branch, commit, settings, .. } = self.spec.clone();
        let tree = self.workspace.tree();
        let mirrors = self.pipeline.mirrors.clone();
        let owner = self.pipeline.owner(self.spec);
        let (directory, given_up) = (tree.clone(), self.given_up.clone());
        let checking_out = self.checking_out.insert(tokio::spawn(async move {
            let wanted = Checkout {
                source: Source::new(&repository, &access),
                branch: &branch,
                commit: &commit,
                directory: &directory,
                owner,
                submodules: settings.submodules,
                lfs: settings.lfs,
            };
            mirrors.checkout(wanted, &given_up).await
        }));
        let checked_out = checking_out.await;
        self.checking_out = None;
        let notes = checked_out
            .map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))?
            .map_err(|error| error.failure())?;
        self.say_where_the_branch_is().await;
        for note in notes {
            self.recorder.say(Step::Source, note).await;
        }
        crash_point("pipeline.checked-out");
        let settings = &self.spec.settings;
        let root = ProjectRoot::enter(&tree, settings.root_directory.as_ref())?.ok_or_else(|| {
            let root = settings.root_directory.as_ref().map_or(".", |path| path.as_str());
            let message = format!("the repository has no directory `{root}`, the project's root directory");
            Failure::new(FailureCode::RootDirectoryMissing, message)
        })?;
        let plan = root.sure(detect::plan(settings, &root))?;
        Ok((root, plan))
    }

    async fn prepare_cache(
        &mut self,
        name: &str,
        image: &Image,
        fetching: Option<Fetching>,
    ) -> Result<(), Failure> {
        self.recorder.step_started(Step::Cache).await;
        let fetched = match fetching {
            Some(mut fetching) => fetching.ended().await,
            None => None,
        };
        let (caches, spec, workspace) =
            (self.pipeline.caches.clone(), self.spec.clone(), self.workspace.clone());
        let (image_name, image_id) = (name.to_owned(), image.id.clone());
        let (owner, points) = (self.pipeline.owner(self.spec), self.points.take());
        let preparing = self.preparing.insert(tokio::spawn(async move {
            let build = Build { spec: &spec, image_name: &image_name, image_id: &image_id, owner };
            caches.prepare(&build, &workspace, points, fetched).await
        }));
        let prepared = preparing.await;
        self.preparing = None;
        let prepared = prepared.map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))?;
        let prepared = prepared.map_err(|error| match error {
            CacheError::Engine(error) => engine_failure(&error, self.spec),
            CacheError::Io(_) => Failure::new(FailureCode::ExecutorDiskFull, error.to_string()),
        })?;
        self.recorder.event(BuildEvent::Cache(prepared.report.clone())).await;
        self.cache = Some(prepared);
        if self.sandbox.is_some() {
            self.recorder.say(Step::Cache, SANDBOX_AHEAD).await;
        }
        self.recorder.step_finished(Step::Cache, Some(0)).await;
        Ok(())
    }

    /// Begins to start the sandbox where its engine can put the source and the cache under one that runs: it takes longer than
    /// they do.
    async fn start_beside_the_source(&mut self, image: &str) -> Result<(), Failure> {
        // A virtual machine, say, need not see what is mounted later.
        if self.sandbox.is_some() || self.pipeline.sandbox.runtime.is_some() {
            return Ok(());
        }
        let points = self.pipeline.caches.mount_points(self.spec.id).await;
        self.points = points.map_err(|error| engine_failure(&error, self.spec))?;
        if let Some(points) = &self.points {
            let (workspace, tools) = (points.workspace(), points.tools());
            self.begin_to_start(image, workspace, tools);
        }
        Ok(())
    }

    /// Waits for the sandbox. Elsewhere the layers of a cache are mounted over the checkout when it starts, so that it begins to
    /// only now.
    async fn have_sandbox(&mut self, image: &str) -> Result<(), Failure> {
        if self.sandbox.is_some() {
            return Ok(());
        }
        if self.starting.is_none() {
            let cache = self.cache.as_ref().ok_or_else(|| out_of_order("no cache was prepared"))?;
            let (workspace, tools) = (cache.workspace.clone(), cache.tools.clone());
            self.begin_to_start(image, workspace, tools);
        }
        let starting = self.starting.as_mut().ok_or_else(|| out_of_order("no sandbox was begun"))?;
        let started = starting.started(Step::Cache, self.recorder).await;
        self.starting = None;
        self.sandbox = Some(started.map_err(|error| engine_failure(&error, self.spec))?);
        Ok(())
    }

    /// Waits until its runner is there.
    pub(super) async fn be_connected(&mut self, step: Step) -> Result<(), Failure> {
        let Some(sandbox) = &mut self.sandbox else { return Err(out_of_order("no sandbox was started")) };
        let connected = sandbox.connected(step, self.recorder).await;
        connected.map_err(|not| not_connected(not, self.spec))
    }

    fn begin_to_start(&mut self, image: &str, workspace: MountSource, tools: MountSource) {
        let Pipeline { engine, sandbox, .. } = self.pipeline.clone();
        let directories = Directories { own: self.workspace, workspace, tools };
        let wanted = sandbox.describe(self.spec, image, self.limits, directories);
        let (link, given_up) = (self.workspace.link(), self.given_up.clone());
        self.starting = Some(Starting::begin(engine, wanted, link, given_up));
    }
}

impl Pipeline {
    /// Finds the image of a build, and its name.
    pub(super) async fn find_image(&self, spec: &BuildSpec) -> Result<(String, Image), Failure> {
        let own = spec.settings.builder_image.as_ref();
        let name = own.unwrap_or(&self.builder_image);
        match self.engine.image(name).await.map_err(|error| engine_failure(&error, spec))? {
            Some(image) => Ok((name.clone(), image)),
            None if own.is_some() => Err(Failure::new(
                FailureCode::ImageMissing,
                format!("the engine has no image `{name}`, which the project names as its builder image"),
            )),
            None => Err(Failure::new(
                FailureCode::BuilderImageMissing,
                format!(
                    "the engine has no image `{name}`; the operator makes it with images/builder/build.sh"
                ),
            )),
        }
    }
}

async fn made_sure(ready: JoinHandle<Result<(), EngineError>>, spec: &BuildSpec) -> Result<(), Failure> {
    let ready = ready.await.map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))?;
    ready.map_err(|error| engine_failure(&error, spec))
}

/// Says why nobody is in the sandbox of a build.
fn not_connected(not: NotConnected, spec: &BuildSpec) -> Failure {
    match not {
        NotConnected::Engine(error) => engine_failure(&error, spec),
        NotConnected::Failed(failure) => failure,
    }
}

fn engine_failure(error: &EngineError, spec: &BuildSpec) -> Failure {
    let code = match error {
        EngineError::Network(_) => FailureCode::NetworkUnavailable,
        EngineError::ImageMissing(_) | EngineError::ImageUnavailable { .. } => {
            match spec.settings.builder_image {
                Some(_) => FailureCode::ImageMissing,
                None => FailureCode::BuilderImageMissing,
            }
        }
        EngineError::NoPlace(_) | EngineError::NeverBegun(_) => FailureCode::SandboxNotStarted,
        EngineError::Unavailable(_)
        | EngineError::Refused(_)
        | EngineError::NotFound(_)
        | EngineError::Unsupported(_) => FailureCode::EngineUnavailable,
    };
    Failure::new(code, error.to_string())
}
