use std::time::Duration;

use serde_json::{Value, json};

use super::{super::config::Pull, *};
use crate::engine::SandboxLimits;

pub fn config() -> KubernetesConfig {
    KubernetesConfig {
        namespace: "builds".to_owned(),
        node: "node-1.example".to_owned(),
        directory: "/var/lib/grapnel/kubernetes".into(),
        start_within: Duration::from_secs(600),
        builder_image: "grapnel/builder:latest".to_owned(),
        pull: Pull::IfNotPresent,
        pull_secrets: Vec::new(),
        node_selector: BTreeMap::new(),
        tolerations: Vec::new(),
        priority_class: None,
        cpu_reserved: 50,
        ephemeral_storage: 1 << 30,
        resolvers: Vec::new(),
    }
}

fn sandbox() -> Sandbox {
    let mount = |source, target: &str, read_only| Mount { source, target: target.to_owned(), read_only };
    Sandbox {
        name: "grapnel-dpl_01ABC-1".to_owned(),
        image: "grapnel/builder:latest".to_owned(),
        command: vec!["/run/grapnel/grapnel-run".to_owned(), "/run/grapnel/link/socket".to_owned()],
        env: BTreeMap::from([("PRICE".to_owned(), "$(HOME) and $5".to_owned())]),
        working_dir: "/workspace".to_owned(),
        user: (10_001, 10_001),
        mounts: vec![
            mount(MountSource::Volume("workspace".to_owned()), "/workspace", false),
            mount(
                MountSource::Host("/var/lib/grapnel/bin/grapnel-run".into()),
                "/run/grapnel/grapnel-run",
                true,
            ),
            mount(MountSource::Memory { bytes: 1 << 20 }, "/tmp", false),
        ],
        network: NetworkAccess::Egress,
        limits: SandboxLimits { memory_bytes: 2 << 30, milli_cpus: 1_500, processes: 512, open_files: 1_024 },
        deadline: Duration::from_secs(1_800),
        runtime: None,
        seccomp: None,
        labels: BTreeMap::from([("grapnel.deployment".to_owned(), "dpl_01ABC".to_owned())]),
    }
}

fn made(sandbox: &Sandbox, config: &KubernetesConfig) -> Value {
    let path = "/var/lib/grapnel/kubernetes/volumes/workspace";
    let volume = |name: &str| (name == "workspace").then(|| Place { path: path.into(), reserved: false });
    serde_json::to_value(pod(sandbox, config, volume).unwrap()).unwrap()
}

#[test]
fn a_sandbox_is_a_pod_under_the_isolation_profile() {
    insta::assert_json_snapshot!(made(&sandbox(), &config()));
}

#[test]
fn what_an_operator_and_a_project_decide_is_in_the_pod() {
    let plain = made(&sandbox(), &config());
    let at = |pod: &Value, pointer: &str| pod.pointer(pointer).cloned().unwrap_or(Value::Null);
    type Change = fn(&mut Sandbox, &mut KubernetesConfig);
    let cases: [(&str, &str, Value, Change); 12] = [
        ("pull", "/spec/containers/0/imagePullPolicy", json!("Never"), |_, it| it.pull = Pull::Never),
        ("pull secrets", "/spec/imagePullSecrets", json!([{"name": "registry"}]), |_, it| {
            it.pull_secrets = vec!["registry".to_owned()];
        }),
        ("node selector", "/spec/nodeSelector", json!({"disk": "fast"}), |_, it| {
            it.node_selector = BTreeMap::from([("disk".to_owned(), "fast".to_owned())]);
        }),
        (
            "tolerations",
            "/spec/tolerations",
            json!([
                {"key": "builds", "operator": "Equal", "value": "only", "effect": "NoSchedule"},
                {"key": "spot", "operator": "Exists"},
            ]),
            |_, it| {
                it.tolerations =
                    ["builds=only:NoSchedule", "spot"].iter().map(|text| text.parse().unwrap()).collect();
            },
        ),
        ("priority class", "/spec/priorityClassName", json!("low"), |_, it| {
            it.priority_class = Some("low".to_owned());
        }),
        ("cpu reserved", "/spec/containers/0/resources/requests/cpu", json!("150m"), |_, it| {
            it.cpu_reserved = 10;
        }),
        ("storage", "/spec/containers/0/resources/limits/ephemeral-storage", json!("5"), |_, it| {
            it.ephemeral_storage = 5;
        }),
        ("resolvers", "/spec/dnsConfig/nameservers", json!(["10.0.0.2"]), |_, it| {
            it.resolvers = vec!["10.0.0.2".parse().unwrap()];
        }),
        ("runtime", "/spec/runtimeClassName", json!("gvisor"), |it, _| {
            it.runtime = Some("gvisor".to_owned());
        }),
        ("root", "/spec/securityContext/runAsNonRoot", json!(false), |it, _| it.user = (0, 0)),
        ("no network", "/metadata/labels/grapnel.dev~1network", json!("none"), |it, _| {
            it.network = NetworkAccess::None;
        }),
        ("deadline", "/spec/activeDeadlineSeconds", json!(7), |it, _| it.deadline = Duration::from_secs(7)),
    ];
    for (name, pointer, wanted, change) in cases {
        let (mut sandbox, mut config) = (sandbox(), config());
        change(&mut sandbox, &mut config);
        let pod = made(&sandbox, &config);
        assert_eq!(at(&pod, pointer), wanted, "{name}");
        assert_ne!(at(&plain, pointer), wanted, "{name} changes something");
    }
}

#[test]
fn what_is_mounted_on_a_reserved_volume_later_is_seen_too_and_nothing_else_is() {
    let place = Place { path: "/volumes/workspace".into(), reserved: true };
    let pod = pod(&sandbox(), &config(), |_| Some(place.clone())).unwrap();
    let container = &pod.spec.unwrap().containers[0];
    for mount in container.volume_mounts.iter().flatten() {
        let is_reserved = mount.mount_path == "/workspace";
        let propagation = is_reserved.then(|| "HostToContainer".to_owned());
        assert_eq!(mount.mount_propagation, propagation, "{}", mount.mount_path);
    }
}

#[test]
fn a_volume_that_is_not_there_makes_no_pod() {
    let refused = pod(&sandbox(), &config(), |_| None).unwrap_err();
    assert!(matches!(refused, EngineError::NotFound(ref name) if name == "workspace"), "{refused}");
}

#[test]
fn names_and_labels_are_such_as_kubernetes_takes() {
    assert_eq!(name("grapnel-dpl_01ABC-1"), "grapnel-dpl-01abc-1");
    assert_eq!(name("__x__"), "x");
    let long = "x".repeat(64);
    assert!(name(&long).len() <= LONGEST && name(&long) != name(&"x".repeat(65)));
    for value in ["", "node1", "dpl_01ABC", "a.b-c_d"] {
        assert_eq!(label(value), value);
    }
    for value in ["-a", "a-", "a b", "a/b", "ä", &long] {
        let label = label(value);
        assert!(label.starts_with("sha256-") && label.len() <= LONGEST, "{value}: {label}");
    }
}
