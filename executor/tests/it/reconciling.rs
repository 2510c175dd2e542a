//! What is left over while the executor runs, and who may remove it.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use grapnel_domain::build::AttemptId;
use grapnel_executor::{
    engine::{
        Engine, EngineError, Volume, VolumeSource,
        docker::DockerEngine,
        fake::{Call, FakeEngine},
        label,
    },
    reconcile::Reconciler,
};
use grapnel_runtime::Clock;

use crate::support::obedient;

const EXECUTOR: &str = "reconciled";

/// A volume and a workspace of an attempt.
async fn leave(engine: &dyn Engine, workspaces: &Path, executor: &str, id: AttemptId) {
    let shown = workspaces.join(id.to_string());
    fs::create_dir_all(shown.join("tree")).unwrap();
    let volume = Volume {
        name: format!("grapnel-workspace-{id}"),
        source: VolumeSource::Directory(shown),
        labels: BTreeMap::from([
            (label::EXECUTOR.to_owned(), executor.to_owned()),
            (label::DEPLOYMENT.to_owned(), id.deployment.to_string()),
            (label::ATTEMPT.to_owned(), id.attempt.to_string()),
        ]),
    };
    engine.create_volume(&volume).await.unwrap();
}

/// Returns the volumes and the directories that there are, as the names of their attempts.
async fn left(engine: &dyn Engine, workspaces: &Path, executor: &str) -> (Vec<String>, Vec<String>) {
    let own = BTreeMap::from([(label::EXECUTOR.to_owned(), executor.to_owned())]);
    let volumes = engine.list(&own).await.unwrap().volumes.into_iter();
    let volumes = volumes.map(|(name, _)| name.trim_start_matches("grapnel-workspace-").to_owned());
    let directories = fs::read_dir(workspaces).unwrap().flatten();
    let names = directories.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let (mut volumes, mut names): (Vec<_>, Vec<_>) = (volumes.collect(), names.collect());
    volumes.sort();
    names.sort();
    (volumes, names)
}

fn attempt(clock: &Clock) -> AttemptId {
    AttemptId { deployment: clock.new_id(), attempt: 1 }
}

struct House {
    _directory: tempfile::TempDir,
    workspaces: std::path::PathBuf,
    running: Arc<Mutex<HashSet<AttemptId>>>,
    reconciler: Reconciler,
}

fn house(engine: Arc<dyn Engine>, executor: &str) -> House {
    let directory = tempfile::Builder::new().prefix("grapnel-").tempdir().unwrap();
    let workspaces = directory.path().join("workspaces");
    fs::create_dir(&workspaces).unwrap();
    let running: Arc<Mutex<HashSet<AttemptId>>> = Arc::default();
    let asked = running.clone();
    let known = Box::new(move || asked.lock().unwrap().clone());
    let reconciler = Reconciler::new(engine, executor.to_owned(), workspaces.clone(), known);
    House { _directory: directory, workspaces, running, reconciler }
}

#[tokio::test]
async fn only_what_is_nobodys_at_two_looks_is_removed() {
    let engine = FakeEngine::new(&[], obedient());
    let mut house = house(Arc::new(engine.clone()), EXECUTOR);
    let clock = Clock::system();
    let (runs, lost, begins) = (attempt(&clock), attempt(&clock), attempt(&clock));
    house.running.lock().unwrap().insert(runs);
    for id in [runs, lost, begins] {
        leave(&engine, &house.workspaces, EXECUTOR, id).await;
    }
    leave(&engine, &house.workspaces.join("of another"), "another", attempt(&clock)).await;
    fs::remove_dir_all(house.workspaces.join("of another")).unwrap();
    assert_eq!(house.reconciler.look().await.unwrap(), 0, "the first look only notes");
    // Its things stood there before it was known.
    house.running.lock().unwrap().insert(begins);
    assert_eq!(house.reconciler.look().await.unwrap(), 2, "a volume and a directory");
    let kept = [runs.to_string(), begins.to_string()];
    let (volumes, directories) = left(&engine, &house.workspaces, EXECUTOR).await;
    assert_eq!((volumes, directories), (kept.to_vec(), kept.to_vec()));
    assert_eq!(left(&engine, &house.workspaces, "another").await.0.len(), 1, "what is another's is left");
    assert_eq!(house.reconciler.look().await.unwrap(), 0, "and again there is nothing to do");
    house.running.lock().unwrap().clear();
    assert_eq!(house.reconciler.look().await.unwrap(), 0, "one that has just ended cleans up itself");
    assert_eq!(house.reconciler.look().await.unwrap(), 4);
}

#[tokio::test]
async fn an_engine_that_is_away_costs_nothing_but_time() {
    let engine = FakeEngine::new(&[], obedient());
    let mut house = house(Arc::new(engine.clone()), EXECUTOR);
    leave(&engine, &house.workspaces, EXECUTOR, attempt(&Clock::system())).await;
    house.reconciler.look().await.unwrap();
    for call in [Call::List, Call::RemoveVolume] {
        engine.fail_next(call, EngineError::Unavailable("away".into()));
        house.reconciler.look().await.unwrap_err();
        assert_eq!(left(&engine, &house.workspaces, EXECUTOR).await.1.len(), 1, "its volume goes first");
    }
    assert_eq!(house.reconciler.look().await.unwrap(), 2);
    assert_eq!(left(&engine, &house.workspaces, EXECUTOR).await, (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_real_engine_is_relieved_of_what_was_left_over() {
    let executor = format!("reconciled-{}", std::process::id());
    let engine = Arc::new(DockerEngine::new("/var/run/docker.sock"));
    let mut house = house(engine.clone(), &executor);
    let clock = Clock::system();
    let (runs, lost) = (attempt(&clock), attempt(&clock));
    house.running.lock().unwrap().insert(runs);
    for id in [runs, lost] {
        leave(&*engine, &house.workspaces, &executor, id).await;
    }
    house.reconciler.look().await.unwrap();
    assert_eq!(house.reconciler.look().await.unwrap(), 2);
    assert_eq!(left(&*engine, &house.workspaces, &executor).await.0, [runs.to_string()]);
    house.running.lock().unwrap().clear();
    house.reconciler.look().await.unwrap();
    house.reconciler.look().await.unwrap();
    assert_eq!(left(&*engine, &house.workspaces, &executor).await, (Vec::new(), Vec::new()));
}
