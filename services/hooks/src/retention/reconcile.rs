//! Artifacts against deployments: what no deployment has is removed, and what a deployment lacks is told.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use grapnel_domain::id::DeploymentId;
use grapnel_runtime::Clock;
use tokio::time::Instant;

use crate::{
    dispatch::Fleet,
    store::{Store, StoreError, retention::Claimed},
};

/// How many artifacts are looked up, and removed, at once.
const AT_ONCE: usize = 500;

/// How many deployments without their artifact are named in the log.
const NAMED: usize = 10;

/// What one pass came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Artifacts that were removed.
    pub removed: u64,
    /// READY deployments whose artifact no executor has; none are looked for while an executor is away.
    pub missing: BTreeSet<DeploymentId>,
    /// Executors that did not answer.
    pub away: usize,
}

/// Compares the artifacts of the executors' stores with the deployments.
pub struct Reconciler {
    store: Store,
    clock: Clock,
    fleet: Fleet,
    grace: Duration,
    /// Artifacts of deployments that nobody knows, and when that was found.
    unknown: HashMap<DeploymentId, Instant>,
    /// What was told last.
    missing: BTreeSet<DeploymentId>,
}

impl Reconciler {
    /// Takes whose artifacts are looked at, and how long one that nobody claims is left.
    pub fn new(store: Store, clock: Clock, fleet: Fleet, grace: Duration) -> Self {
        Self { store, clock, fleet, grace, unknown: HashMap::new(), missing: BTreeSet::new() }
    }

    /// Looks at everything once.
    ///
    /// # Errors
    /// The database fails; what was removed before that is removed.
    pub async fn pass(&mut self) -> Result<Reconciled, StoreError> {
        let begun = self.clock.now();
        let (mut done, mut listed) = (Reconciled::default(), HashSet::new());
        let executors = self.fleet.executors();
        for executor in &executors {
            let artifacts = match executor.artifacts().await {
                Ok(artifacts) => artifacts,
                Err(error) => {
                    tracing::debug!(%error, "an executor does not say which artifacts it has");
                    done.away += 1;
                    continue;
                }
            };
            for some in artifacts.chunks(AT_ONCE) {
                let due = self.due(some, begun).await?;
                if due.is_empty() {
                    continue;
                }
                match executor.remove_artifacts(&due).await {
                    Ok(removed) => done.removed += u64::from(removed),
                    Err(error) => tracing::warn!(%error, "an executor cannot remove artifacts now"),
                }
            }
            listed.extend(artifacts.into_iter().map(|(id, _)| id));
        }
        self.unknown.retain(|id, _| listed.contains(id));
        if done.removed > 0 {
            tracing::info!(removed = done.removed, "artifacts that no deployment has were removed");
        }
        if done.away == 0 && !executors.is_empty() {
            done.missing = self.lacking(&listed, begun).await?;
            self.tell(&done.missing);
        }
        Ok(done)
    }

    /// Returns those of the artifacts that nobody needs.
    async fn due(
        &mut self,
        artifacts: &[(DeploymentId, DateTime<Utc>)],
        now: DateTime<Utc>,
    ) -> Result<Vec<DeploymentId>, StoreError> {
        let ids: Vec<DeploymentId> = artifacts.iter().map(|(id, _)| *id).collect();
        let claims: HashMap<_, _> = self.store.artifact_claims(&ids).await?.into_iter().collect();
        let grace = self.grace;
        let due = artifacts.iter().filter(|(id, published_at)| {
            let settled = now - *published_at >= grace_of(grace);
            match claims.get(id) {
                Some(Claimed::Kept) => false,
                Some(Claimed::Removed) => true,
                Some(Claimed::NotReady) => settled,
                None => {
                    let found = *self.unknown.entry(*id).or_insert_with(Instant::now);
                    settled && found.elapsed() >= grace
                }
            }
        });
        Ok(due.map(|(id, _)| *id).collect())
    }

    /// Returns the READY deployments that have to have an artifact and are not among those that have one.
    async fn lacking(
        &self,
        listed: &HashSet<DeploymentId>,
        before: DateTime<Utc>,
    ) -> Result<BTreeSet<DeploymentId>, StoreError> {
        let (mut lacking, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.store.ready_with_artifact(after, before, AT_ONCE as u64).await?;
            after = page.last().copied();
            if after.is_none() {
                return Ok(lacking);
            }
            lacking.extend(page.into_iter().filter(|id| !listed.contains(id)));
        }
    }

    /// Says which deployments lack their artifact, when that has changed.
    fn tell(&mut self, missing: &BTreeSet<DeploymentId>) {
        metrics::gauge!("grapnel_artifacts_missing").set(missing.len() as f64);
        if *missing == self.missing {
            return;
        }
        let some: Vec<String> = missing.iter().rev().take(NAMED).map(ToString::to_string).collect();
        if missing.is_empty() {
            tracing::info!("every READY deployment has its artifact again");
        } else {
            tracing::warn!(
                missing = missing.len(),
                newest = some.join(", "),
                "READY deployments lack their artifact: restore it beside the executors, or deploy again"
            );
        }
        self.missing = missing.clone();
    }
}

/// A grace as the times of the clock have it.
fn grace_of(grace: Duration) -> chrono::TimeDelta {
    chrono::TimeDelta::from_std(grace).unwrap_or(chrono::TimeDelta::MAX)
}
