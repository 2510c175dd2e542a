//! PENDING: which commit is to be built?

use std::time::Duration;

use grapnel_domain::{Error, Reason, build::BuildSpec};

use super::{Dispatcher, Executor, executor::Resolved};
use crate::{
    inputs::InputError,
    store::{Claimed, StoreError},
};

impl Dispatcher {
    /// Finds out the version of a deployment.
    pub(super) async fn resolve(&self, claimed: Claimed) {
        let id = claimed.deployment.id;
        let Some(executor) = self.fleet.resolver(&claimed.affinity) else {
            return self.release(id, self.patience.again).await;
        };
        let resolved = tokio::select! {
            resolved = self.ask_for_version(&claimed, &executor) => resolved,
            () = self.keep_lease(id) => return,
            () = self.stopping.cancelled() => return self.release(id, Duration::ZERO).await,
        };
        let now = self.clock.now();
        let stored = match resolved {
            Ok(Resolved::Version(version)) => {
                self.store.resolved(id, &self.owner, &version.commit, &version.message, now).await
            }
            Ok(Resolved::Disabled(version)) => {
                self.store.disabled(id, &self.owner, &version.commit, &version.message, now).await
            }
            Ok(Resolved::Failed(failure)) => {
                let wait = self
                    .patience
                    .resolve_again
                    .get(claimed.deployment.resolve_attempts as usize)
                    .copied()
                    .unwrap_or_default();
                self.store.not_resolved(&claimed.deployment, &self.owner, failure, now + wait, now).await
            }
            Err(error) => {
                log_away(&error);
                return self.release(id, self.patience.again).await;
            }
        };
        match stored {
            Ok(()) => {}
            // It was canceled meanwhile, or another process has it.
            Err(StoreError::Fenced | StoreError::Illegal(_)) => {}
            Err(error) => {
                tracing::warn!(deployment.id = %id, %error, "a version cannot be stored; it is resolved again");
            }
        }
    }

    async fn ask_for_version(&self, claimed: &Claimed, executor: &Executor) -> Result<Resolved, Error> {
        let BuildSpec { repository, branch, settings, project_id, .. } = &claimed.spec;
        let access = match self.inputs.access(claimed.deployment.team_id, *project_id).await {
            Ok(access) => access,
            Err(error) => {
                let unavailable = |error: InputError| {
                    Error::new(Reason::StoreUnavailable, "the database does not answer").because(error)
                };
                return error.failure().map(Resolved::Failed).ok_or_else(|| unavailable(error));
            }
        };
        let root = settings.root_directory.as_ref();
        let commit = claimed.deployment.wanted_commit.as_deref();
        executor.resolve(repository, branch, root, commit, &access).await
    }
}

/// An executor that is away is waited for; anything else that it says is worth a line.
fn log_away(error: &Error) {
    if error.reason == Reason::StoreUnavailable {
        tracing::warn!(%error, "what a repository needs cannot be read; the version is resolved later");
    } else if error.reason == Reason::ExecutorUnavailable || error.reason == Reason::ShuttingDown {
        tracing::debug!(%error, "no executor answers; the version is resolved later");
    } else {
        tracing::error!(reason = %error.reason, %error, "the executor refuses to resolve a version");
    }
}
