//! Sources: mirrors of repositories, and checkouts of one commit with all that belongs to it.
//!
//! Everything of git's is done by the git program under a clean environment; see [`git`] for what keeps a hostile
//! repository or address from doing anything but being fetched, [`private`] for where secrets are meanwhile, and
//! [`way_out`] for who may be connected to.

mod branches;
mod checkout;
mod error;
mod files;
mod git;
mod gitmodules;
mod journey;
mod lfs;
mod mirror;
mod private;
mod program;
mod said;
mod ssh;
mod submodules;
mod way_out;

use std::{path::PathBuf, sync::Arc, time::Duration};

use grapnel_domain::{
    RepositoryUrl,
    source::{CredentialSecret, SourceAccess},
};
use ipnet::IpNet;

pub use branches::Branches;
pub use checkout::Checkout;
pub use error::{Shown, SourceError};
pub use files::CommittedFile;
pub use git::Git;
pub use mirror::{Mirrors, ResolvedVersion};
pub use ssh::ScanError;

use private::PrivatePlace;

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
    /// How many bytes a mirror may have, and how many its large files.
    pub size_limit: u64,
}

/// Opens the mirrors of an executor, and removes what a process of it left that died.
///
/// # Errors
/// The directory cannot be made.
pub fn open(config: SourceConfig) -> std::io::Result<Arc<Mirrors>> {
    let git = Git::prepare(config.mirrors.join("home"), config.ca_bundle.clone())?;
    let private = PrivatePlace::prepare(&config.mirrors)?;
    Ok(Arc::new(Mirrors::new(git, private, config)))
}

/// A repository, with what there is to get at it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The repository.
    pub repository: &'a RepositoryUrl,
    /// Credentials and the keys of hosts.
    pub access: &'a SourceAccess,
    /// The repository that its owner named: who is led on from there may not mean what is private.
    named: &'a RepositoryUrl,
}

impl<'a> Source<'a> {
    /// Takes a repository that its owner named.
    pub fn new(repository: &'a RepositoryUrl, access: &'a SourceAccess) -> Self {
        Self { repository, access, named: repository }
    }

    /// Returns the source of a repository to which this one leads.
    fn leads_to<'b>(&self, repository: &'b RepositoryUrl) -> Source<'b>
    where
        'a: 'b,
    {
        Source { repository, access: self.access, named: self.named }
    }

    /// Returns the credential that is shown to the repository's server.
    fn credential(&self) -> Option<&'a CredentialSecret> {
        self.access.credential_for(self.repository)
    }

    /// Returns the address, as it is shown.
    fn url(&self) -> String {
        self.repository.to_string()
    }

    /// Returns the host without brackets, and the port.
    fn host_and_port(&self) -> (String, u16) {
        host_and_port(self.repository)
    }

    /// Returns the same of the repository that the owner named.
    fn home(&self) -> (String, u16) {
        host_and_port(self.named)
    }
}

fn host_and_port(repository: &RepositoryUrl) -> (String, u16) {
    (repository.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(), repository.port())
}
