//! Many builds of many projects at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use grapnel_e2e::{Cluster, cluster::state};
use serde_json::Value;

use crate::executor;

const PROJECTS: usize = 20;
const ROUNDS: usize = 10;

/// Projects that are deployed again and again, each once it has ended: at one commit, a hook's newer deployment takes the place
/// of one that has not.
pub struct Load {
    projects: Vec<Project>,
}

struct Project {
    url: String,
    /// What was asked for, the newest last, and whether that has ended.
    asked: Vec<String>,
    is_over: bool,
}

impl Load {
    /// Makes hooks of so many projects of one repository, whose build is a command, with more settings.
    pub fn of(cluster: &Cluster, name: &str, projects: usize, build: &str, more: &[&str]) -> Self {
        let (_repository, address) = cluster.repository(name, &[("dist/index.html", "hi")]);
        let hook = |number| {
            let settings = [&["--install", "true", "--build", build], more].concat();
            cluster.hook(&format!("{name}-{number}"), &address, &settings)
        };
        let project = |number| Project { url: hook(number), asked: Vec::new(), is_over: true };
        Self { projects: (1..=projects).map(project).collect() }
    }

    /// Asks for one more deployment of each project that has none under way and was asked fewer than so many times, `at_most` in
    /// all, and returns what has ended since the last time.
    pub async fn go_on(&mut self, cluster: &Cluster, rounds: usize, at_most: usize) -> Vec<Value> {
        let listed = cluster.try_cli(&["deployment", "list", "--limit", "200", "--output", "json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        let mut ended: BTreeMap<_, _> = listed["deployments"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|it| !["PENDING", "QUEUED", "BUILDING"].contains(&state(it).as_str()))
            .filter_map(|it| Some((it["id"].as_str()?.to_owned(), it.clone())))
            .collect();
        let mut over = Vec::new();
        for project in self.projects.iter_mut().filter(|project| !project.is_over) {
            let newest = project.asked.last().expect("it was asked for");
            if let Some(deployment) = ended.remove(newest) {
                project.is_over = true;
                over.push(deployment);
            }
        }
        // Those that were asked least often come first.
        let mut free: Vec<_> =
            self.projects.iter_mut().filter(|it| it.is_over && it.asked.len() < rounds).collect();
        free.sort_by_key(|project| project.asked.len());
        for project in free.into_iter().take(at_most) {
            project.asked.push(cluster.trigger(&project.url).await);
            project.is_over = false;
        }
        over
    }

    /// Returns whether nothing is under way.
    pub fn is_over(&self) -> bool {
        self.projects.iter().all(|project| project.is_over)
    }

    /// Returns the ids of all that was asked for.
    pub fn asked(&self) -> Vec<&str> {
        self.projects.iter().flat_map(|project| &project.asked).map(String::as_str).collect()
    }
}

#[tokio::test]
async fn two_hundred_builds_of_twenty_projects_are_each_ready_once_on_both_nodes_and_find_their_caches() {
    let cluster = Cluster::find().await;
    // No sandbox is started ahead for projects with submodules: of twenty it would be thrown away nearly always.
    let build = "mkdir -p node_modules/.cache && date >> node_modules/.cache/rounds && sleep 1";
    let mut load = Load::of(&cluster, "load", PROJECTS, build, &["--submodules"]);
    let (begun, mut ended) = (Instant::now(), Vec::new());
    while ended.len() < PROJECTS * ROUNDS {
        assert!(begun.elapsed() < Duration::from_secs(420), "only {} have ended", ended.len());
        ended.extend(load.go_on(&cluster, ROUNDS, PROJECTS).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = begun.elapsed();
    assert_eq!(load.asked().into_iter().collect::<BTreeSet<_>>().len(), PROJECTS * ROUNDS);
    let (mut nodes, mut hits) = (BTreeMap::new(), 0);
    for deployment in &ended {
        assert_eq!((state(deployment).as_str(), &deployment["attempt"]), ("READY", &serde_json::json!(1)));
        *nodes.entry(executor(deployment).to_owned()).or_insert(0_usize) += 1;
        let log = cluster.log(deployment["id"].as_str().expect("it has an id"));
        assert_eq!(log.matches("\n[READY]").count(), 1, "{log}");
        let hit = log.contains("\ncache hit");
        assert!(hit || log.contains("\ncache miss"), "it says which: {log}");
        hits += usize::from(hit);
    }
    println!("{} builds in {took:?}: {nodes:?}, {hits} cache hits", ended.len());
    assert!(nodes.len() == 2 && nodes.values().all(|builds| *builds >= PROJECTS), "{nodes:?}");
    // The first build of each project cannot find one; another one does not where it begins on the other node before that of the
    // last was sent.
    let could = ended.len() - PROJECTS;
    assert!(hits * 10 >= could * 9, "{hits} of {could} found their cache");
    cluster.nothing_is_left().await;
    cluster.nothing_is_left_on_nodes().await;
}
