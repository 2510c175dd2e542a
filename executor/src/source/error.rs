//! What can be wrong with a source.

use grapnel_domain::failure::{Failure, FailureCode};

/// Why a source could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The server has no such repository, or hides it.
    #[error("there is no repository at {0}, or it is private: check the address")]
    RepositoryNotFound(String),
    /// The server wants a credential.
    #[error("{0} wants a credential: private repositories cannot be read without one")]
    AccessDenied(String),
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
            Self::RepositoryNotFound(_) => FailureCode::RepositoryNotFound,
            Self::AccessDenied(_) => FailureCode::RepositoryAccessDenied,
            Self::Unreachable { .. } => FailureCode::RepositoryUnreachable,
            Self::BranchNotFound { .. } => FailureCode::BranchNotFound,
            Self::CommitNotFound { .. } | Self::CommitNotOnBranch { .. } => FailureCode::CommitNotFound,
            Self::RepositoryEmpty(_) => FailureCode::RepositoryEmpty,
            Self::NotAllowed(_) | Self::AddressRefused { .. } | Self::ContentRefused { .. } => {
                FailureCode::RepositoryRefused
            }
            Self::TooLarge { .. } => FailureCode::RepositoryTooLarge,
            Self::DiskFull => FailureCode::ExecutorDiskFull,
            Self::Canceled | Self::Git(_) => FailureCode::Internal,
        };
        Failure::new(code, self.to_string())
    }

    /// Reads what git printed when it failed.
    ///
    /// Git has one exit code for everything, so its text is all there is. It runs in the C locale, and the phrases
    /// below have stood in it for many years; what none of them fits stays [`SourceError::Git`].
    pub fn from_git(url: &str, stderr: &str) -> Self {
        let said = |phrases: &[&str]| phrases.iter().any(|phrase| stderr.contains(phrase));
        let url = url.to_owned();
        if said(&["No space left on device"]) {
            Self::DiskFull
        } else if said(&["fsck error in packed object"]) {
            Self::ContentRefused { url, cause: summary(stderr) }
        } else if said(&[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "terminal prompts disabled",
            "Permission denied (",
            "Host key verification failed",
            "The requested URL returned error: 401",
            "The requested URL returned error: 403",
        ]) {
            Self::AccessDenied(url)
        } else if said(&[
            "not found",
            "does not appear to be a git repository",
            "does not exist",
            "The requested URL returned error: 404",
        ]) {
            Self::RepositoryNotFound(url)
        } else if said(&[
            "Could not resolve host",
            "Failed to connect",
            "Couldn't connect",
            "Connection refused",
            "Connection reset",
            "Connection timed out",
            "Operation timed out",
            "Operation too slow",
            "early EOF",
            "unexpected disconnect",
            "The requested URL returned error: 5",
            "SSL certificate problem",
            "server certificate verification failed",
        ]) {
            Self::Unreachable { url, cause: summary(stderr) }
        } else {
            Self::Git(summary(stderr))
        }
    }
}

/// Returns the line of git's that says most, without control characters.
fn summary(stderr: &str) -> String {
    let telling = stderr.lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line = telling.or_else(|| stderr.lines().last()).unwrap_or("it said nothing");
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_is_told_apart() {
        let code = |stderr: &str| SourceError::from_git("https://e.org/x", stderr).failure().code;
        for (stderr, expected) in [
            ("fatal: repository 'https://e.org/x/' not found", FailureCode::RepositoryNotFound),
            ("fatal: '/srv/x' does not appear to be a git repository", FailureCode::RepositoryNotFound),
            (
                "fatal: could not read Username for 'https://e.org': terminal prompts disabled",
                FailureCode::RepositoryAccessDenied,
            ),
            ("git@e.org: Permission denied (publickey).", FailureCode::RepositoryAccessDenied),
            (
                "fatal: unable to access 'x': Could not resolve host: e.org",
                FailureCode::RepositoryUnreachable,
            ),
            (
                "fatal: unable to access 'x': The requested URL returned error: 502",
                FailureCode::RepositoryUnreachable,
            ),
            (
                "error: object 1: gitmodulesUpdate: disallowed submodule update setting: !x\nfatal: fsck error in packed object",
                FailureCode::RepositoryRefused,
            ),
            ("fatal: write error: No space left on device", FailureCode::ExecutorDiskFull),
            ("fatal: something new", FailureCode::Internal),
        ] {
            assert_eq!(code(stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn a_server_cannot_write_control_characters_into_our_messages() {
        let error = SourceError::from_git("u", "remote: \u{1b}[2Jhi\nfatal: bad \u{1b}[31mthing");
        assert_eq!(error, SourceError::Git("fatal: bad [31mthing".into()));
    }
}
