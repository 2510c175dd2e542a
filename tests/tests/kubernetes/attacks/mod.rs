//! What hostile builds try, as pods: the cases of docs/security.md that a pod can try, as real deployments. What needs a network
//! plugin, that no build reaches what is ours by its network, cannot be tried here: this cluster has none.

mod limits;
mod rights;
mod traces;

use grapnel_e2e::{Cluster, cluster::state};
use serde_json::Value;

/// What came of an attack.
struct Came {
    deployment: Value,
    log: String,
}

impl Came {
    fn is_ready(&self) -> bool {
        state(&self.deployment) == "READY"
    }

    /// Asserts that it was the project's own fault, told by this code.
    fn failed(&self, code: &str) {
        let told = self.deployment["failure"].to_string();
        assert!(told.contains(&format!("\"{code}\"")) && told.contains("USER"), "{told}\n{}", self.log);
        assert_eq!(self.deployment["attempt"], 1, "who is at fault is not served again: {told}");
    }

    fn says(&self, text: &str) {
        assert!(self.log.contains(text), "`{text}` is not in\n{}", self.log);
    }
}

/// Makes a hook of a project whose build is a script. Each build is of a commit that is there already.
fn hook_of(cluster: &Cluster, name: &str, script: &str, settings: &[&str]) -> String {
    let (_repository, address) =
        cluster.repository(name, &[("attack.sh", script), ("dist/index.html", "hi")]);
    let plain = ["--install", "true", "--build", "bash attack.sh"];
    let timeout: &[&str] = if settings.contains(&"--timeout") { &[] } else { &["--timeout", "60"] };
    cluster.hook(name, &address, &[&plain[..], timeout, settings].concat())
}

/// Runs a script as a build.
async fn attacked(cluster: &Cluster, name: &str, script: &str, settings: &[&str]) -> Came {
    let url = hook_of(cluster, name, script, settings);
    let id = cluster.trigger(&url).await;
    let deployment = cluster.ended(&id).await;
    Came { log: cluster.log(&id), deployment }
}

/// The same, and makes sure that nothing of it is left in the cluster or on a node, and that the next build is well.
async fn attack(cluster: &Cluster, name: &str, script: &str, settings: &[&str]) -> Came {
    let came = attacked(cluster, name, script, settings).await;
    cluster.nothing_is_left().await;
    cluster.nothing_is_left_on_nodes().await;
    let next = attacked(cluster, &format!("{name}-next"), "echo well", &[]).await;
    assert!(next.is_ready(), "{:#}\n{}", next.deployment, next.log);
    came
}
