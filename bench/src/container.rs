//! A container such as Grapnel's builds run in, made by Docker's own client.

use std::process::Command;

use grapnel_e2e::told;
use rustix::process::{Resource, getrlimit};

/// The image of builds.
pub const IMAGE: &str = "grapnel/builder:latest";

/// How many files a build may have open.
const OPEN_FILES: u64 = 65_536;

/// The flags of `docker run` by which a container is isolated and limited as a build is. What it has mounted is left to
/// whoever runs it.
pub const FLAGS: [&str; 25] = [
    "--user=10001:10001",
    "--hostname=build",
    "--workdir=/workspace",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--memory=2g",
    "--memory-swap=2g",
    "--cpus=2",
    "--pids-limit=512",
    "--ulimit=core=0",
    "--oom-score-adj=500",
    "--ipc=private",
    "--cgroupns=private",
    "--network=bridge",
    "--tmpfs=/tmp:rw,nosuid,nodev,exec,mode=1777,size=1g",
    "--tmpfs=/home/builder:rw,nosuid,nodev,exec,mode=1777,size=512m",
    "--env=HOME=/home/builder",
    "--env=USER=builder",
    "--env=LANG=C.UTF-8",
    "--env=CI=1",
    "--env=npm_config_cache=/cache/npm",
    "--env=SSL_CERT_FILE=/run/ca-bundle.pem",
    "--env=NODE_EXTRA_CA_CERTS=/run/ca-bundle.pem",
    "--entrypoint=",
];

/// Returns the flags that are this machine's: how many files may be open, where the engine can give as many as builds get,
/// and the authorities that builds are told to trust.
pub fn own_flags() -> [String; 2] {
    let most = getrlimit(Resource::Nofile).maximum.map_or(OPEN_FILES, |own| own.min(OPEN_FILES));
    let bundle = told("GRAPNEL_TEST_CA_BUNDLE");
    [
        format!("--ulimit=nofile={most}"),
        format!("--mount=type=bind,readonly,source={bundle},target=/run/ca-bundle.pem"),
    ]
}

/// Returns a call of Docker's client that makes such a container.
pub fn docker(subcommand: &[&str]) -> Command {
    let mut docker = Command::new("docker");
    docker.args(subcommand).args(FLAGS).args(own_flags());
    docker
}
