//! An installation on a real Kubernetes of two nodes, which `make test-kubernetes` brings up: driven from outside, through its
//! gateway, as its users do.

mod attacks;
mod cancel;
mod doctor;
mod evicted;
mod latency;
mod load;
mod moved;
mod rolling;
mod sites;
mod waiting;

use grapnel_e2e::Cluster;
use serde_json::Value;

/// Cordons all nodes but one for as long as `of` runs: what is built is built there.
async fn only_on<T>(cluster: &Cluster, node: &str, of: impl Future<Output = T>) -> T {
    let other = if node == "node1" { "node2" } else { "node1" };
    cluster.kubectl(&["cordon", other]);
    let cordoned = Cordoned { cluster, node: other };
    cluster.executor_is(other, "DRAINING").await;
    let done = of.await;
    drop(cordoned);
    cluster.executor_is(other, "READY").await;
    done
}

/// A node that takes nothing new until this is dropped: a test that fails leaves it to those after it.
struct Cordoned<'a> {
    cluster: &'a Cluster,
    node: &'a str,
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        self.cluster.kubectl_says(&["uncordon", self.node]);
    }
}

/// Returns the name of the pod in which an attempt at a deployment runs.
fn pod_of(deployment: &str, attempt: u32) -> String {
    format!("grapnel-{}-{attempt}", deployment.replace('_', "-"))
}

/// Returns the executor that has built a deployment.
fn executor(deployment: &Value) -> &str {
    deployment["executor"].as_str().unwrap_or_default()
}
