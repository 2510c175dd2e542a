//! How a sandbox looks as a pod: the isolation profile in Kubernetes' terms, as one pure function.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, Container, EmptyDirVolumeSource, EnvVar, HostPathVolumeSource,
        LocalObjectReference, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
        PodDNSConfig, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext,
        Toleration as PodToleration, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use sha2::{Digest as _, Sha256};

use super::{config::KubernetesConfig, volumes::Place};
use crate::engine::{EngineError, Mount, MountSource, NetworkAccess, Sandbox};

/// The label by which a NetworkPolicy finds the pods that it is for: `none`, `egress` or `open`.
pub const NETWORK: &str = "grapnel.dev/network";

/// Where the labels of a sandbox stand as they are, in JSON: a pod's own cannot have every value.
pub const LABELS: &str = "grapnel.dev/labels";

/// Where a container's own last word goes, which Kubernetes always has a place for and we never read: a file on the node's disk
/// that everybody may write to, as much as there is room for, and that no limit counts. So it stands in a directory that
/// nobody in the pod may enter.
const CLOSED: &str = "/run/grapnel/closed";
pub const LAST_WORD: &str = "last-word";

/// The one container of a pod.
const CONTAINER: &str = "build";

/// The longest name of a pod that is also its host name, and the longest value of a label.
const LONGEST: usize = 63;

/// Returns the pod of a sandbox. Whatever is not said here is the cluster's default, so everything that isolates is said.
/// `volume` tells where on the node a volume is.
///
/// # Errors
/// A volume is not there.
pub fn pod(
    sandbox: &Sandbox,
    config: &KubernetesConfig,
    volume: impl Fn(&str) -> Option<Place>,
) -> Result<Pod, EngineError> {
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for (number, mount) in sandbox.mounts.iter().enumerate() {
        let name = format!("mount-{number}");
        let (source, propagation) = source(&name, mount, &volume)?;
        volumes.push(source);
        mounts.push(VolumeMount {
            name,
            mount_path: mount.target.clone(),
            mount_propagation: propagation,
            read_only: Some(mount.read_only),
            ..VolumeMount::default()
        });
    }
    let closed = HostPathVolumeSource { path: text_of(&closed(config))?, type_: None };
    volumes.push(Volume { name: "closed".to_owned(), host_path: Some(closed), ..Volume::default() });
    mounts.push(VolumeMount {
        name: "closed".to_owned(),
        mount_path: CLOSED.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    let (uid, gid) = sandbox.user;
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(name(&sandbox.name)),
            namespace: Some(config.namespace.clone()),
            labels: Some(labels(sandbox)),
            annotations: Some(BTreeMap::from([
                (LABELS.to_owned(), serde_json::json!(sandbox.labels).to_string()),
                // A cluster that removes nodes of which it has too many does not take one on which a build runs.
                ("cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(), "false".to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![container(sandbox, config, mounts)],
            volumes: Some(volumes),
            restart_policy: Some("Never".to_owned()),
            active_deadline_seconds: i64::try_from(sandbox.deadline.as_secs().max(1)).ok(),
            termination_grace_period_seconds: Some(1),
            hostname: Some("build".to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            host_ipc: Some(false),
            host_network: Some(false),
            host_pid: Some(false),
            share_process_namespace: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_user: Some(uid.into()),
                run_as_group: Some(gid.into()),
                run_as_non_root: Some(uid != 0),
                seccomp_profile: Some(runtime_default()),
                ..PodSecurityContext::default()
            }),
            runtime_class_name: sandbox.runtime.clone(),
            priority_class_name: config.priority_class.clone(),
            node_selector: (!config.node_selector.is_empty()).then(|| config.node_selector.clone()),
            affinity: Some(on_node(&config.node)),
            tolerations: Some(config.tolerations.iter().map(toleration).collect()),
            image_pull_secrets: Some(
                config.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect(),
            ),
            dns_policy: Some(
                if asks_own_resolvers(sandbox, config) { "None" } else { "ClusterFirst" }.to_owned(),
            ),
            dns_config: asks_own_resolvers(sandbox, config).then(|| PodDNSConfig {
                nameservers: Some(config.resolvers.iter().map(ToString::to_string).collect()),
                ..PodDNSConfig::default()
            }),
            ..PodSpec::default()
        }),
        status: None,
    })
}

fn container(sandbox: &Sandbox, config: &KubernetesConfig, mounts: Vec<VolumeMount>) -> Container {
    let limits = &sandbox.limits;
    let milli = |cpus: u32| Quantity(format!("{cpus}m"));
    let memory = Quantity(limits.memory_bytes.to_string());
    let storage = Quantity(config.ephemeral_storage.to_string());
    let reserved = u64::from(limits.milli_cpus) * u64::from(config.cpu_reserved.min(100)) / 100;
    let quantities = |cpu| {
        let named = [("cpu", cpu), ("memory", memory.clone()), ("ephemeral-storage", storage.clone())];
        BTreeMap::from(named.map(|(name, quantity)| (name.to_owned(), quantity)))
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(sandbox.image.clone()),
        image_pull_policy: Some(config.pull.as_str().to_owned()),
        command: Some(sandbox.command.clone()),
        args: Some(Vec::new()),
        env: Some(
            sandbox
                .env
                .iter()
                // `$(NAME)` would be replaced.
                .map(|(name, value)| EnvVar {
                    name: name.clone(),
                    value: Some(value.replace("$(", "$$(")),
                    ..EnvVar::default()
                })
                .collect(),
        ),
        working_dir: Some(sandbox.working_dir.clone()),
        volume_mounts: Some(mounts),
        stdin: Some(false),
        tty: Some(false),
        // Output comes through the runner's socket; the end of a container tells nothing of it.
        termination_message_policy: Some("File".to_owned()),
        termination_message_path: Some(format!("{CLOSED}/{LAST_WORD}")),
        resources: Some(ResourceRequirements {
            limits: Some(quantities(milli(limits.milli_cpus))),
            requests: Some(quantities(milli(u32::try_from(reserved).unwrap_or(limits.milli_cpus)))),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            privileged: Some(false),
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// Returns the volume of a mount, and how what is mounted on it later is seen, where that is to be.
fn source(
    name: &str,
    mount: &Mount,
    volume: impl Fn(&str) -> Option<Place>,
) -> Result<(Volume, Option<String>), EngineError> {
    // Nothing is made where nothing is: a directory in its place would be believed.
    let on_node = |path: PathBuf| Ok(HostPathVolumeSource { path: text_of(&path)?, type_: None });
    let mut volume_of = Volume { name: name.to_owned(), ..Volume::default() };
    let mut propagation = None;
    match &mount.source {
        MountSource::Host(path) => volume_of.host_path = Some(on_node(path.clone())?),
        MountSource::Volume(name) => {
            let Place { path, reserved } = volume(name).ok_or_else(|| EngineError::NotFound(name.clone()))?;
            volume_of.host_path = Some(on_node(path)?);
            propagation = reserved.then(|| "HostToContainer".to_owned());
        }
        MountSource::Memory { bytes } => {
            volume_of.empty_dir = Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                size_limit: Some(Quantity(bytes.to_string())),
            });
        }
    }
    Ok((volume_of, propagation))
}

/// Returns where on the node the directory is that nobody in a pod may enter.
pub fn closed(config: &KubernetesConfig) -> PathBuf {
    config.directory.join("closed")
}

fn text_of(path: &Path) -> Result<String, EngineError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        EngineError::Unsupported(format!("the path {} cannot be mounted by name", path.display()))
    })
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// A node's name as the scheduler knows it, which a label need not be.
fn on_node(node: &str) -> Affinity {
    let here = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_fields: Some(vec![here]),
                    match_expressions: None,
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn toleration(of: &super::config::Toleration) -> PodToleration {
    PodToleration {
        key: Some(of.key.clone()),
        operator: Some(if of.value.is_some() { "Equal" } else { "Exists" }.to_owned()),
        value: of.value.clone(),
        effect: of.effect.clone(),
        toleration_seconds: None,
    }
}

fn asks_own_resolvers(sandbox: &Sandbox, config: &KubernetesConfig) -> bool {
    sandbox.network == NetworkAccess::Egress && !config.resolvers.is_empty()
}

fn labels(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let network = match sandbox.network {
        NetworkAccess::None => "none",
        NetworkAccess::Egress => "egress",
        NetworkAccess::Open => "open",
    };
    let own = sandbox.labels.iter().map(|(name, value)| (name.clone(), label(value)));
    own.chain([(NETWORK.to_owned(), network.to_owned())]).collect()
}

/// Returns the name of a sandbox's pod: in lower case, without what a host name cannot have.
pub fn name(of: &str) -> String {
    let part = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = of.chars().map(part).collect();
    let name = name.trim_matches('-');
    if name.len() <= LONGEST && !name.is_empty() { name.to_owned() } else { format!("grapnel-{}", short(of)) }
}

/// Returns a value of a label: itself where a label can have it, else one that no other value has.
pub fn label(value: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let all = value.len() <= LONGEST && value.chars().all(fits);
    if all && ends(value.chars().next()) && ends(value.chars().last()) {
        value.to_owned()
    } else {
        format!("sha256-{}", short(value))
    }
}

fn short(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..16])
}

#[cfg(test)]
pub(super) mod tests;
