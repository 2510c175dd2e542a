//! Builds the runner, static, so that the executor carries it and any image can run it.
//!
//! It is built by a cargo of its own, in a target directory of its own: a static program needs other flags than
//! the rest, and the outer cargo holds the lock of the outer directory.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

#[expect(clippy::disallowed_methods, reason = "a build script is told everything in its environment")]
fn main() -> Result<(), Box<dyn Error>> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let runner = manifest_dir.join("runner");
    println!("cargo::rerun-if-changed={}", runner.join("src").display());
    println!("cargo::rerun-if-changed={}", runner.join("Cargo.toml").display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let target_dir = out.join("runner");
    let status = Command::new(env::var("CARGO")?)
        .args(["build", "--release", "--locked", "--bin", "grapnel-run", "--target", &target])
        .arg("--manifest-path")
        .arg(runner.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C panic=abort")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .status()?;
    if !status.success() {
        return Err("the runner cannot be built; its compiler's messages are above".into());
    }
    fs::copy(target_dir.join(&target).join("release/grapnel-run"), out.join("grapnel-run"))?;
    Ok(())
}
