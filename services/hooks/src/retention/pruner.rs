//! Removes what is old from the database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_runtime::{CancellationToken, Clock};

use crate::store::{
    Store, StoreError,
    retention::{Old, Step},
};

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// The ledger of triggers.
    pub triggers: Duration,
    /// The ledger of events, and of the tries to send them.
    pub events: Duration,
    /// Deployments, after they ended.
    pub deployments: Duration,
    /// Their logs.
    pub logs: Duration,
    /// Their artifacts.
    pub artifacts: Duration,
    /// How many READY deployments of each branch are kept however old they are.
    pub keep_ready: u32,
}

/// What was removed in one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of the ledger of triggers.
    pub triggers: u64,
    /// Events, with their tries.
    pub events: u64,
    /// Sessions that were over.
    pub sessions: u64,
    /// Logs.
    pub logs: u64,
    /// Artifacts that nobody serves any more.
    pub artifacts: u64,
    /// Deployments.
    pub deployments: u64,
}

/// Removes what is old, by small transactions with pauses between them.
pub struct Pruner {
    store: Store,
    clock: Clock,
    retention: Retention,
    pause: Duration,
    stopping: CancellationToken,
}

impl Pruner {
    /// Takes how long what is kept.
    pub fn new(
        store: Store,
        clock: Clock,
        retention: Retention,
        pause: Duration,
        stopping: CancellationToken,
    ) -> Self {
        Self { store, clock, retention, pause, stopping }
    }

    /// Removes everything that is old by now, unless it is stopped before.
    ///
    /// # Errors
    /// The database fails; what was removed before is removed.
    pub async fn pass(&self) -> Result<Pruned, StoreError> {
        let now = self.clock.now();
        // A deployment goes after its log.
        let pruned = Pruned {
            triggers: self.all(What::Triggers, now).await?,
            events: self.all(What::Events, now).await?,
            sessions: self.all(What::Sessions, now).await?,
            logs: self.all(What::Logs, now).await? + self.all(What::LogsOfDeleted, now).await?,
            artifacts: self.all(What::Artifacts, now).await?
                + self.all(What::ArtifactsOfDeleted, now).await?
                + self.all(What::ArtifactsOfDeletedProjects, now).await?,
            deployments: self.all(What::Deployments, now).await?,
        };
        if pruned != Pruned::default() {
            let Pruned { triggers, events, sessions, logs, artifacts, deployments } = pruned;
            tracing::info!(
                triggers,
                events,
                sessions,
                logs,
                artifacts,
                deployments,
                "what was old was removed"
            );
        }
        Ok(pruned)
    }

    /// Repeats a transaction for as long as there is something for it.
    async fn all(&self, what: What, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut removed = 0;
        while !self.stopping.is_cancelled() {
            let done = self.step(what, now).await?;
            removed += done.removed;
            if !done.more {
                break;
            }
            self.stopping.run_until_cancelled(tokio::time::sleep(self.pause)).await;
        }
        Ok(removed)
    }

    async fn step(&self, what: What, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let Retention { triggers, events, deployments, logs, artifacts, keep_ready } = self.retention;
        let old = |age: Duration| Old { before: now - age, keep_ready };
        match what {
            What::Triggers => self.store.prune_triggers(now - triggers).await,
            What::Events => self.store.prune_events(now - events).await,
            What::Sessions => self.store.prune_sessions(now).await,
            What::Logs => self.store.prune_logs(now - logs, now).await,
            What::LogsOfDeleted => self.store.prune_logs_of_deleted(now).await,
            What::Artifacts => self.store.retire_artifacts(old(artifacts), now).await,
            What::ArtifactsOfDeleted => self.store.retire_artifacts_of_deleted(now).await,
            What::ArtifactsOfDeletedProjects => self.store.retire_artifacts_of_deleted_projects(now).await,
            What::Deployments => self.store.prune_deployments(old(deployments)).await,
        }
    }
}

/// One kind of what can be old.
#[derive(Clone, Copy, Debug)]
enum What {
    Triggers,
    Events,
    Sessions,
    Logs,
    LogsOfDeleted,
    Artifacts,
    ArtifactsOfDeleted,
    ArtifactsOfDeletedProjects,
    Deployments,
}
