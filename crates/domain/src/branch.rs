//! Names of branches.

use std::fmt;

/// The name of a branch: what `git check-ref-format --branch` allows (git's manual, git-check-ref-format(1)), at
/// most 255 bytes, never anything that a program could take for an option.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchName(String);

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BranchError {
    /// Nothing given.
    #[error("must not be empty")]
    Empty,
    /// Longer than file systems can keep.
    #[error("must have at most {} bytes", BranchName::LIMIT)]
    TooLong,
    /// Would be read as an option.
    #[error("must not begin with `-`")]
    Option,
    /// Against git's own rules.
    #[error("is not a branch name that git allows: {0}")]
    Format(&'static str),
}

impl BranchName {
    /// The most bytes a name has.
    pub const LIMIT: usize = 255;

    /// Reads a name.
    ///
    /// # Errors
    /// The name is against the rules.
    pub fn parse(text: &str) -> Result<Self, BranchError> {
        if text.is_empty() {
            return Err(BranchError::Empty);
        }
        if text.len() > Self::LIMIT {
            return Err(BranchError::TooLong);
        }
        if text.starts_with('-') {
            return Err(BranchError::Option);
        }
        if let Some(rule) = broken_rule(text) {
            return Err(BranchError::Format(rule));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names the first of git's rules that the text breaks.
fn broken_rule(text: &str) -> Option<&'static str> {
    let forbidden =
        |c: char| c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    if text.contains(forbidden) {
        Some("it holds a space, a control character or one of ~ ^ : ? * [ \\")
    } else if text.contains("..") || text.contains("@{") {
        Some("it holds `..` or `@{`")
    } else if text.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock"))
    {
        Some("a part between slashes is empty, begins with `.` or ends with `.lock`")
    } else if text.ends_with('.') {
        Some("it ends with `.`")
    } else if text == "@" || text == "HEAD" {
        Some("it is reserved")
    } else {
        None
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_git_allows_are_branches() {
        for good in ["main", "feature/x-1", "release-2.0", "a@b", "ä", "x.y", "user/--exec=x", "v1.lock.2"] {
            assert_eq!(BranchName::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn options_traversals_and_revisions_are_not() {
        for bad in [
            "-x",
            "--exec=id",
            "a..b",
            "@{",
            "a@{1}",
            "@",
            "HEAD",
            "a b",
            "a\nb",
            "a\0b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            ".a",
            "a/.b",
            "a//b",
            "/a",
            "a/",
            "a.lock",
            "a.lock/b",
            "a.",
            "",
        ] {
            assert!(BranchName::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(BranchName::parse(&"x".repeat(4096)), Err(BranchError::TooLong));
    }

    proptest! {
        #[test]
        fn no_name_can_be_taken_for_an_option_or_leave_its_directory(text: String) {
            if let Ok(name) = BranchName::parse(&text) {
                prop_assert!(!name.as_str().starts_with('-') && !name.as_str().contains(".."));
            }
        }
    }
}
