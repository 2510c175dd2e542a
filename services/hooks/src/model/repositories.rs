//! What repositories offer.

use grapnel_domain::BranchName;

/// The branches of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryBranches {
    /// The branch that a clone would check out, where the repository names one.
    pub default_branch: Option<BranchName>,
    /// The branches, by name; at most 1,000.
    pub branches: Vec<BranchAt>,
    /// Whether there are more.
    pub truncated: bool,
}

/// A branch, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchAt {
    /// Its name.
    pub name: BranchName,
    /// The full hash of its commit.
    pub commit: String,
}
