//! The contract of an engine, held against every engine there is.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, Instant},
};

use grapnel_domain::id::TeamKind;
use grapnel_executor::engine::{
    Engine, EngineError, Mount, MountSource, NetworkAccess, Sandbox, SandboxId, SandboxLimits, Volume,
    VolumeSource,
    docker::DockerEngine,
    fake::FakeEngine,
    kubernetes::{
        KubernetesEngine,
        config::{KubernetesConfig, Pull},
    },
    label,
};
use grapnel_runtime::Clock;
use tempfile::TempDir;
use tokio::sync::watch;

const IMAGE: &str = "grapnel/builder:latest";

/// An engine, and a label that only one test has.
struct Bench {
    engine: Arc<dyn Engine>,
    /// The same engine, as another process has it.
    other: Arc<dyn Engine>,
    own: String,
    directory: TempDir,
    /// Whether it fetches images by itself, and so knows of none that it is missing.
    fetches: bool,
    /// Whether it fills volumes below sandboxes that run.
    reserves: bool,
    /// How soon nothing of a sandbox runs any more that is killed and does not hear.
    kills_within: Duration,
}

impl Bench {
    fn new(engine: impl Engine, other: impl Engine) -> Self {
        Self::with(engine, other, tempfile::tempdir().unwrap())
    }

    fn with(engine: impl Engine, other: impl Engine, directory: TempDir) -> Self {
        let own = Clock::system().new_id::<TeamKind>().to_string();
        // The sandbox's user is another one.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self {
            engine: Arc::new(engine),
            other: Arc::new(other),
            own,
            directory,
            fetches: false,
            reserves: false,
            kills_within: Duration::from_secs(5),
        }
    }

    /// A node of a test cluster, with its mounts and its network, as `make test-kubernetes` enters one.
    fn on_a_node() -> Self {
        let node = grapnel_e2e::told("GRAPNEL_TEST_KUBERNETES_NODE");
        let directory = tempfile::tempdir().unwrap();
        let engine = || {
            KubernetesEngine::new(KubernetesConfig {
                namespace: "grapnel-builds".to_owned(),
                node: node.clone(),
                directory: directory.path().join("kubernetes"),
                start_within: Duration::from_secs(60),
                builder_image: IMAGE.to_owned(),
                pull: Pull::Never,
                pull_secrets: Vec::new(),
                node_selector: BTreeMap::new(),
                tolerations: Vec::new(),
                priority_class: None,
                cpu_reserved: 10,
                ephemeral_storage: 1 << 30,
                resolvers: Vec::new(),
            })
        };
        let (engine, other) = (engine(), engine());
        // A kubelet gives everybody two seconds, and says a second later how it went; both are slower beside others.
        let kills_within = Duration::from_secs(15);
        Self { fetches: true, reserves: true, kills_within, ..Self::with(engine, other, directory) }
    }

    /// Starts a sandbox, and waits until its first process can have begun.
    async fn start(&self, sandbox: &Sandbox) -> Result<SandboxId, EngineError> {
        let id = self.engine.start(sandbox).await?;
        let (waiting, _) = watch::channel(String::new());
        match self.engine.begun(&id, &waiting).await {
            Ok(()) => Ok(id),
            Err(error) => {
                self.engine.remove(&id).await.unwrap();
                Err(error)
            }
        }
    }

    fn labels(&self, deployment: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (label::EXECUTOR.to_owned(), self.own.clone()),
            (label::DEPLOYMENT.to_owned(), deployment.to_owned()),
        ])
    }

    fn sandbox(&self, name: &str, script: &str) -> Sandbox {
        Sandbox {
            name: format!("contract-{}-{name}", self.own),
            image: IMAGE.to_owned(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            working_dir: "/workspace".to_owned(),
            user: (10_001, 10_001),
            mounts: vec![Mount {
                source: MountSource::Host(self.directory.path().to_owned()),
                target: "/workspace".to_owned(),
                read_only: false,
            }],
            network: NetworkAccess::None,
            limits: SandboxLimits {
                memory_bytes: 256 << 20,
                milli_cpus: 1_000,
                processes: 64,
                open_files: 1_024,
            },
            deadline: Duration::from_secs(600),
            runtime: None,
            seccomp: None,
            labels: self.labels(name),
        }
    }

    async fn listed(&self) -> (usize, usize) {
        let own = BTreeMap::from([(label::EXECUTOR.to_owned(), self.own.clone())]);
        let listed = self.engine.list(&own).await.unwrap();
        (listed.sandboxes.len(), listed.volumes.len())
    }
}

/// Makes one test of each case for each engine.
macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod docker {
            $(#[tokio::test]
            async fn $case() {
                let engine = || super::DockerEngine::new("/var/run/docker.sock");
                super::$case(super::Bench::new(engine(), engine())).await;
            })*
        }
        mod on_kubernetes {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::Bench::on_a_node()).await;
            })*
        }
        mod fake {
            $(#[tokio::test]
            async fn $case() {
                let engine = super::FakeEngine::of_processes(&[super::IMAGE]);
                let mut bench = super::Bench::new(engine.clone(), engine.clone());
                bench.reserves = true;
                let places = bench.directory.path().join("places");
                super::fs::create_dir(&places).unwrap();
                engine.reserving_in(places);
                super::$case(bench).await;
            })*
        }
    };
}

contract!(
    it_describes_itself_and_knows_its_images,
    volumes_are_made_found_and_removed_any_number_of_times,
    an_overlay_shows_its_layers_and_takes_what_is_written_or_cannot_be_had,
    a_reserved_volume_is_filled_and_emptied_below_what_runs_or_cannot_be_had,
    a_reserved_volume_that_is_filled_while_its_sandbox_begins_is_seen,
    a_sandbox_runs_its_command_and_all_who_wait_are_told_how_it_ended,
    who_has_not_started_a_sandbox_waits_for_it_and_ends_it_as_well,
    a_sandbox_that_cannot_start_leaves_nothing,
    a_name_is_given_once,
    killing_ends_the_deaf_at_once_and_lets_others_end_within_their_grace,
    removing_ends_what_runs_and_can_be_done_twice,
    a_list_has_what_carries_all_labels_and_nothing_else,
);

async fn it_describes_itself_and_knows_its_images(bench: Bench) {
    let described = bench.engine.describe().await.unwrap();
    assert!(!described.kind.is_empty() && !described.version.is_empty(), "{described:?}");
    let id = bench.start(&bench.sandbox("known", "true")).await.unwrap();
    bench.engine.remove(&id).await.unwrap();
    assert!(!bench.engine.image(IMAGE).await.unwrap().unwrap().id.is_empty());
    let unknown = bench.engine.image("no/such:image").await.unwrap();
    assert_eq!(unknown.map(|image| image.id), bench.fetches.then(String::new));
}

async fn volumes_are_made_found_and_removed_any_number_of_times(bench: Bench) {
    let volume = Volume {
        name: format!("contract-{}", bench.own),
        source: VolumeSource::Directory(bench.directory.path().to_owned()),
        labels: bench.labels("volume"),
    };
    bench.engine.create_volume(&volume).await.unwrap();
    bench.engine.create_volume(&volume).await.unwrap();
    assert_eq!(bench.listed().await, (0, 1));

    let mut sandbox = bench.sandbox("volume", "echo here > \"$0/file\"");
    // An argument of its own, so that an engine without mounts can say where the place is.
    sandbox.command.push("/cache".to_owned());
    let source = MountSource::Volume(volume.name.clone());
    sandbox.mounts.push(Mount { source, target: "/cache".to_owned(), read_only: false });
    let id = bench.engine.start(&sandbox).await.unwrap();
    assert_eq!(bench.engine.wait(&id).await.unwrap().code, 0);
    bench.engine.remove(&id).await.unwrap();
    assert_eq!(fs::read_to_string(bench.directory.path().join("file")).unwrap(), "here\n");

    bench.engine.remove_volume(&volume.name).await.unwrap();
    bench.engine.remove_volume(&volume.name).await.unwrap();
    assert_eq!(bench.listed().await, (0, 0));
    assert!(bench.directory.path().join("file").exists(), "what it showed stays");
}

async fn an_overlay_shows_its_layers_and_takes_what_is_written_or_cannot_be_had(bench: Bench) {
    let at = |name: &str| bench.directory.path().join(name);
    for name in ["top", "bottom", "upper", "work"] {
        fs::create_dir(at(name)).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::write(at("bottom/said"), "bottom").unwrap();
    fs::write(at("bottom/gone"), "bottom").unwrap();
    fs::write(at("top/said"), "top").unwrap();
    let volume = Volume {
        name: format!("contract-{}", bench.own),
        source: VolumeSource::Overlay {
            lower: vec![at("top"), at("bottom")],
            upper: at("upper"),
            work: at("work"),
        },
        labels: bench.labels("overlay"),
    };
    match bench.engine.create_volume(&volume).await {
        Err(EngineError::Unsupported(_)) => return assert_eq!(bench.listed().await, (0, 0)),
        made => made.unwrap(),
    }
    bench.other.create_volume(&volume).await.unwrap();
    let mut sandbox = bench.sandbox("overlay", "cp /cache/said /cache/copied && rm /cache/gone");
    let source = MountSource::Volume(volume.name.clone());
    sandbox.mounts.push(Mount { source, target: "/cache".to_owned(), read_only: false });
    let id = bench.start(&sandbox).await.unwrap();
    assert_eq!(bench.engine.wait(&id).await.unwrap().code, 0);
    bench.engine.remove(&id).await.unwrap();
    assert_eq!(fs::read_to_string(at("upper/copied")).unwrap(), "top");
    let gone = fs::symlink_metadata(at("upper/gone")).unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&gone.file_type()), "a whiteout");
    bench.other.remove_volume(&volume.name).await.unwrap();
    assert_eq!(bench.listed().await, (0, 0));
}

async fn a_reserved_volume_is_filled_and_emptied_below_what_runs_or_cannot_be_had(bench: Bench) {
    let at = |name: &str| bench.directory.path().join(name);
    let (name, labels) = (format!("contract-{}", bench.own), bench.labels("reserved"));
    assert_eq!(bench.engine.reserve_volume(&name, &labels).await.unwrap(), bench.reserves);
    if !bench.reserves {
        return assert_eq!(bench.listed().await, (0, 0));
    }
    assert!(bench.other.reserve_volume(&name, &labels).await.unwrap(), "any number of times");
    assert_eq!(bench.listed().await, (0, 1));
    let mut sandbox = bench.sandbox(
        "reserved",
        "step() { until [ -e \"$1/$2\" ]; do sleep 0.02; done; }
         touch runs; step \"$0\" first; echo one > \"$0/said\"
         until [ ! -e \"$0/first\" ]; do sleep 0.02; done; touch empty
         step \"$0\" second; echo two > \"$0/said\"",
    );
    sandbox.command.push("/cache".to_owned());
    let source = MountSource::Volume(name.clone());
    sandbox.mounts.push(Mount { source, target: "/cache".to_owned(), read_only: false });
    let id = bench.start(&sandbox).await.unwrap();
    appears(&bench, "runs").await;
    for (shown, marker) in [("one", "first"), ("two", "second")] {
        fs::create_dir(at(shown)).unwrap();
        fs::set_permissions(at(shown), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(at(shown).join(marker), "").unwrap();
        let source = VolumeSource::Directory(at(shown));
        let volume = Volume { name: name.clone(), source, labels: labels.clone() };
        bench.engine.create_volume(&volume).await.unwrap();
        bench.other.create_volume(&volume).await.unwrap();
        appears(&bench, &format!("{shown}/said")).await;
        if shown == "one" {
            assert!(bench.engine.reserve_volume(&name, &labels).await.unwrap());
            appears(&bench, "empty").await;
        }
    }
    assert_eq!(bench.engine.wait(&id).await.unwrap().code, 0);
    bench.engine.remove(&id).await.unwrap();
    for said in ["one", "two"] {
        assert_eq!(fs::read_to_string(at(said).join("said")).unwrap(), format!("{said}\n"));
    }
    bench.engine.remove_volume(&name).await.unwrap();
    bench.engine.remove_volume(&name).await.unwrap();
    assert_eq!(bench.listed().await, (0, 0));
    assert!(at("two/second").exists(), "what it showed stays");
}

async fn a_reserved_volume_that_is_filled_while_its_sandbox_begins_is_seen(bench: Bench) {
    let (name, labels) = (format!("contract-{}", bench.own), bench.labels("reserved"));
    assert_eq!(bench.engine.reserve_volume(&name, &labels).await.unwrap(), bench.reserves);
    if !bench.reserves {
        return;
    }
    let shown = bench.directory.path().join("shown");
    fs::create_dir(&shown).unwrap();
    fs::write(shown.join("here"), "").unwrap();
    for round in 0..3 {
        let script = "until [ -e \"$0/here\" ]; do sleep 0.02; done";
        let mut sandbox = bench.sandbox(&format!("begins-{round}"), script);
        sandbox.command.push("/cache".to_owned());
        let source = MountSource::Volume(name.clone());
        sandbox.mounts.push(Mount { source, target: "/cache".to_owned(), read_only: false });
        let id = bench.engine.start(&sandbox).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250 * round)).await;
        let source = VolumeSource::Directory(shown.clone());
        let volume = Volume { name: name.clone(), source, labels: labels.clone() };
        bench.engine.create_volume(&volume).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), bench.engine.wait(&id)).await;
        assert_eq!(ended.unwrap().unwrap().code, 0);
        bench.engine.remove(&id).await.unwrap();
        assert!(bench.engine.reserve_volume(&name, &labels).await.unwrap());
    }
    bench.engine.remove_volume(&name).await.unwrap();
    assert_eq!(bench.listed().await, (0, 0));
}

async fn a_sandbox_runs_its_command_and_all_who_wait_are_told_how_it_ended(bench: Bench) {
    let script = "echo \"$GREETING\" > said; while [ ! -e go ]; do sleep 0.02; done; exit 7";
    let id = bench.engine.start(&bench.sandbox("runs", script)).await.unwrap();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let (engine, id) = (bench.engine.clone(), id.clone());
            tokio::spawn(async move { engine.wait(&id).await })
        })
        .collect();
    fs::write(bench.directory.path().join("go"), "").unwrap();
    for waiter in waiters {
        let exit = waiter.await.unwrap().unwrap();
        assert_eq!((exit.code, exit.out_of_memory), (7, false));
    }
    assert_eq!(bench.engine.wait(&id).await.unwrap().code, 7, "also who asks later");
    assert_eq!(fs::read_to_string(bench.directory.path().join("said")).unwrap(), "hello\n");
    assert_eq!(bench.listed().await, (1, 0), "what has ended stays until it is removed");
    bench.engine.remove(&id).await.unwrap();
}

async fn who_has_not_started_a_sandbox_waits_for_it_and_ends_it_as_well(bench: Bench) {
    let script = "while [ ! -e go ]; do sleep 0.02; done; exit 7";
    let ends = bench.engine.start(&bench.sandbox("ends", script)).await.unwrap();
    let stays = bench.engine.start(&bench.sandbox("stays", "sleep 60")).await.unwrap();
    let (other, waited) = (bench.other.clone(), ends.clone());
    let waiting = tokio::spawn(async move { other.wait(&waited).await });
    fs::write(bench.directory.path().join("go"), "").unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().code, 7);
    bench.other.kill(&stays, Duration::ZERO).await.unwrap();
    assert_eq!(bench.other.wait(&stays).await.unwrap().code, 137);
    for id in [&ends, &stays] {
        bench.other.remove(id).await.unwrap();
    }
    assert_eq!(bench.listed().await, (0, 0));
}

async fn a_sandbox_that_cannot_start_leaves_nothing(bench: Bench) {
    let imageless = Sandbox { image: "no/such:image".to_owned(), ..bench.sandbox("imageless", "true") };
    let refused = bench.start(&imageless).await.unwrap_err();
    let (EngineError::ImageMissing(image) | EngineError::ImageUnavailable { image, .. }) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(image, "no/such:image");
    let commandless =
        Sandbox { command: vec!["/no/such/program".to_owned()], ..bench.sandbox("commandless", "") };
    let refused = bench.start(&commandless).await.unwrap_err();
    assert!(!matches!(refused, EngineError::Unavailable(_)), "{refused}");
    assert_eq!(bench.listed().await, (0, 0));
}

async fn a_name_is_given_once(bench: Bench) {
    let sandbox = bench.sandbox("twice", "sleep 60");
    let first = bench.engine.start(&sandbox).await.unwrap();
    let refused = bench.engine.start(&sandbox).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused(_)), "{refused}");
    assert_eq!(bench.listed().await, (1, 0), "the first one stays");
    bench.engine.remove(&first).await.unwrap();
    let again = bench.engine.start(&sandbox).await.unwrap();
    bench.engine.remove(&again).await.unwrap();
}

async fn killing_ends_the_deaf_at_once_and_lets_others_end_within_their_grace(bench: Bench) {
    let deaf = bench.sandbox("deaf", "trap '' TERM; echo > deaf; while :; do sleep 0.02; done");
    let deaf = bench.start(&deaf).await.unwrap();
    appears(&bench, "deaf").await;
    let begun = Instant::now();
    bench.engine.kill(&deaf, Duration::ZERO).await.unwrap();
    assert_eq!(bench.engine.wait(&deaf).await.unwrap().code, 137);
    assert!(begun.elapsed() < bench.kills_within, "{:?}", begun.elapsed());

    let polite = bench.sandbox("polite", "trap 'exit 3' TERM; echo > polite; while :; do sleep 0.02; done");
    let polite = bench.start(&polite).await.unwrap();
    appears(&bench, "polite").await;
    bench.engine.kill(&polite, Duration::from_secs(20)).await.unwrap();
    assert_eq!(bench.engine.wait(&polite).await.unwrap().code, 3);

    for id in [&deaf, &polite] {
        bench.engine.kill(id, Duration::ZERO).await.unwrap();
        bench.engine.remove(id).await.unwrap();
        bench.engine.kill(id, Duration::ZERO).await.unwrap();
    }
    assert_eq!(bench.listed().await, (0, 0));
}

async fn removing_ends_what_runs_and_can_be_done_twice(bench: Bench) {
    let id = bench.engine.start(&bench.sandbox("runs", "sleep 60")).await.unwrap();
    bench.engine.remove(&id).await.unwrap();
    bench.engine.remove(&id).await.unwrap();
    assert_eq!(bench.listed().await, (0, 0));
    let refused = bench.engine.wait(&id).await.unwrap_err();
    assert!(matches!(refused, EngineError::NotFound(_)), "{refused}");
}

async fn a_list_has_what_carries_all_labels_and_nothing_else(bench: Bench) {
    let one = bench.engine.start(&bench.sandbox("one", "sleep 60")).await.unwrap();
    let two = bench.engine.start(&bench.sandbox("two", "true")).await.unwrap();
    let listed = bench.engine.list(&bench.labels("one")).await.unwrap();
    let [(id, labels)] = listed.sandboxes.as_slice() else { panic!("{listed:?}") };
    assert_eq!((id, labels[label::DEPLOYMENT].as_str()), (&one, "one"));
    assert_eq!(bench.listed().await, (2, 0), "those that have ended are listed too");
    for id in [&one, &two] {
        bench.engine.remove(id).await.unwrap();
    }
    assert_eq!(bench.listed().await, (0, 0));
}

async fn appears(bench: &Bench, name: &str) {
    let there = async {
        while !bench.directory.path().join(name).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.unwrap();
}
