//! What the end-to-end tests stand on: the real binary, real repositories, real git servers.

mod browser;
pub mod cluster;
pub mod faults;
pub mod git_server;
pub mod grapnel;
pub mod lfs_store;
mod own_postgres;
pub mod receiver;
pub mod repository;
pub mod s3_server;
mod small_disk;
pub mod ssh_server;

pub use browser::Browser;
pub use cluster::Cluster;
pub use git_server::GitServer;
pub use grapnel::{Grapnel, Setup};
pub use lfs_store::{LfsFault, LfsStore};
pub use own_postgres::OwnPostgres;
pub use receiver::{Received, Receiver, Reply};
pub use repository::Repository;
pub use s3_server::{S3Fault, S3Server};
pub use small_disk::SmallDisk;
pub use ssh_server::{SshKeyPair, SshServer};

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Returns the root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from(".."))
}

/// Returns what makes an HTTP client, set up as Grapnel's own are.
///
/// # Panics
/// TLS cannot be set up.
pub fn http() -> reqwest::ClientBuilder {
    let tls = grapnel_runtime::https::client_config(None).expect("TLS can be set up");
    reqwest::Client::builder().tls_backend_preconfigured(tls)
}

/// Returns an HTTP client.
///
/// # Panics
/// As [`http`].
pub fn http_client() -> reqwest::Client {
    http().build().expect("a client can be made")
}

/// Returns a call of PostgreSQL's client.
pub fn psql() -> Command {
    let debian = Path::new("/usr/lib/postgresql/15/bin/psql");
    Command::new(if debian.is_file() { debian } else { Path::new("psql") })
}

/// Makes a database in the tests' PostgreSQL and returns its address. The name is the test's own.
///
/// # Panics
/// PostgreSQL does not answer, or has a database of that name.
pub fn new_database(name: &str) -> String {
    let admin = told("GRAPNEL_TEST_POSTGRES_URL");
    let name = name.replace('-', "_");
    let made = psql().arg(&admin).args(["-qc", &format!("CREATE DATABASE {name}")]).output();
    let made = made.expect("psql can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = admin.rsplit_once('/').map_or(admin.as_str(), |(server, _)| server);
    format!("{server}/{name}")
}

/// Tells whether `grapnel up` is to be tried over PostgreSQL instead of the embedded database: every test of it holds for both.
#[expect(clippy::disallowed_methods, reason = "tests are told by their environment what to try")]
pub(crate) fn over_postgres() -> bool {
    std::env::var("GRAPNEL_TEST_DATABASE").is_ok_and(|database| database == "postgres")
}

/// Reads a variable that `make test`, or `make test-kubernetes`, sets.
///
/// # Panics
/// It is not set: tests that are left out look like tests that pass.
#[expect(clippy::disallowed_methods, reason = "tests are told by their environment where things are")]
pub fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set; run `make test`, or `make test-kubernetes`, which set it")
    })
}
