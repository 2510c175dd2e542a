//! How a sandbox looks as a container: the isolation profile, as one pure function.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount as DockerMount,
    MountBindOptions, MountType, MountVolumeOptions, ResourcesUlimits,
};

use super::{EgressPolicy, Mount, MountSource, NetworkAccess, OPEN_NETWORK, Sandbox};

/// Returns the container of a sandbox. Whatever is not said here is the engine's default, so everything that
/// isolates is said.
pub fn container(sandbox: &Sandbox, egress: &EgressPolicy) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(sandbox.image.clone()),
        entrypoint: Some(sandbox.command.clone()),
        cmd: Some(Vec::new()),
        env: Some(sandbox.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: Some(sandbox.working_dir.clone()),
        user: Some(format!("{}:{}", sandbox.user.0, sandbox.user.1)),
        hostname: Some("build".to_owned()),
        labels: Some(sandbox.labels.clone().into_iter().collect()),
        attach_stdin: Some(false),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        tty: Some(false),
        open_stdin: Some(false),
        stop_timeout: Some(5),
        host_config: Some(host_config(sandbox, egress)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(sandbox: &Sandbox, egress: &EgressPolicy) -> HostConfig {
    let memory = i64::try_from(sandbox.limits.memory_bytes).unwrap_or(i64::MAX);
    HostConfig {
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(security_options(sandbox)),
        readonly_rootfs: Some(true),
        memory: Some(memory),
        // The same as memory: no swap.
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(sandbox.limits.milli_cpus) * 1_000_000),
        pids_limit: Some(i64::from(sandbox.limits.processes)),
        ulimits: Some(vec![ulimit("nofile", sandbox.limits.open_files.into()), ulimit("core", 0)]),
        // A build dies before anything of ours does.
        oom_score_adj: Some(500),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        network_mode: Some(match sandbox.network {
            NetworkAccess::None => "none".to_owned(),
            NetworkAccess::Egress => egress.bridge(),
            NetworkAccess::Open => OPEN_NETWORK.to_owned(),
        }),
        dns: (sandbox.network == NetworkAccess::Egress && !egress.resolvers.is_empty())
            .then(|| egress.resolvers.iter().map(ToString::to_string).collect()),
        publish_all_ports: Some(false),
        auto_remove: Some(false),
        runtime: sandbox.runtime.clone(),
        // Output comes through the runner's socket; the engine keeps no copy.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        tmpfs: Some(
            sandbox.mounts.iter().filter_map(|it| memory_mount(it, sandbox.user)).collect::<HashMap<_, _>>(),
        ),
        mounts: Some(sandbox.mounts.iter().filter_map(file_mount).collect()),
        ..HostConfig::default()
    }
}

/// Without a profile of its own a sandbox has the engine's, which is no less strict.
fn security_options(sandbox: &Sandbox) -> Vec<String> {
    let profile = sandbox.seccomp.as_ref().map(|profile| format!("seccomp={profile}"));
    ["no-new-privileges:true".to_owned()].into_iter().chain(profile).collect()
}

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) }
}

/// Memory that holds files: `exec`, because toolchains run what they unpack. It is the build's own: where the image has a
/// directory in its place the engine takes the mode from that, and would leave it to root.
fn memory_mount(mount: &Mount, (uid, gid): (u32, u32)) -> Option<(String, String)> {
    match &mount.source {
        MountSource::Memory { bytes } => {
            let options = format!("rw,nosuid,nodev,exec,mode=1777,uid={uid},gid={gid},size={bytes}");
            Some((mount.target.clone(), options))
        }
        MountSource::Host(_) | MountSource::Volume(_) => None,
    }
}

fn file_mount(mount: &Mount) -> Option<DockerMount> {
    let base = DockerMount {
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..DockerMount::default()
    };
    match &mount.source {
        MountSource::Memory { .. } => None,
        MountSource::Host(path) => Some(DockerMount {
            typ: Some(MountType::BIND),
            source: Some(path.to_string_lossy().into_owned()),
            bind_options: Some(MountBindOptions { non_recursive: Some(true), ..MountBindOptions::default() }),
            ..base
        }),
        MountSource::Volume(name) => Some(DockerMount {
            typ: Some(MountType::VOLUME),
            source: Some(name.clone()),
            // Without it the engine mounts the volume once more, to copy the image's files into it.
            volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
            ..base
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::SandboxLimits;

    #[test]
    fn a_sandbox_is_a_container_under_the_isolation_profile() {
        let sandbox = Sandbox {
            name: "grapnel-dpl_x-1".into(),
            image: "grapnel/builder:latest".into(),
            command: vec!["/run/grapnel/grapnel-run".into(), "/run/grapnel/link/socket".into()],
            env: BTreeMap::new(),
            working_dir: "/workspace".into(),
            user: (10001, 10001),
            mounts: vec![
                Mount {
                    source: MountSource::Host("/data/ws".into()),
                    target: "/workspace".into(),
                    read_only: false,
                },
                Mount {
                    source: MountSource::Volume("cache".into()),
                    target: "/cache".into(),
                    read_only: false,
                },
                Mount {
                    source: MountSource::Memory { bytes: 1024 },
                    target: "/tmp".into(),
                    read_only: false,
                },
            ],
            network: NetworkAccess::Egress,
            limits: SandboxLimits {
                memory_bytes: 2 << 30,
                milli_cpus: 1500,
                processes: 512,
                open_files: 65536,
            },
            deadline: std::time::Duration::from_secs(1_800),
            runtime: None,
            seccomp: None,
            labels: BTreeMap::from([("grapnel.deployment".into(), "dpl_x".into())]),
        };
        insta::assert_snapshot!(
            serde_json::to_string_pretty(&container(&sandbox, &EgressPolicy::default())).unwrap()
        );
    }
}
