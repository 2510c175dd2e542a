//! Why a deployment ended in `ERROR`, and whose fault that was.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Fault {
    /// The repository's, its settings' or its build's. Trying again would change nothing, so nobody does.
    User,
    /// The installation's, or of something that it needs. Tried again.
    Infrastructure,
}

impl Fault {
    /// Returns the name as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Infrastructure => "INFRASTRUCTURE",
        }
    }
}

macro_rules! failure_codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $fault:ident;)*) => {
        /// The closed list of failures. docs/errors.md says of each what to do about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)*
        }

        impl FailureCode {
            /// All failures.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name as it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Says whose fault it is.
            pub fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)* }
            }
        }
    };
}

failure_codes! {
    /// The server has no such repository, or hides it from us.
    RepositoryNotFound = "REPOSITORY_NOT_FOUND", User;
    /// The repository wants a credential that we do not have, or refuses the one that we have.
    RepositoryAccessDenied = "REPOSITORY_ACCESS_DENIED", User;
    /// Nobody has said by which key the repository's SSH host is known.
    HostKeyUnknown = "HOST_KEY_UNKNOWN", User;
    /// The repository's SSH host shows another key than the one by which it is known.
    HostKeyChanged = "HOST_KEY_CHANGED", User;
    /// A large file of the repository (Git LFS) cannot be had as its pointer says.
    LargeFileUnavailable = "LARGE_FILE_UNAVAILABLE", User;
    /// The repository's address is of a kind that is not allowed, or it holds what git refuses.
    RepositoryRefused = "REPOSITORY_REFUSED", User;
    /// The repository has no commit.
    RepositoryEmpty = "REPOSITORY_EMPTY", User;
    /// The repository is larger than allowed.
    RepositoryTooLarge = "REPOSITORY_TOO_LARGE", User;
    /// The repository has no such branch.
    BranchNotFound = "BRANCH_NOT_FOUND", User;
    /// The repository does not have the commit any more, or its branch never had it.
    CommitNotFound = "COMMIT_NOT_FOUND", User;
    /// The project's root directory is not in the repository, or is no directory.
    RootDirectoryMissing = "ROOT_DIRECTORY_MISSING", User;
    /// A file of the repository that says how to build it cannot be read.
    ConfigInvalid = "CONFIG_INVALID", User;
    /// The engine does not have the builder image that the project names.
    ImageMissing = "IMAGE_MISSING", User;
    /// The install step failed.
    InstallFailed = "INSTALL_FAILED", User;
    /// The build step failed.
    BuildFailed = "BUILD_FAILED", User;
    /// The build used more memory than allowed.
    OutOfMemory = "OUT_OF_MEMORY", User;
    /// The build took longer than allowed.
    TimedOut = "TIMED_OUT", User;
    /// The build wrote more to disk than allowed.
    DiskLimit = "DISK_LIMIT", User;
    /// The build ended its own sandbox.
    SandboxEnded = "SANDBOX_ENDED", User;
    /// The build left no output directory.
    OutputMissing = "OUTPUT_MISSING", User;
    /// The output holds something that cannot be published.
    OutputRefused = "OUTPUT_REFUSED", User;
    /// The output is larger, or has more files, than allowed.
    OutputTooLarge = "OUTPUT_TOO_LARGE", User;
    /// The repository's server does not answer.
    RepositoryUnreachable = "REPOSITORY_UNREACHABLE", Infrastructure;
    /// A secret that the build needs does not open: its key is not in the secret key file, or it was changed.
    SecretUnreadable = "SECRET_UNREADABLE", Infrastructure;
    /// The container engine does not answer or refuses.
    EngineUnavailable = "ENGINE_UNAVAILABLE", Infrastructure;
    /// The network of builds cannot be had as it has to be: nothing filters it.
    NetworkUnavailable = "NETWORK_UNAVAILABLE", Infrastructure;
    /// The engine does not have the installation's own builder image.
    BuilderImageMissing = "BUILDER_IMAGE_MISSING", Infrastructure;
    /// The engine found no place for the sandbox, or could not begin it.
    SandboxNotStarted = "SANDBOX_NOT_STARTED", Infrastructure;
    /// The sandbox vanished without the build's doing.
    SandboxLost = "SANDBOX_LOST", Infrastructure;
    /// The executor does not answer, or lost the attempt.
    ExecutorLost = "EXECUTOR_LOST", Infrastructure;
    /// The executor's own disk is full.
    ExecutorDiskFull = "EXECUTOR_DISK_FULL", Infrastructure;
    /// The store of artifacts does not answer or refuses.
    ArtifactStoreUnavailable = "ARTIFACT_STORE_UNAVAILABLE", Infrastructure;
    /// A fault of Grapnel's own.
    Internal = "INTERNAL", Infrastructure;
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FailureCode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a failure code"))
    }
}

/// Why a deployment, or one attempt at it, failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// Which of the known failures.
    pub code: FailureCode,
    /// What went wrong and what to do, for the people of the project. Holds no secret and no inside detail.
    pub message: String,
}

impl Failure {
    /// Makes a failure.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Says whose fault it is.
    pub fn fault(&self) -> Fault {
        self.code.fault()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_is_stored_under_its_name() {
        for code in FailureCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }
}
