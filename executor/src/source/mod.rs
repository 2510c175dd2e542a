//! Sources: mirrors of repositories, and checkouts of one commit.
//!
//! Everything is done by the git program under a clean environment; see [`git`] for what keeps a hostile
//! repository or address from doing anything but being fetched.

mod checkout;
mod error;
mod files;
mod git;
mod mirror;
mod way_out;

use std::{path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;

pub use error::SourceError;
pub use files::CommittedFile;
pub use git::Git;
pub use mirror::{Mirrors, ResolvedVersion};

/// What sources may be, and may cost.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// The directory of the mirrors.
    pub mirrors: PathBuf,
    /// Directories below which repositories may be named by path; none by default.
    pub allowed_dirs: Vec<PathBuf>,
    /// A bundle of authorities to trust, where the system's own are not enough.
    pub ca_bundle: Option<PathBuf>,
    /// Networks in which no repository is fetched from.
    pub closed_networks: Vec<IpNet>,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// How many bytes a mirror may have.
    pub size_limit: u64,
}

/// Opens the mirrors of an executor.
///
/// # Errors
/// The directory cannot be made.
pub fn open(config: SourceConfig) -> std::io::Result<Arc<Mirrors>> {
    let git = Git::prepare(config.mirrors.join("home"), config.ca_bundle.clone())?;
    Ok(Arc::new(Mirrors::new(git, config)))
}
