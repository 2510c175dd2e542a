//! The environment variables of a project's builds.

use std::{cmp::Reverse, collections::BTreeMap, fmt, str::FromStr};

use wildmatch::WildMatch;

use crate::{BranchName, SecretText};

/// The most variables that a project has.
pub const VARIABLES_LIMIT: usize = 256;

/// The most bytes that the values of one build's variables have together: what a process can be given has its bounds.
pub const VALUES_LIMIT: usize = 512 * 1024;

/// The fewest characters of a secret's value. A shorter one cannot be told from other text in a log.
pub const SHORTEST_SECRET: usize = 4;

/// The most bytes of one value.
const VALUE_LIMIT: usize = 64 * 1024;

/// Names that belong to the loader, to shells, or to Grapnel itself: a build that could be given them from outside would
/// be another build.
const OWNED: [&str; 28] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "MALLOC_TRACE",
    "VERCEL",
    "VERCEL_ENV",
    "npm_config_cache",
    "YARN_CACHE_FOLDER",
    "YARN_GLOBAL_FOLDER",
    "BUN_INSTALL_CACHE_DIR",
    "PIP_CACHE_DIR",
    "UV_CACHE_DIR",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "GOMODCACHE",
    "HOSTNAME",
];

/// How names begin that belong to them.
const OWNED_BEGINNINGS: [&str; 7] =
    ["GRAPNEL", "DEPLOY_", "LD_", "DYLD_", "VERCEL_GIT_", "INCOMING_HOOK_", "BASH_FUNC_"];

/// The name of a variable: a letter or `_`, then letters, digits and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableName(String);

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableNameError {
    /// Not a name at all.
    #[error("must have 1 to {} letters, digits and `_`, the first no digit", VariableName::LIMIT)]
    Malformed,
    /// Belongs to somebody else.
    #[error("must not be `{0}`: that variable belongs to Grapnel, to the shell or to the loader")]
    Owned(String),
}

impl VariableName {
    /// The most characters of a name.
    pub const LIMIT: usize = 128;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariableName {
    type Err = VariableNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let goes_on_well = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !begins_well || !goes_on_well || text.len() > Self::LIMIT {
            return Err(VariableNameError::Malformed);
        }
        // npm reads its settings from the environment in any case of letters.
        let owned = OWNED.iter().any(|name| name.eq_ignore_ascii_case(text));
        let upper = text.to_ascii_uppercase();
        if owned || OWNED_BEGINNINGS.iter().any(|beginning| upper.starts_with(beginning)) {
            return Err(VariableNameError::Owned(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which branches something is for: all, or those that fit a pattern in which `*` is any text and `?` any character.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchPattern(String);

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a branch, or a pattern of branches such as `preview/*`")]
pub struct PatternError;

impl BranchPattern {
    /// Reads a pattern; empty text and `*` are all branches.
    ///
    /// # Errors
    /// No branch has such a name.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text == "*" {
            return Ok(Self::default());
        }
        // What a wildcard stands for is part of a branch's name.
        let example = text.replace(['*', '?'], "x");
        BranchName::parse(&example).map_err(|_| PatternError)?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the pattern; empty for all branches.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether a branch fits.
    pub fn fits(&self, branch: &BranchName) -> bool {
        self.0.is_empty() || WildMatch::new(&self.0).matches(branch.as_str())
    }

    /// Says how closely it names a branch: one by name before a pattern, a longer pattern before a shorter one.
    fn closeness(&self) -> (bool, usize) {
        (!self.0.is_empty() && !self.0.contains(['*', '?']), self.0.len())
    }
}

/// A variable as a project has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: VariableName,
    /// Its value.
    pub value: SecretText,
    /// Whether nobody outside a build gets to see the value.
    pub secret: bool,
    /// Which branches it is for.
    pub branches: BranchPattern,
}

/// A variable as one build gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildVariable {
    /// Its name.
    pub name: VariableName,
    /// Its value.
    pub value: SecretText,
    /// Whether the value is masked in the log.
    pub secret: bool,
}

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Too long.
    #[error("must have at most {VALUE_LIMIT} bytes")]
    TooLong,
    /// A process cannot be given a NUL.
    #[error("must not contain a NUL character")]
    Nul,
    /// Could not be masked.
    #[error(
        "must have at least {SHORTEST_SECRET} characters to be a secret: a shorter one cannot be masked in a log"
    )]
    TooShort,
}

impl Variable {
    /// Checks whether a process can be given a value, and whether a secret one can be masked.
    ///
    /// # Errors
    /// It cannot.
    pub fn check_value(value: &str, secret: bool) -> Result<(), ValueError> {
        if value.len() > VALUE_LIMIT {
            return Err(ValueError::TooLong);
        }
        if value.contains('\0') {
            return Err(ValueError::Nul);
        }
        if secret && value.trim().chars().count() < SHORTEST_SECRET {
            return Err(ValueError::TooShort);
        }
        Ok(())
    }
}

/// Returns what a build of a branch gets, by name: of several that fit, the one that names the branch most closely.
pub fn variables_of(variables: Vec<Variable>, branch: &BranchName) -> Vec<BuildVariable> {
    let mut fitting: Vec<_> = variables.into_iter().filter(|it| it.branches.fits(branch)).collect();
    fitting.sort_by_key(|it| Reverse(it.branches.closeness()));
    let mut chosen = BTreeMap::new();
    for Variable { name, value, secret, .. } in fitting {
        chosen.entry(name.clone()).or_insert(BuildVariable { name, value, secret });
    }
    chosen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(name: &str, value: &str, branches: &str) -> Variable {
        Variable {
            name: name.parse().unwrap(),
            value: SecretText::new(value),
            secret: false,
            branches: BranchPattern::parse(branches).unwrap(),
        }
    }

    #[test]
    fn names_that_belong_to_us_or_to_the_loader_are_refused_by_name() {
        for name in [
            "PATH",
            "path",
            "LD_PRELOAD",
            "ld_audit",
            "GRAPNEL_KEY",
            "GRAPNEL",
            "BASH_ENV",
            "DEPLOY_CACHE",
            "VERCEL_GIT_COMMIT_SHA",
            "NPM_CONFIG_CACHE",
            "IFS",
        ] {
            assert_eq!(name.parse::<VariableName>(), Err(VariableNameError::Owned(name.into())));
        }
        for name in ["", "1X", "A-B", "A B", "Ä", "A=B", "X\n", &"X".repeat(129)] {
            assert_eq!(name.parse::<VariableName>(), Err(VariableNameError::Malformed), "{name:?}");
        }
        for name in ["CI", "NODE_OPTIONS", "NODE_ENV", "VERCEL_TOKEN", "_x", "npm_config_registry"] {
            assert_eq!(name.parse::<VariableName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn the_variable_that_names_the_branch_most_closely_is_the_one() {
        let all = ["", "preview/*", "preview/a*", "preview/ab"];
        let given = |branch: &str| {
            let variables = all.map(|branches| variable("X", branches, branches)).to_vec();
            let given = variables_of(variables, &BranchName::parse(branch).unwrap());
            given[0].value.expose().to_owned()
        };
        assert_eq!(given("main"), "");
        assert_eq!(given("preview/x"), "preview/*");
        assert_eq!(given("preview/ax"), "preview/a*");
        assert_eq!(given("preview/ab"), "preview/ab");
    }

    #[test]
    fn a_variable_of_other_branches_is_not_given() {
        let given = variables_of(vec![variable("X", "1", "next")], &BranchName::parse("main").unwrap());
        assert!(given.is_empty());
        for wrong in ["-x", "a..b", "a b", "/", "x.lock"] {
            assert_eq!(BranchPattern::parse(wrong), Err(PatternError), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_long_enough_to_be_masked() {
        assert_eq!(Variable::check_value("", false), Ok(()));
        assert_eq!(Variable::check_value("abc", true), Err(ValueError::TooShort));
        assert_eq!(Variable::check_value("  a  ", true), Err(ValueError::TooShort));
        assert_eq!(Variable::check_value("abcd", true), Ok(()));
        assert_eq!(Variable::check_value("a\0bcd", false), Err(ValueError::Nul));
        assert_eq!(Variable::check_value(&"x".repeat(65_537), false), Err(ValueError::TooLong));
    }

    proptest! {
        #[test]
        fn reading_any_name_or_pattern_never_panics(text: String) {
            let _ = text.parse::<VariableName>();
            if let Ok(pattern) = BranchPattern::parse(&text) {
                prop_assert_eq!(BranchPattern::parse(pattern.as_str()), Ok(pattern));
            }
        }
    }
}
