//! Compiles the .proto files with a compiler in Rust, so that nobody has to install protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "grapnel/executor/v1/executor_service.proto",
    "grapnel/hooks/v1/address_service.proto",
    "grapnel/hooks/v1/credential_service.proto",
    "grapnel/hooks/v1/endpoint_service.proto",
    "grapnel/hooks/v1/fleet_service.proto",
    "grapnel/hooks/v1/hook_service.proto",
    "grapnel/hooks/v1/key_service.proto",
    "grapnel/hooks/v1/repository_service.proto",
    "grapnel/hooks/v1/secret_service.proto",
    "grapnel/hooks/v1/session_service.proto",
    "grapnel/hooks/v1/site_service.proto",
    "grapnel/hooks/v1/status_service.proto",
    "grapnel/hooks/v1/variable_service.proto",
];

/// Messages that hold secrets in clear: whoever prints one by accident prints nothing of it.
const SECRETIVE: &[&str] = &[
    ".grapnel.executor.v1.BuildVariable",
    ".grapnel.hooks.v1.SetCommitStatusesRequest",
    ".grapnel.hooks.v1.CreateEndpointRequest",
    ".grapnel.hooks.v1.CreateSessionResponse",
    ".grapnel.hooks.v1.CreateEndpointResponse",
    ".grapnel.hooks.v1.RotateEndpointSecretRequest",
    ".grapnel.hooks.v1.RotateEndpointSecretResponse",
    ".grapnel.hooks.v1.SshKeyCredential",
    ".grapnel.hooks.v1.TokenCredential",
    ".grapnel.hooks.v1.VariableValue",
];

#[expect(
    clippy::disallowed_methods,
    reason = "a build script is told its output directory in the environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().skip_debug(SECRETIVE).compile_fds(descriptors)?;
    Ok(())
}
