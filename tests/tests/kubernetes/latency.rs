//! How long it takes from a hook's request until its build prints, beside a bare pod on the same kubelets. The figures are printed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use grapnel_e2e::{Cluster, http_client};
use grapnel_runtime::Clock;

const ROUNDS: usize = 3;

/// The first thing that is printed is when.
const NOW: &str = "date +%s%N";

fn now() -> i64 {
    Clock::system().now().timestamp_nanos_opt().expect("it is not the year 2262")
}

/// Returns the time from one moment until what was printed in the first line that is one.
fn until_printed(since: i64, log: &str) -> Duration {
    let printed = log.lines().find_map(|line| line.parse::<i64>().ok()).expect("it has printed when");
    Duration::from_nanos(u64::try_from(printed - since).expect("it was later"))
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// Makes a pod that only prints, by one request, and returns how long that took. Like any that nobody says more of, it has a
/// token mounted.
async fn bare(cluster: &Cluster, number: usize) -> Duration {
    let name = format!("bare-{number}");
    let pod = serde_json::json!({"metadata": {"name": name}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "build", "image": "grapnel/builder:latest", "imagePullPolicy": "Never",
            "command": ["sh", "-c", format!("{NOW}; sleep 60")]}]}});
    let mut proxy = Command::new("kubectl")
        .args(["proxy", "--port=0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl is installed");
    let mut said = String::new();
    BufReader::new(proxy.stdout.take().expect("it is piped"))
        .read_line(&mut said)
        .expect("it says where it is");
    let place = said.trim().rsplit(' ').next().unwrap_or_default();
    let pods = format!("http://{place}/api/v1/namespaces/grapnel-builds/pods");
    let asked = now();
    let made = http_client().post(pods).json(&pod).send().await.expect("it answers");
    assert_eq!(made.status(), 201);
    proxy.kill().and_then(|()| proxy.wait()).expect("it can be ended");
    let printed = || cluster.kubectl_says(&["-n", "grapnel-builds", "logs", &name]);
    let log = cluster.until(|| Some(printed()).filter(|log| log.ends_with('\n')), printed).await;
    cluster.kubectl(&[
        "-n",
        "grapnel-builds",
        "delete",
        "pod",
        &name,
        "--wait=false",
        "--grace-period=0",
        "--force",
    ]);
    until_printed(asked, &log)
}

/// Triggers a hook and returns how long it took until its build printed, its log, and its id.
async fn build(cluster: &Cluster, url: &str) -> (Duration, String, String) {
    let asked = now();
    let id = cluster.trigger(url).await;
    cluster.ready(&id).await;
    let log = cluster.log(&id);
    (until_printed(asked, &log), log, id)
}

/// Twice what the promise is, 300 ms, for builds without optimisation on a machine that is shared: with a sandbox that was
/// started ahead, and without one beyond what a bare pod takes.
const AHEAD: Duration = Duration::from_millis(600);
const BEYOND: Duration = Duration::from_millis(600);

#[tokio::test]
async fn a_build_begins_soon_after_its_hook_was_asked() {
    let cluster = Cluster::find().await;
    let (repository, address) = cluster.repository("soon", &[("dist/index.html", "hi")]);
    let settings = ["--install", NOW, "--build", "true"];
    let url = cluster.hook("soon", &address, &settings);
    let (.., mut last) = build(&cluster, &url).await;
    let (mut pods, mut cold, mut ahead, mut changed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        cluster.stands_ahead_after(&last).await;
        let (took, log, id) = build(&cluster, &url).await;
        assert!(log.contains("the sandbox was started ahead of this build, with the source"), "{log}");
        ahead.push(took);
        cluster.stands_ahead_after(&id).await;
        repository.write("number", &number.to_string());
        repository.commit("Change");
        let (took, log, id) = build(&cluster, &url).await;
        assert!(log.contains("the sandbox was started ahead of this build\n"), "{log}");
        changed.push(took);
        cluster.stands_ahead_after(&id).await;
        pods.push(bare(&cluster, number).await);
        let (took, log, id) =
            build(&cluster, &cluster.hook(&format!("soon-{number}"), &address, &settings)).await;
        assert!(!log.contains("started ahead"), "{log}");
        cold.push(took);
        last = id;
    }
    println!("a bare pod: {pods:?}; the first build of a project: {cold:?}");
    println!("one whose sandbox was started ahead: {ahead:?}; the same with another commit: {changed:?}");
    let (pods, cold, ahead, changed) = (median(pods), median(cold), median(ahead), median(changed));
    println!("medians: {pods:?}, {cold:?}; {ahead:?}, {changed:?}");
    assert!(ahead < AHEAD, "{ahead:?}");
    assert!(changed < pods, "{changed:?} beside {pods:?}");
    assert!(cold < pods + BEYOND, "{cold:?} beside {pods:?}");
    cluster.nothing_is_left().await;
}
