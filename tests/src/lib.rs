//! What the end-to-end tests stand on: the real binary, real repositories, a real git server.

pub mod git_server;
pub mod grapnel;
pub mod receiver;
pub mod repository;

pub use git_server::GitServer;
pub use grapnel::{Grapnel, Setup};
pub use receiver::{Received, Receiver, Reply};
pub use repository::Repository;

use std::path::PathBuf;

/// Returns the root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from(".."))
}

/// Lets the HTTP clients of this process use the cryptography that everything here is built with: they are told none.
pub fn use_ring() {
    // Whoever comes second finds that it is done.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads a variable that `make test` sets.
///
/// # Panics
/// It is not set: tests that are left out look like tests that pass.
#[expect(clippy::disallowed_methods, reason = "tests are told by their environment where things are")]
pub fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run `make test`, which sets it"))
}
