//! A project's build settings.

use serde::{Deserialize, Serialize};

use crate::build::LimitWishes;

/// How a project is built. What is not set is found out from the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSettings {
    /// The directory of the repository in which the project lives; none is the top.
    pub root_directory: Option<RelativePath>,
    /// The command of the install step; empty text skips the step.
    pub install_command: Option<String>,
    /// The command of the build step; empty text skips the step.
    pub build_command: Option<String>,
    /// The directory, below the root directory, that is published.
    pub output_directory: Option<RelativePath>,
    /// The image in which the steps run; none is the installation's builder image.
    pub builder_image: Option<String>,
    /// The limits that the project asks for.
    #[serde(default)]
    pub limits: LimitWishes,
    /// What the next build finds again, below the root directory; none is the usual places.
    #[serde(default)]
    pub cached_paths: Option<Vec<RelativePath>>,
    /// The network of its builds, never more than the operator's; none is the operator's.
    #[serde(default)]
    pub network: Option<NetworkAccess>,
    /// Whether its builds run as the sandbox's user 0, without any capability. For an `admin` key to say.
    #[serde(default)]
    pub run_as_root: bool,
    /// Whether submodules are checked out too.
    #[serde(default)]
    pub submodules: bool,
    /// Whether files that Git LFS keeps apart are fetched.
    #[serde(default)]
    pub lfs: bool,
}

/// What a build reaches over the network, from nothing to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkAccess {
    /// Nothing but itself.
    None,
    /// The internet, and nothing of ours: no host, no other build, no private address.
    Egress,
    /// Whatever the engine's host reaches.
    Open,
}

impl NetworkAccess {
    /// Returns the name by which it is set and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Egress => "egress",
            Self::Open => "open",
        }
    }
}

/// What the next build finds again where a project says nothing else, below the project's root directory.
pub const DEFAULT_CACHED_PATHS: [&str; 10] = [
    "node_modules",
    ".next/cache",
    ".nuxt",
    ".astro",
    "node_modules/.cache",
    ".docusaurus",
    ".cache",
    "vendor/bundle",
    ".venv",
    "target",
];

/// The most paths that a project caches.
pub const CACHED_PATHS_LIMIT: usize = 64;

/// A path that stays below where it starts: no root, no `..`, no empty part. `.` is the start itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

/// Why a path is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing given.
    #[error("must not be empty; `.` names the directory itself")]
    Empty,
    /// Begins at the root.
    #[error("must be relative, such as `packages/site`")]
    Absolute,
    /// Leads out.
    #[error("must not contain `..`")]
    Parent,
    /// Holds a control character, or is too long.
    #[error("must have at most {} characters and no control characters", RelativePath::LIMIT)]
    Unusable,
}

impl RelativePath {
    /// The most characters a path has.
    pub const LIMIT: usize = 512;

    /// Reads a path; `./` in front and `/` at the end are dropped.
    ///
    /// # Errors
    /// The path is empty, absolute, leads out of where it starts, or is unusable.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > Self::LIMIT || text.chars().any(char::is_control) {
            return Err(PathError::Unusable);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(PathError::Parent);
        }
        Ok(Self(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }))
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RelativePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RelativePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_relative_and_stays_below() {
        for (text, path) in
            [("dist", "dist"), ("./a//b/", "a/b"), (".", "."), ("a/./b", "a/b"), ("..a", "..a")]
        {
            assert_eq!(RelativePath::parse(text).unwrap().as_str(), path);
        }
        assert_eq!(RelativePath::parse(""), Err(PathError::Empty));
        assert_eq!(RelativePath::parse("/etc"), Err(PathError::Absolute));
        assert_eq!(RelativePath::parse("a/../../b"), Err(PathError::Parent));
        assert_eq!(RelativePath::parse("a\nb"), Err(PathError::Unusable));
        assert_eq!(RelativePath::parse(&"a/".repeat(300)), Err(PathError::Unusable));
    }

    proptest! {
        #[test]
        fn what_was_read_reads_again_as_itself(text: String) {
            if let Ok(path) = RelativePath::parse(&text) {
                prop_assert_eq!(RelativePath::parse(path.as_str()), Ok(path.clone()));
                prop_assert!(!path.as_str().split('/').any(|part| part == ".."));
            }
        }
    }
}
