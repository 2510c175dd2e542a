//! How commands end.
//!
//! 0 done, 1 refused or failed, 2 wrong use, 3 the service cannot be reached.

use std::process::ExitCode;

use grapnel_domain::{Error, ErrorCode, Reason};

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// Something was refused or failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), hint: None }
    }

    /// The command was used wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), hint: None }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Reads what a service answered; `url` is where it was asked.
    pub fn from_service(error: &Error, url: &str) -> Self {
        let failure = Self::failed(error.message.clone());
        match error.reason {
            Reason::HooksUnavailable => Self { code: 3, ..failure }.hint(format!(
                "Is the service running at {url}? `grapnel up` starts it; GRAPNEL_URL names another address."
            )),
            Reason::KeyMissing | Reason::KeyInvalid => {
                failure.hint("Set GRAPNEL_KEY to an API key, or GRAPNEL_KEY_FILE to a file with one.")
            }
            Reason::ScopeMissing => {
                failure.hint("`grapnel key create --scopes …` makes a key with other scopes.")
            }
            Reason::HookLimitReached => failure
                .hint("`grapnel hook list <project>` shows them, `grapnel hook revoke <id>` makes room."),
            Reason::ProjectNotFound => failure.hint("`grapnel project list` shows the projects."),
            Reason::HookNotFound => failure.hint("`grapnel hook list <project>` shows a project's hooks."),
            _ if error.code() == ErrorCode::Unavailable => Self { code: 3, ..failure },
            _ => failure,
        }
    }

    /// Tells it on standard error and returns the exit code.
    pub fn tell(self) -> ExitCode {
        eprintln!("grapnel: {}", self.message);
        if let Some(hint) = self.hint {
            eprintln!("{hint}");
        }
        ExitCode::from(self.code)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error.to_string())
    }
}
