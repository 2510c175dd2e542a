//! What can be wrong with a source.

use grapnel_domain::failure::{Failure, FailureCode};

/// Why a source could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The server has no such repository, or hides it.
    #[error("there is no repository at {url}, {}", hidden(.shown))]
    RepositoryNotFound {
        /// The repository.
        url: String,
        /// Whether we had a credential to show.
        shown: Shown,
    },
    /// The server wants a credential, or another one.
    #[error("{}", denied(.url, .shown))]
    AccessDenied {
        /// The repository.
        url: String,
        /// Whether we had a credential to show.
        shown: Shown,
    },
    /// As many repositories are asked as may be asked at once.
    #[error("too many repositories are asked at once; try again")]
    Busy,
    /// Nobody has said by which key the SSH host is known.
    #[error(
        "the key of the SSH host {host} is not known: compare it with what the host's operator publishes, and trust it with `grapnel credential trust-host {host}`"
    )]
    HostKeyUnknown {
        /// The host and its port.
        host: String,
    },
    /// The SSH host shows another key than the one by which it is known.
    #[error(
        "THE KEY OF THE SSH HOST {host} HAS CHANGED: somebody else may answer in its place, so nothing was fetched. Ask the host's operator; if the new key is theirs, trust it with `grapnel credential trust-host {host}`"
    )]
    HostKeyChanged {
        /// The host and its port.
        host: String,
    },
    /// Nobody answers, or not in time.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// The repository.
        url: String,
        /// What git said, shortened.
        cause: String,
    },
    /// The branch is not there.
    #[error("{url} has no branch `{branch}`")]
    BranchNotFound {
        /// The repository.
        url: String,
        /// The branch.
        branch: String,
    },
    /// The commit was taken out of the repository before we had it.
    #[error("{url} does not have the commit {commit} any more")]
    CommitNotFound {
        /// The repository.
        url: String,
        /// The full hash.
        commit: String,
    },
    /// The commit that was asked for is not reachable from the branch.
    #[error("the branch `{branch}` of {url} does not have the commit {commit}")]
    CommitNotOnBranch {
        /// The repository.
        url: String,
        /// The branch.
        branch: String,
        /// The full hash.
        commit: String,
    },
    /// There is no commit at all.
    #[error("{0} is empty: it has no commit yet")]
    RepositoryEmpty(String),
    /// The operator does not allow the address.
    #[error("{0} is a directory that the operator does not allow; see git.allowed_dirs")]
    NotAllowed(String),
    /// It leads to an address where no repository is fetched from.
    #[error("{url} leads to {address}, an address that repositories are not fetched from")]
    AddressRefused {
        /// The repository.
        url: String,
        /// The host and its address.
        address: String,
    },
    /// It redirects to another server, and a credential is not shown there.
    #[error(
        "{url} redirects to {host}, where its credential is not taken: give the project the address that it redirects to"
    )]
    LedElsewhere {
        /// The repository.
        url: String,
        /// The other server.
        host: String,
    },
    /// Git refuses what is in it, as it refuses traps.
    #[error("{url} holds what git refuses: {cause}")]
    ContentRefused {
        /// The repository.
        url: String,
        /// What git said, shortened.
        cause: String,
    },
    /// It is larger than allowed.
    #[error("{url} is larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// The repository.
        url: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// A submodule cannot be had.
    #[error("submodule `{path}`: {cause}")]
    Submodule {
        /// Where it is in the repository that names it.
        path: String,
        /// Why.
        cause: Box<SourceError>,
    },
    /// What a repository says of its submodules is not followed.
    #[error("{0}")]
    SubmodulesRefused(String),
    /// A large file cannot be had as its pointer says.
    #[error("the large file `{path}`: {cause}")]
    LargeFile {
        /// Its path.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The executor's disk is full.
    #[error("the executor's disk is full")]
    DiskFull,
    /// The build was ended meanwhile.
    #[error("the source was given up")]
    Canceled,
    /// Anything else that git says.
    #[error("git failed: {0}")]
    Git(String),
}

impl SourceError {
    /// Says whose fault it is, in the words of a deployment.
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::RepositoryNotFound { .. } => FailureCode::RepositoryNotFound,
            Self::AccessDenied { .. } => FailureCode::RepositoryAccessDenied,
            Self::HostKeyUnknown { .. } => FailureCode::HostKeyUnknown,
            Self::HostKeyChanged { .. } => FailureCode::HostKeyChanged,
            Self::Submodule { cause, .. } => cause.failure().code,
            Self::LargeFile { .. } => FailureCode::LargeFileUnavailable,
            Self::Unreachable { .. } | Self::Busy => FailureCode::RepositoryUnreachable,
            Self::BranchNotFound { .. } => FailureCode::BranchNotFound,
            Self::CommitNotFound { .. } | Self::CommitNotOnBranch { .. } => FailureCode::CommitNotFound,
            Self::RepositoryEmpty(_) => FailureCode::RepositoryEmpty,
            Self::NotAllowed(_)
            | Self::AddressRefused { .. }
            | Self::LedElsewhere { .. }
            | Self::ContentRefused { .. }
            | Self::SubmodulesRefused(_) => FailureCode::RepositoryRefused,
            Self::TooLarge { .. } => FailureCode::RepositoryTooLarge,
            Self::DiskFull => FailureCode::ExecutorDiskFull,
            Self::Canceled | Self::Git(_) => FailureCode::Internal,
        };
        Failure::new(code, self.to_string())
    }
}

/// Whether a credential was there to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// There is none for the repository.
    Nothing,
    /// The one for this origin was.
    CredentialOf(String),
}

fn hidden(shown: &Shown) -> String {
    match shown {
        Shown::Nothing => {
            "or it is private: check the address, and give the project a credential where it needs one \
             (`grapnel credential create <project>`)"
                .to_owned()
        }
        Shown::CredentialOf(origin) => {
            format!(
                "or the credential for {origin} may not see it: check the address, and what the credential may read"
            )
        }
    }
}

fn denied(url: &str, shown: &Shown) -> String {
    match shown {
        Shown::Nothing => format!(
            "{url} wants a credential, and the project has none for it: `grapnel credential create <project>` gives it one"
        ),
        Shown::CredentialOf(origin) => format!(
            "{url} refuses the credential for {origin}: it may have expired or been revoked, or may not read this \
             repository; `grapnel credential create <project>` gives the project another one"
        ),
    }
}
