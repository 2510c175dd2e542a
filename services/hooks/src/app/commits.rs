//! Whether a branch has a commit, as whoever can look into repositories says.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use grapnel_domain::{BranchName, RepositoryUrl};
use tokio::time::timeout;

/// How long a trigger is kept waiting for the answer. Its sender gives up after two seconds.
const PATIENCE: Duration = Duration::from_millis(1_200);

/// Who can look into repositories.
#[async_trait]
pub trait Commits: Send + Sync {
    /// Says why a commit cannot be deployed from a branch; `None` where it can, or where nobody knows now.
    async fn refusal(&self, repository: &RepositoryUrl, branch: &BranchName, commit: &str) -> Option<String>;
}

/// Looks commits up. Clones ask the same.
#[derive(Clone)]
pub struct CommitLookup(Arc<dyn Commits>);

impl CommitLookup {
    /// Takes who can look.
    pub fn new(commits: impl Commits + 'static) -> Self {
        Self(Arc::new(commits))
    }

    /// Asks within the time that a trigger has. Who cannot be told now is told by the deployment later.
    pub(super) async fn refusal(
        &self,
        repository: &RepositoryUrl,
        branch: &BranchName,
        commit: &str,
    ) -> Option<String> {
        timeout(PATIENCE, self.0.refusal(repository, branch, commit)).await.ok().flatten()
    }
}

impl fmt::Debug for CommitLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitLookup")
    }
}
