//! What an executor needs of its cluster.

use grapnel_executor::engine::{
    Engine as _, EngineError,
    kubernetes::{KubernetesEngine, config::KubernetesConfig},
};
use tokio::time::timeout;

use super::{Finding, checks::PATIENCE};

/// Looks at the cluster as an executor on one of its nodes sees it.
pub async fn all(config: KubernetesConfig) -> Vec<Finding> {
    let (namespace, node) = (config.namespace.clone(), config.node.clone());
    let engine = KubernetesEngine::new(config);
    let described = match timeout(PATIENCE, engine.describe()).await {
        Ok(Ok(described)) => described,
        Ok(Err(error)) => return vec![away(&error)],
        Err(_) => return vec![away(&EngineError::Unavailable("it does not answer in time".to_owned()))],
    };
    let found = format!("{}, builds in the namespace {namespace}", described.version);
    vec![
        Finding::ok("kubernetes", found),
        permissions(&engine).await,
        node_of(&engine, &node).await,
        mounts(&engine),
    ]
}

fn away(error: &EngineError) -> Finding {
    let advice = "run it in the executor's pod (`kubectl -n grapnel exec ds/grapnel-executor -- grapnel doctor`), or name a cluster with KUBECONFIG";
    Finding::failure("kubernetes", error.to_string(), advice)
}

async fn permissions(engine: &KubernetesEngine) -> Finding {
    let check = "permissions";
    let asked = match timeout(PATIENCE, engine.permissions()).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) => return away(&error),
        Err(_) => return away(&EngineError::Unavailable("it does not answer in time".to_owned())),
    };
    let refused: Vec<_> =
        asked.iter().filter(|(_, allowed)| !allowed).map(|(what, _)| what.as_str()).collect();
    if refused.is_empty() {
        return Finding::ok(check, format!("all {} that are needed", asked.len()));
    }
    let advice = "give the executor's service account what deploy/kubernetes/base/access.yaml says";
    Finding::failure(check, format!("it may not {}", refused.join(", ")), advice)
}

async fn node_of(engine: &KubernetesEngine, node: &str) -> Finding {
    let check = "node";
    match timeout(PATIENCE, engine.is_cordoned()).await {
        Ok(Ok(false)) => Finding::ok(check, node),
        Ok(Ok(true)) => Finding::warning(
            check,
            format!("{node} is cordoned: it takes nothing new"),
            "`kubectl uncordon` it",
        ),
        Ok(Err(error)) => Finding::failure(
            check,
            format!("{node}: {error}"),
            "set kubernetes.node to the node that this executor is on, by its name in `kubectl get nodes`",
        ),
        Err(_) => away(&EngineError::Unavailable("it does not answer in time".to_owned())),
    }
}

fn mounts(engine: &KubernetesEngine) -> Finding {
    let check = "mounts";
    let advice =
        "mount the data directory from the node at the same path, with `mountPropagation: Bidirectional`";
    match engine.mounts_are_shared() {
        Ok(true) => Finding::ok(check, "what is mounted below the data directory is seen by the node"),
        Ok(false) => {
            Finding::failure(check, "the node does not see what is mounted below the data directory", advice)
        }
        Err(error) => Finding::failure(check, error.to_string(), advice),
    }
}
