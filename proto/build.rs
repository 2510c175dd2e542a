//! Compiles the .proto files with a compiler in Rust, so that nobody has to install protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "grapnel/executor/v1/executor_service.proto",
    "grapnel/hooks/v1/hook_service.proto",
    "grapnel/hooks/v1/key_service.proto",
    "grapnel/hooks/v1/site_service.proto",
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
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
