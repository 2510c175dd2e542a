//! PENDING: which commit is to be built?

use std::time::Duration;

use grapnel_domain::{Error, Reason, build::BuildSpec};

use super::{Dispatcher, executor::Resolved};
use crate::store::{Claimed, StoreError};

impl Dispatcher {
    /// Finds out the version of a deployment.
    pub(super) async fn resolve(&self, claimed: Claimed) {
        let id = claimed.deployment.id;
        let Some(executor) = self.executors.first() else {
            return;
        };
        let BuildSpec { repository, branch, settings, access, .. } = &claimed.spec;
        let root = settings.root_directory.as_ref();
        let commit = claimed.deployment.wanted_commit.as_deref();
        let resolved = tokio::select! {
            resolved = executor.resolve(repository, branch, root, commit, access) => resolved,
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
}

/// An executor that is away is waited for; anything else that it says is worth a line.
fn log_away(error: &Error) {
    if error.reason == Reason::ExecutorUnavailable || error.reason == Reason::ShuttingDown {
        tracing::debug!(%error, "no executor answers; the version is resolved later");
    } else {
        tracing::error!(reason = %error.reason, %error, "the executor refuses to resolve a version");
    }
}
