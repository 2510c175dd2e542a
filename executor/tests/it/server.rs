//! The executor as a service, over the fake engine.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use grapnel_domain::{Reason, id::DeploymentId, secret_token::ApiKey};
use grapnel_e2e::{SshKeyPair, SshServer};
use grapnel_executor::engine::{
    Engine as _, EngineError, Mount, MountSource, NetworkAccess, Sandbox, SandboxLimits, Volume,
    VolumeSource,
    fake::{Call, FakeEngine},
    label,
};
use grapnel_proto::{
    error::from_status,
    executor::v1::{
        executor_service_client::ExecutorServiceClient, finished::Outcome, trigger_deploy_response::Event, *,
    },
    hooks::v1::{KnownHost, SshKeyCredential},
};
use grapnel_runtime::{Clock, grpc::Bearer};
use prost_reflect::DescriptorPool;
use tempfile::TempDir;
use tonic::Code;

use crate::{
    served::{IMAGE, Served, endless, outcome, told},
    support::obedient,
};

#[tokio::test]
async fn only_who_shows_the_service_key_is_answered() {
    let served = Served::start(obedient()).await;
    let wrong = ApiKey::generate(&mut rand::rng());
    let request = served.request().await;
    let mut nobody = ExecutorServiceClient::new(served.channel.clone());
    let mut stranger = ExecutorServiceClient::with_interceptor(served.channel.clone(), Bearer::new(&wrong));
    let cancel = CancelDeployRequest { deployment_id: request.deployment_id.clone(), attempt: 1 };
    let refusals = [
        (nobody.resolve_source(ResolveSourceRequest::default()).await.err(), Reason::KeyMissing),
        (nobody.list_branches(ListBranchesRequest::default()).await.err(), Reason::KeyMissing),
        (stranger.list_branches(ListBranchesRequest::default()).await.err(), Reason::KeyInvalid),
        (nobody.trigger_deploy(request.clone()).await.err(), Reason::KeyMissing),
        (nobody.cancel_deploy(cancel.clone()).await.err(), Reason::KeyMissing),
        (nobody.get_executor(GetExecutorRequest {}).await.err(), Reason::KeyMissing),
        (nobody.scan_host(ScanHostRequest::default()).await.err(), Reason::KeyMissing),
        (nobody.watch_executor(WatchExecutorRequest {}).await.err(), Reason::KeyMissing),
        (nobody.drain_executor(DrainExecutorRequest {}).await.err(), Reason::KeyMissing),
        (stranger.watch_executor(WatchExecutorRequest {}).await.err(), Reason::KeyInvalid),
        (stranger.drain_executor(DrainExecutorRequest {}).await.err(), Reason::KeyInvalid),
        (nobody.list_caches(ListCachesRequest::default()).await.err(), Reason::KeyMissing),
        (nobody.purge_cache(PurgeCacheRequest::default()).await.err(), Reason::KeyMissing),
        (nobody.list_artifacts(ListArtifactsRequest::default()).await.err(), Reason::KeyMissing),
        (nobody.remove_artifacts(RemoveArtifactsRequest::default()).await.err(), Reason::KeyMissing),
        (stranger.list_artifacts(ListArtifactsRequest::default()).await.err(), Reason::KeyInvalid),
        (stranger.remove_artifacts(RemoveArtifactsRequest::default()).await.err(), Reason::KeyInvalid),
        (stranger.resolve_source(ResolveSourceRequest::default()).await.err(), Reason::KeyInvalid),
        (stranger.scan_host(ScanHostRequest::default()).await.err(), Reason::KeyInvalid),
        (stranger.trigger_deploy(request).await.err(), Reason::KeyInvalid),
        (stranger.cancel_deploy(cancel).await.err(), Reason::KeyInvalid),
        (stranger.get_executor(GetExecutorRequest {}).await.err(), Reason::KeyInvalid),
    ];
    for (refused, reason) in refusals {
        let refused = refused.unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(from_status(&refused, Reason::Internal).reason, reason);
    }
    let contracts = DescriptorPool::decode(grapnel_proto::DESCRIPTORS).unwrap();
    let service = contracts.get_service_by_name("grapnel.executor.v1.ExecutorService").unwrap();
    assert_eq!(service.methods().count(), 12, "each of them stands above");
    assert_eq!(served.engine.started(), 0);
}

#[tokio::test]
async fn asking_twice_for_an_attempt_runs_it_once_and_tells_both() {
    let served = Served::start(obedient()).await;
    let request = served.request().await;
    let (first, second) = tokio::join!(served.trigger(&request), served.trigger(&request));
    let (first, second) = tokio::join!(told(first.unwrap()), told(second.unwrap()));
    assert_eq!(first, second);
    assert!(first.iter().map(|message| message.sequence).eq(1..=first.len() as u64));
    assert!(matches!(outcome(&first), Some(Outcome::Ready(_))), "{first:?}");
    let later = TriggerDeployRequest { after_sequence: 3, ..request };
    assert_eq!(told(served.trigger(&later).await.unwrap()).await, first[3..], "who comes back gets the rest");
    assert_eq!(served.engine.started(), 1);
}

#[tokio::test]
async fn a_full_executor_refuses_and_one_that_knows_nothing_of_an_attempt_says_so() {
    let served = Served::start(endless()).await;
    let running = served.request().await;
    let _stream = served.trigger(&running).await.unwrap();
    let info = served.client().get_executor(GetExecutorRequest {}).await.unwrap().into_inner();
    assert_eq!((info.slots, info.running, info.name.as_str()), (1, 1, "one"));
    let refused = served.trigger(&served.request().await).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(from_status(&refused, Reason::Internal).reason, Reason::ExecutorFull);
    let unknown = TriggerDeployRequest { after_sequence: 7, ..served.request().await };
    let refused = served.trigger(&unknown).await.unwrap_err();
    assert_eq!(from_status(&refused, Reason::Internal).reason, Reason::AttemptNotFound);
}

#[tokio::test]
async fn whoever_watches_is_told_of_every_slot_at_once() {
    let served = Served::start(endless()).await;
    let mut watching = served.client().watch_executor(WatchExecutorRequest {}).await.unwrap().into_inner();
    let mut told = async || {
        let message = watching.message().await.unwrap().unwrap();
        let occupancy = message.occupancy.unwrap();
        // One that has just given its slot back may still be named.
        assert!(message.attempts.len() >= occupancy.running as usize);
        occupancy
    };
    let first = told().await;
    assert_eq!((first.name.as_str(), first.slots, first.running, first.draining), ("one", 1, 0, false));
    let request = served.request().await;
    let _stream = served.trigger(&request).await.unwrap();
    let begun = Instant::now();
    assert_eq!(told().await.running, 1);
    let cancel = CancelDeployRequest { deployment_id: request.deployment_id.clone(), attempt: 1 };
    served.client().cancel_deploy(cancel).await.unwrap();
    assert_eq!(told().await.running, 0);
    assert!(begun.elapsed() < Duration::from_secs(3), "only a heartbeat told it");
    // And when nothing changes, now and then.
    assert_eq!(told().await.running, 0);
}

#[tokio::test]
async fn a_drained_executor_finishes_what_it_has_and_ends_by_itself() {
    let served = Served::start(endless()).await;
    let running = served.request().await;
    let stream = served.trigger(&running).await.unwrap();
    for _ in 0..2 {
        let drained = served.client().drain_executor(DrainExecutorRequest {}).await.unwrap().into_inner();
        let occupancy = drained.occupancy.unwrap();
        assert!(occupancy.draining && occupancy.running == 1, "{occupancy:?}");
    }
    let refused = served.trigger(&served.request().await).await.unwrap_err();
    assert_eq!(from_status(&refused, Reason::Internal).reason, Reason::ExecutorDraining);
    // Whoever follows a build can still come back to it.
    let again = served.trigger(&TriggerDeployRequest { after_sequence: 1, ..running.clone() }).await.unwrap();
    assert!(!served.process.stopping.token().is_cancelled());
    let cancel = CancelDeployRequest { deployment_id: running.deployment_id.clone(), attempt: 1 };
    served.client().cancel_deploy(cancel).await.unwrap();
    for told in [told(stream).await, told(again).await] {
        assert!(matches!(outcome(&told), Some(Outcome::Canceled(_))), "{told:?}");
    }
    let ended =
        tokio::time::timeout(Duration::from_secs(60), served.process.stopping.token().cancelled()).await;
    assert!(ended.is_ok(), "it did not end");
}

#[tokio::test]
async fn a_silent_build_beats_and_a_cancel_returns_when_its_sandbox_is_gone() {
    let served = Served::start(endless()).await;
    let request = served.request().await;
    let mut stream = served.trigger(&request).await.unwrap();
    let mut beats = 0;
    while beats < 2 {
        let message = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.unwrap();
        let message = message.unwrap().unwrap();
        beats += usize::from(matches!(message.event, Some(Event::Heartbeat(_))));
    }
    let cancel = CancelDeployRequest { deployment_id: request.deployment_id.clone(), attempt: 1 };
    served.client().cancel_deploy(cancel.clone()).await.unwrap();
    assert!(served.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.is_empty());
    let rest = told(stream).await;
    assert!(matches!(outcome(&rest), Some(Outcome::Canceled(_))), "{rest:?}");
    served.client().cancel_deploy(cancel).await.unwrap();
    let unknown = Clock::system().new_id::<grapnel_domain::id::DeploymentKind>();
    let unknown = CancelDeployRequest { deployment_id: unknown.to_string(), attempt: 1 };
    served.client().cancel_deploy(unknown).await.unwrap();
}

#[tokio::test]
async fn a_specification_that_is_wrong_is_refused_with_every_field_named() {
    let served = Served::start(obedient()).await;
    let mut request = served.request().await;
    request.attempt = 0;
    request.spec = Some(BuildSpec {
        repository_url: "ext::sh -c id".into(),
        branch: "--exec=id".into(),
        version: Some(Version { commit: "$(id)".into(), message: String::new() }),
        ..request.spec.unwrap()
    });
    let refused = from_status(&served.trigger(&request).await.unwrap_err(), Reason::Internal);
    let fields: Vec<_> = refused.violations.iter().map(|it| it.field.as_str()).collect();
    for field in ["attempt", "spec.repository_url", "spec.branch", "spec.version.commit"] {
        assert!(fields.contains(&field), "{field} is not among {fields:?}");
    }
}

#[tokio::test]
async fn stopping_ends_what_runs_tells_how_and_leaves_nothing() {
    let mut served = Served::start(endless()).await;
    let request = served.request().await;
    let mut stream = served.trigger(&request).await.unwrap();
    while !matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Log(_))) {}
    served.process.stopping.ask_by_a_person();
    let rest = told(stream).await;
    assert!(matches!(outcome(&rest), Some(Outcome::Canceled(_))), "{rest:?}");
    tokio::time::timeout(Duration::from_secs(20), &mut served.process.serving).await.unwrap().unwrap();
    assert!(served.engine.list(&BTreeMap::new()).await.unwrap().sandboxes.is_empty());
    assert_eq!(entries(&served.directory.path().join("data/workspaces")), 0);
}

#[tokio::test]
async fn what_a_dead_executor_left_is_swept_at_start_and_what_is_not_its_own_stays() {
    let engine = FakeEngine::of_processes(&[IMAGE]);
    let directory = tempfile::Builder::new().prefix("grapnel-").tempdir().unwrap();
    for executor in ["one", "other"] {
        engine.start(&left_over(executor, &directory)).await.unwrap();
        let deployment = Clock::system().new_id::<grapnel_domain::id::DeploymentKind>();
        let volume = Volume {
            name: format!("{executor}-attempt"),
            source: VolumeSource::Directory(directory.path().to_owned()),
            labels: labels(executor, label::DEPLOYMENT, deployment),
        };
        engine.create_volume(&volume).await.unwrap();
    }
    let workspace = directory.path().join("data/workspaces/dpl_x-1/tree/closed");
    fs::create_dir_all(&workspace).unwrap();
    fs::set_permissions(&workspace, fs::Permissions::from_mode(0o000)).unwrap();
    let staging = directory.path().join("data/artifacts/.dpl_x.staging/files");
    fs::create_dir_all(&staging).unwrap();

    let served = Served::start_in(directory, engine.clone()).await;
    served.version().await;
    let left = engine.list(&BTreeMap::new()).await.unwrap();
    let executors: Vec<_> =
        left.sandboxes.iter().map(|(_, labels)| labels[label::EXECUTOR].as_str()).collect();
    assert_eq!(executors, ["other"]);
    let mut volumes: Vec<_> = left.volumes.iter().map(|(name, _)| name.as_str()).collect();
    volumes.sort_unstable();
    assert_eq!(volumes, ["other-attempt"]);
    assert_eq!(entries(&served.directory.path().join("data/workspaces")), 0);
    // Artifacts are swept beside serving: their store may be far away.
    while staging.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_left_in_an_engine_that_is_away_at_the_start_is_swept_when_it_is_back() {
    let engine = FakeEngine::of_processes(&[IMAGE]);
    let directory = tempfile::Builder::new().prefix("grapnel-").tempdir().unwrap();
    let mut sandbox = left_over("one", &directory);
    let deployment = Clock::system().new_id::<grapnel_domain::id::DeploymentKind>();
    sandbox.labels = labels("one", label::DEPLOYMENT, deployment);
    engine.start(&sandbox).await.unwrap();
    engine.fail_next(Call::List, EngineError::Unavailable("it restarts".into()));
    let served = Served::start_in(directory, engine.clone()).await;
    served.version().await;
    let begun = Instant::now();
    while !engine.list(&BTreeMap::new()).await.unwrap().sandboxes.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn labels(executor: &str, kind: &str, deployment: DeploymentId) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::EXECUTOR.to_owned(), executor.to_owned()),
        (kind.to_owned(), deployment.to_string()),
    ])
}

fn left_over(executor: &str, directory: &TempDir) -> Sandbox {
    Sandbox {
        name: format!("grapnel-{executor}"),
        image: IMAGE.into(),
        command: ["sleep", "60"].map(str::to_owned).into(),
        env: BTreeMap::new(),
        working_dir: "/workspace".into(),
        user: (10_001, 10_001),
        mounts: vec![Mount {
            source: MountSource::Host(directory.path().to_owned()),
            target: "/workspace".into(),
            read_only: false,
        }],
        network: NetworkAccess::None,
        limits: SandboxLimits { memory_bytes: 1 << 28, milli_cpus: 1_000, processes: 64, open_files: 64 },
        deadline: Duration::from_secs(600),
        runtime: None,
        seccomp: None,
        labels: BTreeMap::from([(label::EXECUTOR.to_owned(), executor.to_owned())]),
    }
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

#[tokio::test]
async fn resolving_reads_what_the_repository_says_of_its_deployments() {
    let served = Served::start(obedient()).await;
    let repository = &served.repository;
    let resolve = async |root: &str| {
        repository.commit("Change");
        let request = ResolveSourceRequest {
            repository_url: repository.path(),
            branch: "main".into(),
            root_directory: root.into(),
            ..Default::default()
        };
        match served.client().resolve_source(request).await.unwrap().into_inner().result.unwrap() {
            resolve_source_response::Result::Version(_) => "goes on".to_owned(),
            resolve_source_response::Result::Disabled(version) => format!("disabled {}", version.message),
            resolve_source_response::Result::Failure(failure) => {
                format!("{}: {}", failure.code, failure.message)
            }
        }
    };
    let off = r#"{"github":{"enabled":false}}"#;
    repository.write("vercel.json", off);
    assert_eq!(resolve("").await, "disabled Change");
    repository.write("packages/site/index.html", "hi");
    assert_eq!(resolve("packages/site").await, "goes on", "only the file of the root directory counts");
    repository.write("grapnel.toml", "enabled = true");
    assert_eq!(resolve("").await, "goes on", "our own file wins");
    repository.write("vercel.json", "{\n  \"github\": }");
    let broken = resolve("").await;
    assert!(broken.starts_with("CONFIG_INVALID") && broken.contains("line 2, column 13"), "{broken}");
    repository.write("vercel.json", &" ".repeat(2 << 20));
    let large = resolve("").await;
    assert!(large.starts_with("CONFIG_INVALID") && large.contains("vercel.json is larger"), "{large}");
    repository.write(
        "packages/site/vercel.json",
        &format!("{{\"a\": {}1{}}}", "[".repeat(9_000), "]".repeat(9_000)),
    );
    let deep = resolve("packages/site").await;
    assert!(deep.contains("recursion limit"), "{deep}");
}

#[tokio::test]
async fn branches_are_an_answer_and_so_is_what_is_wrong_with_a_repository() {
    let served = Served::start(obedient()).await;
    let ask = async |repository_url: String| {
        let request = ListBranchesRequest { repository_url, access: None };
        served.client().list_branches(request).await.map(|answer| answer.into_inner().result.unwrap())
    };
    served.repository.git(&["branch", "--quiet", "next"]);
    match ask(served.repository.path()).await.unwrap() {
        list_branches_response::Result::Branches(found) => {
            let names: Vec<_> = found.branches.iter().map(|branch| branch.name.as_str()).collect();
            assert_eq!((names, found.default_branch.as_str()), (vec!["main", "next"], "main"));
        }
        list_branches_response::Result::Failure(failure) => panic!("{failure:?}"),
    }
    match ask(served.directory.path().join("git/none").display().to_string()).await.unwrap() {
        list_branches_response::Result::Failure(failure) => assert_eq!(failure.code, "REPOSITORY_NOT_FOUND"),
        list_branches_response::Result::Branches(found) => panic!("{found:?}"),
    }
    for attack in [
        "",
        "ext::sh -c id",
        "--upload-pack=id",
        "ssh://-oProxyCommand=id/x",
        "https://me:secret@example.org/x.git",
        "http://169.254.169.254/latest",
        "https://example.org/a\nb",
    ] {
        let refused = ask(attack.to_owned()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{attack}");
        let refused = from_status(&refused, Reason::Internal);
        assert_eq!(refused.violations[0].field, "repository_url", "{attack}");
    }
}

#[tokio::test]
async fn what_a_call_brings_opens_a_private_repository_and_a_host_is_scanned() {
    let served = Served::start(obedient()).await;
    let root = served.directory.path().join("git");
    let ssh = SshServer::start(&root);
    let key = SshKeyPair::generate();
    ssh.authorise(&key);
    let scan = async |host: &str, port: u32| {
        served.client().scan_host(ScanHostRequest { host: host.into(), port }).await
    };
    let keys = scan("127.0.0.1", ssh.port().into()).await.unwrap().into_inner().keys;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].fingerprint, ssh.known().keys[0].fingerprint());
    for (host, port, code, reason) in [
        ("-oProxyCommand=id", 22, Code::InvalidArgument, Reason::InvalidRequest),
        ("169.254.169.254", 22, Code::InvalidArgument, Reason::InvalidRequest),
        ("127.0.0.1", 1, Code::Unavailable, Reason::HostUnreachable),
    ] {
        let refused = scan(host, port).await.unwrap_err();
        assert_eq!(
            (refused.code(), from_status(&refused, Reason::Internal).reason),
            (code, reason),
            "{host}"
        );
    }

    let access = |known: bool| SourceAccess {
        owner: Clock::system().new_id::<grapnel_domain::id::TeamKind>().to_string(),
        credentials: vec![SourceCredential {
            origin: ssh.origin(),
            secret: Some(source_credential::Secret::SshKey(SshKeyCredential {
                private_key: key.private.clone(),
            })),
        }],
        known_hosts: vec![KnownHost {
            host: "127.0.0.1".into(),
            port: ssh.port().into(),
            keys: keys.clone(),
            ..Default::default()
        }]
        .into_iter()
        .filter(|_| known)
        .collect(),
    };
    let resolve = async |known: bool| {
        let request = ResolveSourceRequest {
            repository_url: ssh.url("site"),
            branch: "main".into(),
            access: Some(access(known)),
            ..Default::default()
        };
        served.client().resolve_source(request).await.unwrap().into_inner().result.unwrap()
    };
    let resolved = resolve(true).await;
    assert!(matches!(resolved, resolve_source_response::Result::Version(_)), "{resolved:?}");
    match resolve(false).await {
        resolve_source_response::Result::Failure(failure) => assert_eq!(failure.code, "HOST_KEY_UNKNOWN"),
        other => panic!("{other:?}"),
    }
}
