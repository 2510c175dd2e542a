//! Names that people give.

use std::{fmt, str::FromStr};

/// Why a name is refused. The text says what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("has {length} characters; at most {limit} are allowed")]
    TooLong {
        /// Characters given.
        length: usize,
        /// Characters allowed.
        limit: usize,
    },
    /// A control character, which would forge lines in logs and tables.
    #[error("must not contain control characters")]
    Control,
    /// Not fit for a host name.
    #[error("must consist of lower-case letters, digits and inner hyphens, such as `my-site`")]
    NotALabel,
    /// Could be mistaken for another kind of address.
    #[error("must not contain `--` or begin with `dpl-`: such addresses belong to branches and deployments")]
    Reserved,
}

/// A hook's name: 1–100 characters of any script, unique within its project.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HookName(String);

impl HookName {
    /// The most characters a hook's name has.
    pub const LIMIT: usize = 100;

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HookName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let length = text.chars().count();
        if length == 0 {
            return Err(NameError::Empty);
        }
        if length > Self::LIMIT {
            return Err(NameError::TooLong { length, limit: Self::LIMIT });
        }
        if text.chars().any(is_unprintable) {
            return Err(NameError::Control);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A project's name: unique within its installation, because it is a label of the site's host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(String);

impl ProjectName {
    /// The most characters a project's name has. With `--` and a branch it still has to fit into the 63
    /// characters of a host name's label (RFC 1035, section 2.3.4).
    pub const LIMIT: usize = 40;

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let length = text.chars().count();
        if length > Self::LIMIT {
            return Err(NameError::TooLong { length, limit: Self::LIMIT });
        }
        let label = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !label || text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::NotALabel);
        }
        if text.contains("--") || text.starts_with("dpl-") {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Tells characters that show as nothing, or turn what stands beside them around.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_name_has_1_to_100_characters_of_any_script() {
        assert_eq!("  Contentful – täglich  ".parse::<HookName>().unwrap().as_str(), "Contentful – täglich");
        assert_eq!("é".repeat(100).parse::<HookName>().unwrap().as_str().chars().count(), 100);
        assert_eq!("é".repeat(101).parse::<HookName>(), Err(NameError::TooLong { length: 101, limit: 100 }));
        assert_eq!(" \t".parse::<HookName>(), Err(NameError::Empty));
        for forged in ["a\nb", "a\u{1b}[2J", "a\0", "abc\u{202E}cba"] {
            assert_eq!(forged.parse::<HookName>(), Err(NameError::Control), "{forged:?}");
        }
    }

    #[test]
    fn a_project_name_is_a_host_label() {
        for good in ["a", "my-site", "2fast", "x1-y2-z3"] {
            assert_eq!(good.parse::<ProjectName>().unwrap().as_str(), good);
        }
        for bad in ["My-Site", "a_b", "a.b", "-a", "a-", "ä", "a b", "a/b"] {
            assert_eq!(bad.parse::<ProjectName>(), Err(NameError::NotALabel), "{bad:?}");
        }
        for reserved in ["a--b", "dpl-x"] {
            assert_eq!(reserved.parse::<ProjectName>(), Err(NameError::Reserved), "{reserved:?}");
        }
        assert!(matches!("a".repeat(41).parse::<ProjectName>(), Err(NameError::TooLong { length: 41, .. })));
    }
}
