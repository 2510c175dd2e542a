//! Executors as those who can look into repositories: they have the mirrors.

use async_trait::async_trait;
use grapnel_domain::{BranchName, RepositoryUrl, failure::Fault};

use crate::{
    app::Commits,
    dispatch::{Executor, Resolved},
};

/// The executors that can be asked.
pub struct ExecutorsLook(pub Vec<Executor>);

#[async_trait]
impl Commits for ExecutorsLook {
    async fn refusal(&self, repository: &RepositoryUrl, branch: &BranchName, commit: &str) -> Option<String> {
        let executor = self.0.first()?;
        match executor.resolve(repository, branch, None, Some(commit)).await {
            Ok(Resolved::Failed(failure)) if failure.fault() == Fault::User => Some(failure.message),
            Ok(_) | Err(_) => None,
        }
    }
}
