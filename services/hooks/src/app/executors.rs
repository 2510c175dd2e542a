//! What use cases ask of executors: whether a branch has a commit, and what build caches there are.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use grapnel_domain::{
    BranchName, Error, RepositoryUrl,
    failure::Failure,
    id::ProjectId,
    source::{HostKey, SourceAccess},
};
use tokio::time::timeout;

use crate::model::{BuildCache, ExecutorInfo, PurgedCaches, RepositoryBranches};

/// How long a trigger is kept waiting for the answer. Its sender gives up after two seconds.
const PATIENCE: Duration = Duration::from_millis(1_200);

/// All executors there are.
#[async_trait]
pub trait Executors: Send + Sync {
    /// Says why a commit cannot be deployed from a branch; `None` where it can, or where nobody knows now.
    async fn refusal(
        &self,
        repository: &RepositoryUrl,
        branch: &BranchName,
        commit: &str,
        access: &SourceAccess,
    ) -> Option<String>;

    /// Asks a repository for its branches; what is the repository's fault is an answer.
    ///
    /// # Errors
    /// `EXECUTOR_UNAVAILABLE`.
    async fn branches(
        &self,
        repository: &RepositoryUrl,
        access: &SourceAccess,
    ) -> Result<Result<RepositoryBranches, Failure>, Error>;

    /// Asks an SSH host for its keys.
    ///
    /// # Errors
    /// `HOST_UNREACHABLE`, `EXECUTOR_UNAVAILABLE`.
    async fn scan_host(&self, host: &str, port: u16) -> Result<Vec<HostKey>, Error>;

    /// Lists the build caches of a project, by executor.
    ///
    /// # Errors
    /// `EXECUTOR_UNAVAILABLE` where one does not answer.
    async fn caches(&self, project: ProjectId) -> Result<Vec<BuildCache>, Error>;

    /// Drops the build caches of a project, or of one of its branches.
    ///
    /// # Errors
    /// `EXECUTOR_UNAVAILABLE` where one does not answer; the others have done it.
    async fn purge(
        &self,
        project: ProjectId,
        branch: Option<&BranchName>,
    ) -> Result<Vec<PurgedCaches>, Error>;

    /// Lists all executors, whether they answer or not.
    fn list(&self) -> Vec<ExecutorInfo>;

    /// Has an executor take nothing new.
    ///
    /// # Errors
    /// `EXECUTOR_NOT_FOUND`, `EXECUTOR_UNAVAILABLE`.
    async fn drain(&self, name: &str) -> Result<ExecutorInfo, Error>;
}

/// Asks the executors. Clones ask the same.
#[derive(Clone)]
pub struct AllExecutors(Arc<dyn Executors>);

impl AllExecutors {
    /// Takes who is asked.
    pub fn new(executors: impl Executors + 'static) -> Self {
        Self(Arc::new(executors))
    }

    /// Asks within the time that a trigger has. Who cannot be told now is told by the deployment later.
    pub(super) async fn refusal(
        &self,
        repository: &RepositoryUrl,
        branch: &BranchName,
        commit: &str,
        access: &SourceAccess,
    ) -> Option<String> {
        timeout(PATIENCE, self.0.refusal(repository, branch, commit, access)).await.ok().flatten()
    }

    pub(super) async fn branches(
        &self,
        repository: &RepositoryUrl,
        access: &SourceAccess,
    ) -> Result<Result<RepositoryBranches, Failure>, Error> {
        self.0.branches(repository, access).await
    }

    pub(super) async fn scan_host(&self, host: &str, port: u16) -> Result<Vec<HostKey>, Error> {
        self.0.scan_host(host, port).await
    }

    pub(super) async fn caches(&self, project: ProjectId) -> Result<Vec<BuildCache>, Error> {
        self.0.caches(project).await
    }

    pub(super) async fn purge(
        &self,
        project: ProjectId,
        branch: Option<&BranchName>,
    ) -> Result<Vec<PurgedCaches>, Error> {
        self.0.purge(project, branch).await
    }

    /// Lists all executors, whether they answer or not.
    pub fn list(&self) -> Vec<ExecutorInfo> {
        self.0.list()
    }

    /// Has an executor take nothing new.
    ///
    /// # Errors
    /// `EXECUTOR_NOT_FOUND`, `EXECUTOR_UNAVAILABLE`.
    pub async fn drain(&self, name: &str) -> Result<ExecutorInfo, Error> {
        self.0.drain(name).await
    }
}

impl fmt::Debug for AllExecutors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllExecutors")
    }
}
