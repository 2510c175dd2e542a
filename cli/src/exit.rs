//! How commands end.
//!
//! 0 done, 1 refused or failed, 2 wrong use, 3 the service cannot be reached.

use std::process::ExitCode;

use grapnel_domain::{Error, ErrorCode, Reason};
use serde_json::json;

use crate::{advice::advice, args::Format, out, output::printable};

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
    reason: Option<Reason>,
}

impl Failure {
    /// Something was refused or failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), hint: None, reason: None }
    }

    /// The command was used wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::failed(message) }
    }

    /// The service cannot be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { code: 3, ..Self::failed(message) }
    }

    /// Whoever read the answer has gone away; that is no failure.
    pub fn unheard() -> Self {
        Self { code: 0, ..Self::failed("") }
    }

    /// Something was refused for a reason that has advice of its own.
    pub fn refused(reason: Reason, message: impl Into<String>) -> Self {
        let advice = advice(reason).map(str::to_owned);
        Self { hint: advice, reason: Some(reason), ..Self::failed(message) }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says one more thing to do, before the others.
    #[must_use]
    pub fn hint_first(mut self, hint: &str) -> Self {
        let further = self.hint.take().map(|further| format!("\n{further}")).unwrap_or_default();
        self.hint(format!("{hint}{further}"))
    }

    /// Returns what exactly was the matter, where a service said it.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Reads what a service answered; `url` is where it was asked.
    pub fn from_service(error: &Error, url: &str) -> Self {
        let failure = Self::refused(error.reason, error.message.clone());
        match error.reason {
            Reason::HooksUnavailable => Self { code: 3, ..failure }.hint(format!(
                "Is the service running at {url}? `grapnel up` starts it; GRAPNEL_URL names another address."
            )),
            Reason::ScopeMissing => {
                let scope = error.facts.get("scope").map_or("…", String::as_str);
                failure.hint(format!(
                    "`grapnel whoami` shows what the key may do; \
                     `grapnel key create <name> --scopes {scope}` makes another, with a key that has `admin`."
                ))
            }
            _ if error.code() == ErrorCode::Unavailable => Self { code: 3, ..failure },
            _ => failure,
        }
    }

    /// Tells it on standard error and returns the exit code.
    pub fn tell(self, format: Format) -> ExitCode {
        if self.code != 0 {
            out::aside(&match format {
                Format::Table => self.for_people(),
                Format::Json => self.for_programs(),
            });
        }
        ExitCode::from(self.code)
    }

    fn for_people(&self) -> String {
        // A service says it, and what it says may repeat what somebody else has sent it.
        let shown = |text: &str| text.lines().map(printable).collect::<Vec<_>>().join("\n");
        let hint = self.hint.as_ref().map(|hint| format!("{}\n", shown(hint))).unwrap_or_default();
        format!("grapnel: {}\n{hint}", shown(&self.message))
    }

    fn for_programs(&self) -> String {
        let error = json!({
            "code": self.reason.map(Reason::as_str),
            "message": self.message,
            "hint": self.hint,
        });
        format!("{}\n", json!({ "error": error }))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_steers_a_terminal_does_not_reach_it() {
        let failure = Failure::failed("the branch `\u{1b}[2Jmain` is unknown\nsecond line").hint("look\u{7}");
        let shown = failure.for_people();
        assert_eq!(shown, "grapnel: the branch `\u{FFFD}[2Jmain` is unknown\nsecond line\nlook\u{FFFD}\n");
    }
}
