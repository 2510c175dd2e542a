//! The executors as use cases know them: who looks into repositories, and keeps build caches.

use async_trait::async_trait;
use futures_util::future::join_all;
use grapnel_domain::{
    BranchName, Error, Reason, RepositoryUrl,
    failure::{Failure, Fault},
    id::ProjectId,
    source::{HostKey, SourceAccess},
};

use crate::{
    app::Executors,
    dispatch::{Fleet, Resolved},
    model::{BuildCache, ExecutorInfo, PurgedCaches, RepositoryBranches},
    store::Affinity,
};

/// The executors that can be asked.
pub struct Reachable(pub Fleet);

#[async_trait]
impl Executors for Reachable {
    async fn refusal(
        &self,
        repository: &RepositoryUrl,
        branch: &BranchName,
        commit: &str,
        access: &SourceAccess,
    ) -> Option<String> {
        let executor = self.0.resolver(&Affinity::default())?;
        match executor.resolve(repository, branch, None, Some(commit), access).await {
            Ok(Resolved::Failed(failure)) if failure.fault() == Fault::User => Some(failure.message),
            Ok(_) | Err(_) => None,
        }
    }

    async fn branches(
        &self,
        repository: &RepositoryUrl,
        access: &SourceAccess,
    ) -> Result<Result<RepositoryBranches, Failure>, Error> {
        match self.0.resolver(&Affinity::default()) {
            Some(executor) => executor.branches(repository, access).await,
            None => Err(Error::new(
                Reason::ExecutorUnavailable,
                "there is no executor that could ask the repository",
            )),
        }
    }

    async fn scan_host(&self, host: &str, port: u16) -> Result<Vec<HostKey>, Error> {
        match self.0.resolver(&Affinity::default()) {
            Some(executor) => executor.scan_host(host, port).await,
            None => {
                Err(Error::new(Reason::ExecutorUnavailable, "there is no executor that could ask the host"))
            }
        }
    }

    async fn caches(&self, project: ProjectId) -> Result<Vec<BuildCache>, Error> {
        let executors = self.0.executors();
        let answers = join_all(executors.iter().map(|executor| executor.caches(project))).await;
        let caches: Result<Vec<_>, _> = answers.into_iter().collect();
        caches.map(|caches| caches.into_iter().flatten().collect())
    }

    async fn purge(
        &self,
        project: ProjectId,
        branch: Option<&BranchName>,
    ) -> Result<Vec<PurgedCaches>, Error> {
        let executors = self.0.executors();
        let purge = || join_all(executors.iter().map(|executor| executor.purge(project, branch)));
        // All are asked before the first that does not answer is told of.
        let answers = purge().await;
        let purged: Vec<PurgedCaches> = answers.into_iter().collect::<Result<_, _>>()?;
        if executors.len() < 2 {
            return Ok(purged);
        }
        // Once more: where they share caches, one may have fetched what another had sent before it was asked.
        let again: Result<Vec<_>, _> = purge().await.into_iter().collect();
        Ok(purged.into_iter().zip(again?).map(|(first, second)| first.plus(&second)).collect())
    }

    fn list(&self) -> Vec<ExecutorInfo> {
        self.0.list()
    }

    async fn drain(&self, name: &str) -> Result<ExecutorInfo, Error> {
        match self.0.named(name) {
            Some(executor) => executor.drain().await,
            None => Err(Error::new(
                Reason::ExecutorNotFound,
                format!("no executor that answers is called `{name}`"),
            )),
        }
    }
}
