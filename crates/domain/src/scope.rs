//! What a key may do.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One thing that a key may do. Scopes do not include each other: a key has exactly those it was given,
/// except that `admin` has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read projects, hooks, deployments and their logs.
    Read,
    /// Create and change projects and hooks.
    Write,
    /// Trigger and cancel deployments.
    Deploy,
    /// Everything, keys included.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Deploy, Self::Admin];

    /// Returns the scope's name as it is stored and typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a scope; the scopes are read, write, deploy and admin"))
    }
}

/// The scopes of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Tells whether a key with these scopes may do what needs `scope`.
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope) || self.0.contains(&Scope::Admin)
    }

    /// Tells whether there is no scope at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_scopes_it_was_given_and_admin_has_all() {
        let reader: Scopes = [Scope::Read].into_iter().collect();
        assert_eq!(Scope::ALL.map(|scope| reader.allow(scope)), [true, false, false, false]);
        let admin: Scopes = [Scope::Admin].into_iter().collect();
        assert_eq!(Scope::ALL.map(|scope| admin.allow(scope)), [true; 4]);
        assert_eq!(Scope::ALL.map(|scope| Scopes::default().allow(scope)), [false; 4]);
    }
}
