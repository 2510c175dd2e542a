//! The errors that callers see.
//!
//! A [`Reason`] is stable and says exactly what is the matter; an [`ErrorCode`] groups reasons by what a caller
//! can do about them, and is all that gRPC and HTTP mappings look at. What an operator has to know beyond the
//! message travels as the source and goes to the log, never to the caller.

use std::{collections::BTreeMap, error::Error as StdError, fmt};

/// What a caller can do about an error. Think twice before adding one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Send something else.
    InvalidArgument,
    /// Show a key.
    Unauthenticated,
    /// Use a key with another scope.
    PermissionDenied,
    /// There is nothing of that name, or none for this caller.
    NotFound,
    /// There was, and never will be again.
    Gone,
    /// It is there already.
    AlreadyExists,
    /// Remove something first.
    LimitReached,
    /// Bring the thing into another state first.
    FailedPrecondition,
    /// Wait, then try again: too much was asked for.
    ResourceExhausted,
    /// Wait, then try again: something that is needed is away.
    Unavailable,
    /// Report it: the fault is Grapnel's.
    Internal,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $code:ident;)*) => {
        /// The closed list of reasons. docs/errors.md says of each what to do about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name as it stands in `google.rpc.ErrorInfo`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the group it belongs to.
            pub fn code(self) -> ErrorCode {
                match self { $(Self::$variant => ErrorCode::$code,)* }
            }
        }
    };
}

reasons! {
    /// Fields of the request are wrong; each is named.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument;
    /// The page token was not made by this list.
    InvalidPageToken = "INVALID_PAGE_TOKEN", InvalidArgument;
    /// The trigger asks for what its hook does not do.
    TriggerRefused = "TRIGGER_REFUSED", InvalidArgument;
    /// The hook does not take the request's method.
    MethodRefused = "METHOD_REFUSED", InvalidArgument;
    /// No key was sent.
    KeyMissing = "KEY_MISSING", Unauthenticated;
    /// The key, or the session, is unknown, malformed, revoked or over, or the one was shown for the other.
    KeyInvalid = "KEY_INVALID", Unauthenticated;
    /// The key lacks the scope that the method needs.
    ScopeMissing = "SCOPE_MISSING", PermissionDenied;
    /// The method is for other Grapnel processes.
    ServiceKeyRequired = "SERVICE_KEY_REQUIRED", PermissionDenied;
    /// The team has no such project.
    ProjectNotFound = "PROJECT_NOT_FOUND", NotFound;
    /// There is no such hook, or the token is none of its project's.
    HookNotFound = "HOOK_NOT_FOUND", NotFound;
    /// The team has no such deployment.
    DeploymentNotFound = "DEPLOYMENT_NOT_FOUND", NotFound;
    /// The team has no such key.
    KeyNotFound = "KEY_NOT_FOUND", NotFound;
    /// The team has no such endpoint.
    EndpointNotFound = "ENDPOINT_NOT_FOUND", NotFound;
    /// The team has no such event in its ledger.
    EventNotFound = "EVENT_NOT_FOUND", NotFound;
    /// No site is served at that address.
    SiteNotFound = "SITE_NOT_FOUND", NotFound;
    /// The project has no such variable for those branches.
    VariableNotFound = "VARIABLE_NOT_FOUND", NotFound;
    /// The team has no such credential.
    CredentialNotFound = "CREDENTIAL_NOT_FOUND", NotFound;
    /// The team does not trust that host.
    HostNotTrusted = "HOST_NOT_TRUSTED", NotFound;
    /// No executor has the name.
    ExecutorNotFound = "EXECUTOR_NOT_FOUND", NotFound;
    /// The deployment is READY, and its artifact is not where it should be.
    ArtifactMissing = "ARTIFACT_MISSING", NotFound;
    /// The executor knows nothing of the attempt.
    AttemptNotFound = "ATTEMPT_NOT_FOUND", NotFound;
    /// The hook, or the token used, was revoked or has been replaced.
    HookRevoked = "HOOK_REVOKED", Gone;
    /// The artifact of the deployment was removed.
    ArtifactRemoved = "ARTIFACT_REMOVED", Gone;
    /// Another project has the name.
    ProjectNameTaken = "PROJECT_NAME_TAKEN", AlreadyExists;
    /// Another hook of the project has the name.
    HookNameTaken = "HOOK_NAME_TAKEN", AlreadyExists;
    /// The team or the project has a credential for the origin.
    CredentialExists = "CREDENTIAL_EXISTS", AlreadyExists;
    /// The project's variables are too many, or their values too long together.
    VariableLimitReached = "VARIABLE_LIMIT_REACHED", LimitReached;
    /// The team has as many credentials as a team may have.
    CredentialLimitReached = "CREDENTIAL_LIMIT_REACHED", LimitReached;
    /// The team's plan allows no more hooks in the project.
    HookLimitReached = "HOOK_LIMIT_REACHED", LimitReached;
    /// The project, or the team, has as many endpoints as it may have.
    EndpointLimitReached = "ENDPOINT_LIMIT_REACHED", LimitReached;
    /// The endpoint is disabled.
    EndpointDisabled = "ENDPOINT_DISABLED", FailedPrecondition;
    /// The hook is paused.
    HookPaused = "HOOK_PAUSED", FailedPrecondition;
    /// The deployment has ended.
    DeploymentFinal = "DEPLOYMENT_FINAL", FailedPrecondition;
    /// The deployment is not READY, or not any more.
    DeploymentNotReady = "DEPLOYMENT_NOT_READY", FailedPrecondition;
    /// An address serves the deployment.
    DeploymentServed = "DEPLOYMENT_SERVED", FailedPrecondition;
    /// The token that was to be replaced is not the current one.
    TokenReplaced = "TOKEN_REPLACED", FailedPrecondition;
    /// The repository cannot be read.
    RepositoryUnreadable = "REPOSITORY_UNREADABLE", FailedPrecondition;
    /// It is the team's last key that can make keys.
    LastAdminKey = "LAST_ADMIN_KEY", FailedPrecondition;
    /// A secret is sealed under a key that is not in the secret key file.
    SecretKeyMissing = "SECRET_KEY_MISSING", FailedPrecondition;
    /// The secret key file cannot be written, and there is nothing to do without a new key in it.
    SecretKeyFileReadOnly = "SECRET_KEY_FILE_READ_ONLY", FailedPrecondition;
    /// There were too many triggers, and nothing waits that could answer this one too.
    RateLimited = "RATE_LIMITED", ResourceExhausted;
    /// The executor finishes what it has and takes nothing new.
    ExecutorDraining = "EXECUTOR_DRAINING", Unavailable;
    /// All slots of the executor are taken.
    ExecutorFull = "EXECUTOR_FULL", ResourceExhausted;
    /// The executor does not answer.
    ExecutorUnavailable = "EXECUTOR_UNAVAILABLE", Unavailable;
    /// The SSH host does not answer.
    HostUnreachable = "HOST_UNREACHABLE", Unavailable;
    /// The hooks service does not answer.
    HooksUnavailable = "HOOKS_UNAVAILABLE", Unavailable;
    /// The database does not answer or refuses.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable;
    /// The process is stopping.
    ShuttingDown = "SHUTTING_DOWN", Unavailable;
    /// A fault of Grapnel's own.
    Internal = "INTERNAL", Internal;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field, as the request names it: `branch`, `settings.output_directory`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub description: String,
}

/// An error for a caller.
///
/// `Display` is the outside text. The inside cause is [`std::error::Error::source`], for logs only.
#[derive(Debug)]
pub struct Error {
    /// What exactly is the matter.
    pub reason: Reason,
    /// What is wrong and what to do, for the caller. Holds no secret and no inside detail.
    pub message: String,
    /// The wrong fields, where the request is wrong.
    pub violations: Vec<FieldViolation>,
    /// Facts for programs, such as a limit and a count.
    pub facts: BTreeMap<String, String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), violations: Vec::new(), facts: BTreeMap::new(), source: None }
    }

    /// Makes the error of a request with wrong fields.
    pub fn invalid(violations: Vec<FieldViolation>) -> Self {
        let message = violations
            .iter()
            .map(|violation| format!("`{}` {}", violation.field, violation.description))
            .collect::<Vec<_>>()
            .join("; ");
        Self { violations, ..Self::new(Reason::InvalidRequest, message) }
    }

    /// Makes the error of a request with one wrong field.
    pub fn invalid_field(field: impl Into<String>, description: impl fmt::Display) -> Self {
        Self::invalid(vec![FieldViolation { field: field.into(), description: description.to_string() }])
    }

    /// Makes the error of a fault of our own. The caller learns no more than that.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Reason::Internal, "an internal error; the log of the service says more").because(source)
    }

    /// Adds the inside cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with_fact(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }

    /// Returns the group that the reason belongs to.
    pub fn code(&self) -> ErrorCode {
        self.reason.code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl std::str::FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a reason"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_every_wrong_field_at_once() {
        let error = Error::invalid(vec![
            FieldViolation { field: "name".into(), description: "must not be empty".into() },
            FieldViolation { field: "branch".into(), description: "must not begin with `-`".into() },
        ]);
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert_eq!(error.to_string(), "`name` must not be empty; `branch` must not begin with `-`");
    }

    #[test]
    fn the_inside_cause_is_not_in_the_outside_text() {
        let error = Error::internal("password=hunter2");
        assert!(!error.to_string().contains("hunter2"));
        assert!(error.source().unwrap().to_string().contains("hunter2"));
    }

    #[test]
    fn every_reason_reads_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
    }
}
