//! A pipeline with one repository, over an engine of the test's choice.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use grapnel_artifacts::DirectoryStore;
use grapnel_domain::{
    BranchName, RepositoryUrl,
    build::{AttemptId, BuildLimits, BuildSpec},
    event::{BuildEvent, Outcome},
    failure::FailureCode,
    project::BuildSettings,
    source::SourceAccess,
};
use grapnel_e2e::Repository;
use grapnel_executor::{
    cache::{CacheConfig, Caches, Storage},
    engine::{
        Engine, Inventory, NetworkAccess,
        docker::{DockerEngine, EgressPolicy},
        fake::{FakeEngine, Program},
    },
    install_runner,
    network::BuildNetwork,
    pipeline::{
        Pipeline, Told, Wishes,
        ahead::Shelf,
        mask::Mask,
        recorder::{Progress, Recorder, What},
        sandbox::SandboxConfig,
    },
    source::{self, Source, SourceConfig},
};
use grapnel_runtime::{CancellationToken, Clock, TaskTracker};
use tempfile::TempDir;
use tokio::sync::mpsc;

pub const IMAGE: &str = "builder";
pub const REAL_IMAGE: &str = "grapnel/builder:latest";

/// An executor's pipeline, with one repository.
pub struct Site<E = FakeEngine> {
    pub pipeline: Pipeline,
    pub engine: E,
    pub repository: Repository,
    pub directory: TempDir,
    pub commit: String,
    pub project: grapnel_domain::id::ProjectId,
}

impl Site<FakeEngine> {
    pub async fn new(program: Program) -> Self {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self::over(FakeEngine::new(&[IMAGE], program), IMAGE, own, |_| {}).await
    }
}

impl Site<DockerEngine> {
    /// The real engine, as an executor that runs as root has it; no network.
    pub async fn real(change: impl FnOnce(&mut CacheConfig)) -> Self {
        Self::over(DockerEngine::new("/var/run/docker.sock"), REAL_IMAGE, (10_001, 10_001), change).await
    }
}

impl Site<DockerEngine> {
    /// The same with a network.
    pub async fn real_on(network: NetworkAccess) -> Self {
        let egress = EgressPolicy { helper_image: REAL_IMAGE.into(), ..EgressPolicy::default() };
        Self::real_under(network, egress).await
    }

    /// The same under a policy.
    pub async fn real_under(network: NetworkAccess, egress: EgressPolicy) -> Self {
        let engine = DockerEngine::new("/var/run/docker.sock").with_egress(egress);
        let mut site = Self::over(engine, REAL_IMAGE, (10_001, 10_001), |_| {}).await;
        site.pipeline.sandbox.network = network;
        site
    }
}

impl<E: Engine + Clone> Site<E> {
    async fn over(engine: E, image: &str, user: (u32, u32), change: impl FnOnce(&mut CacheConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let below = |name: &str| directory.path().join(name);
        let shared: Arc<dyn Engine> = Arc::new(engine.clone());
        let engine_of_network = shared.clone();
        let mirrors = source::open(SourceConfig {
            mirrors: below("mirrors"),
            allowed_dirs: vec![below("git")],
            ca_bundle: None,
            closed_networks: Vec::new(),
            timeout: Duration::from_secs(60),
            size_limit: 1 << 30,
        })
        .unwrap();
        let name = format!("test-{}", Clock::system().new_id::<grapnel_domain::id::TeamKind>());
        let mut caches = CacheConfig {
            directory: below("caches"),
            executor: name.clone(),
            probe_image: image.to_owned(),
            storage: Storage::Auto,
            key_bytes: 1 << 30,
            max_age: Duration::from_secs(3600),
            total_bytes: 1 << 32,
            shared: None,
        };
        change(&mut caches);
        let pipeline = Pipeline {
            engine: shared.clone(),
            mirrors: mirrors.clone(),
            artifacts: Arc::new(DirectoryStore::new(below("artifacts"))),
            caches: Caches::open(caches, shared, Clock::system()).unwrap(),
            network: BuildNetwork::new(
                engine_of_network,
                name.clone(),
                install_runner(&below("bin")).unwrap(),
                image.into(),
            ),
            shelf: Shelf::new(0),
            sandbox: SandboxConfig {
                executor: name,
                runner: install_runner(&below("bin")).unwrap(),
                ca_bundle: None,
                user,
                network: NetworkAccess::None,
                runtime: None,
                seccomp: None,
            },
            skip_unchanged_install: true,
            workspaces: below("workspaces"),
            builder_image: image.into(),
            ceilings: BuildLimits::default(),
            cleanups: TaskTracker::new(),
        };
        let repository = Repository::with(&below("git/site"), &[("index.html", "hi")]);
        let url = RepositoryUrl::parse(&repository.path()).unwrap();
        let branch = BranchName::parse("main").unwrap();
        let commit = mirrors
            .resolve(Source::new(&url, &SourceAccess::default()), &branch, &CancellationToken::new())
            .await
            .unwrap()
            .commit;
        let project = Clock::system().new_id();
        Self { pipeline, engine, repository, directory, commit, project }
    }

    pub fn spec(&self) -> BuildSpec {
        let clock = Clock::system();
        BuildSpec {
            id: AttemptId { deployment: clock.new_id(), attempt: 1 },
            project_id: self.project,
            project_name: "site".parse().unwrap(),
            repository: RepositoryUrl::parse(&self.repository.path()).unwrap(),
            branch: BranchName::parse("main").unwrap(),
            commit: self.commit.clone(),
            commit_message: "Begin".into(),
            production: true,
            hook: None,
            trigger_count: 1,
            title: String::new(),
            body: Vec::new(),
            use_cache: true,
            settings: BuildSettings {
                install_command: Some("echo installed".into()),
                build_command: Some("mkdir dist && cp index.html dist/ && echo built >&2".into()),
                ..BuildSettings::default()
            },
            variables: Vec::new(),
            access: SourceAccess::default(),
        }
    }

    /// Gives a build the branch's present commit, and an id of its own.
    pub async fn bring_up_to_date(&self, spec: &mut BuildSpec) {
        let branch = BranchName::parse("main").unwrap();
        let cancel = CancellationToken::new();
        spec.commit = self
            .pipeline
            .mirrors
            .resolve(Source::new(&spec.repository, &spec.access), &branch, &cancel)
            .await
            .unwrap()
            .commit;
        spec.id = self.spec().id;
    }

    /// Runs a build, and waits until what it leaves to be done is done; `on_event` is told everything and may end it.
    pub async fn build(
        &self,
        spec: &BuildSpec,
        on_event: impl Fn(&BuildEvent, &CancellationToken),
    ) -> (Outcome, Vec<BuildEvent>) {
        let built = self.build_beside_others(spec, on_event).await;
        self.settled().await;
        built
    }

    /// Does the same, and waits for nothing after it.
    pub async fn build_beside_others(
        &self,
        spec: &BuildSpec,
        on_event: impl Fn(&BuildEvent, &CancellationToken),
    ) -> (Outcome, Vec<BuildEvent>) {
        let (tell, mut told) = mpsc::channel(64);
        let mask = Mask::of(&spec.variables);
        let (recorder, kept, collecting) =
            Recorder::start(Clock::system(), mask, 1 << 20, Progress::default(), tell);
        let wishes = Wishes::default();
        let building = async {
            let told = self.pipeline.run(spec, &recorder, &wishes).await;
            drop(recorder);
            match told {
                Told::Outcome(outcome) => outcome,
                Told::HandedOver => panic!("nobody asked for that"),
            }
        };
        let listening = async {
            let mut events = Vec::new();
            while let Some(record) = told.recv().await {
                kept.send_replace(record.progress.position.frame);
                match record.what {
                    What::Event(event) => {
                        on_event(&event, &wishes.cancel);
                        events.push(event);
                    }
                    What::Awaited(written) => drop(written.send(())),
                    What::Stage(_) | What::Nothing => {}
                }
            }
            events
        };
        let (outcome, events) = tokio::join!(building, listening);
        collecting.await.unwrap();
        (outcome, events)
    }

    pub async fn failure(&self, spec: &BuildSpec) -> (FailureCode, String) {
        match self.build(spec, |_, _| {}).await.0 {
            Outcome::Failed { failure } => (failure.code, failure.message),
            other => panic!("it did not fail: {other:?}"),
        }
    }

    /// Waits until whatever builds have left to be done is done.
    pub async fn settled(&self) {
        self.pipeline.cleanups.close();
        self.pipeline.cleanups.wait().await;
        self.pipeline.cleanups.reopen();
        self.pipeline.caches.settled().await;
    }

    /// The same site, as an executor finds it that starts again.
    pub fn reopen(self, change: impl FnOnce(&mut CacheConfig)) -> Self {
        let mut config = self.pipeline.caches.config().clone();
        change(&mut config);
        let caches = Caches::open(config, self.pipeline.engine.clone(), Clock::system()).unwrap();
        Self { pipeline: Pipeline { caches, ..self.pipeline }, ..self }
    }

    /// The label of whatever this one makes.
    pub fn own(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("grapnel.executor".to_owned(), self.pipeline.sandbox.executor.clone())])
    }

    /// Makes sure that nothing is left but caches.
    pub async fn nothing_is_left(&self) {
        let Inventory { sandboxes, volumes } = self.engine.list(&self.own()).await.unwrap();
        assert_eq!(sandboxes, []);
        assert_eq!(volumes, []);
        let left: Vec<_> = entries(&self.pipeline.workspaces);
        assert!(left.is_empty(), "{left:?}");
    }

    pub fn artifacts(&self) -> Vec<PathBuf> {
        entries(&self.directory.path().join("artifacts"))
    }
}

pub fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
