//! The settings of an executor whose engine is Kubernetes.

use std::{path::Path, str::FromStr};

use grapnel_runtime::{Setting, Settings};

use crate::engine::kubernetes::config::{KubernetesConfig, Pull, label};

/// The table of these settings.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "kubernetes.namespace",
        "grapnel-builds",
        "The namespace of the pods of builds. Nothing else should be in it.",
    ),
    Setting::computed(
        "kubernetes.node",
        "`executor.name`",
        "The node that this executor is on. Its builds' pods run there, beside its data directory.",
    ),
    Setting::new(
        "kubernetes.start_within",
        "10m",
        "How long the pod of a build may wait for room on the node and for its image, before the attempt is given up.",
    ),
    Setting::new(
        "kubernetes.pull",
        "IfNotPresent",
        "When builder images are pulled: `IfNotPresent`, `Always` or `Never`.",
    ),
    Setting::new(
        "kubernetes.pull_secrets",
        "",
        "The secrets of that namespace by which builder images are pulled, separated by commas.",
    ),
    Setting::new(
        "kubernetes.node_selector",
        "",
        "Labels that a node must have for builds to run on it, such as `disk=fast`, separated by commas.",
    ),
    Setting::new(
        "kubernetes.tolerations",
        "",
        "Taints of nodes that builds may run beside, written as `kubectl taint` takes them, such as `builds=only:NoSchedule`, separated by commas.",
    ),
    Setting::computed(
        "kubernetes.priority_class",
        "the cluster's",
        "The priority class of builds. One that is lower than that of what serves people lets builds give way.",
    ),
    Setting::new(
        "kubernetes.cpu_reserved",
        "50",
        "How much of the CPU that a build may use is reserved for it on the node, in percent. Its memory always is, whole.",
    ),
    Setting::new(
        "kubernetes.ephemeral_storage",
        "1GiB",
        "How much of the node's disk a pod may fill beside its workspace and its cache, which `build.disk` limits.",
    ),
];

/// Reads the settings; what is wrong is noted in them.
pub fn read(
    settings: &mut Settings,
    data_dir: &Path,
    executor: &str,
    builder_image: &str,
    resolvers: &[std::net::IpAddr],
) -> KubernetesConfig {
    let pull = settings.get::<String>("kubernetes.pull").unwrap_or_default();
    let pull = pull.parse().unwrap_or_else(|error: &str| {
        settings.complain("kubernetes.pull", error);
        Pull::IfNotPresent
    });
    let cpu_reserved = settings.require("kubernetes.cpu_reserved", 50);
    if cpu_reserved > 100 {
        settings.complain("kubernetes.cpu_reserved", "must be at most 100");
    }
    KubernetesConfig {
        namespace: settings.require("kubernetes.namespace", String::new()),
        node: settings.get("kubernetes.node").unwrap_or_else(|| executor.to_owned()),
        directory: data_dir.join("kubernetes"),
        start_within: settings.duration("kubernetes.start_within"),
        builder_image: builder_image.to_owned(),
        pull,
        pull_secrets: settings.list("kubernetes.pull_secrets"),
        node_selector: each(settings, "kubernetes.node_selector", label),
        tolerations: each(settings, "kubernetes.tolerations", FromStr::from_str),
        priority_class: settings.get("kubernetes.priority_class"),
        cpu_reserved,
        ephemeral_storage: settings.bytes("kubernetes.ephemeral_storage"),
        resolvers: resolvers.to_owned(),
    }
}

/// Reads a list of things that say themselves what is wrong with them.
fn each<T, C: FromIterator<T>>(
    settings: &mut Settings,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> C {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for text in settings.list(key) {
        match parse(&text) {
            Ok(value) => good.push(value),
            Err(error) => bad.push(error),
        }
    }
    for error in bad {
        settings.complain(key, error);
    }
    good.into_iter().collect()
}
