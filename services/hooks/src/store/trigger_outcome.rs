//! What follows from triggers that come together: gathered while they are decided on, one after the other, and stored at the
//! end, all of a kind with one statement.
//!
//! What a trigger finds is what those before it in the batch have left: a deployment that is superseded before it was ever
//! stored is stored as it is then, with all that one alone would have left behind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use grapnel_domain::{deployment::CancelReason, endpoint::EventType, id::DeploymentId};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, EntityTrait, Value};

use super::{
    StoreError,
    entity::{deployment, deployment_event, trigger},
    notices::Rings,
    outgoing_events::{self, Change},
    rows,
    set_wise::{Update, Writes},
    statuses, transitions,
    trigger_facts::Facts,
    triggers::NewTrigger,
};
use crate::model::{Deployment, Hook};

/// What a batch has come to so far.
pub(super) struct Outcome {
    deployments: Vec<Held>,
    /// Where each deployment is among them.
    places: HashMap<String, usize>,
    /// Which of them wait for their version, by their hooks, the newest first.
    pending: HashMap<String, Vec<usize>>,
    /// The deployment that answers each hook's idempotency keys that came with this batch.
    keys: HashMap<(String, String), String>,
    events: Vec<deployment_event::Model>,
    /// Changes of state, for endpoints and git hosts.
    changes: Vec<Change>,
    rows: Vec<trigger::Model>,
    /// How often each hook and each token was used, and when last.
    hooks: BTreeMap<String, Used>,
    tokens: BTreeMap<String, Used>,
    /// The deployments that somebody may wait for.
    changed: BTreeSet<DeploymentId>,
    /// When the last trigger came.
    last: DateTime<Utc>,
}

type Used = (i64, DateTime<Utc>);

/// A deployment as it is by now.
struct Held {
    row: deployment::Model,
    /// It is none of those that were stored before.
    new: bool,
    /// It answers more triggers than before.
    merged: bool,
    /// It was superseded.
    ended: bool,
}

impl Outcome {
    /// Begins with what is stored.
    pub fn new(facts: &mut Facts) -> Self {
        let mut outcome = Self {
            deployments: Vec::new(),
            places: HashMap::new(),
            pending: HashMap::new(),
            keys: HashMap::new(),
            events: Vec::new(),
            changes: Vec::new(),
            rows: Vec::new(),
            hooks: BTreeMap::new(),
            tokens: BTreeMap::new(),
            changed: BTreeSet::new(),
            last: DateTime::UNIX_EPOCH,
        };
        for row in std::mem::take(&mut facts.pending) {
            outcome.hold(row, false);
        }
        outcome
    }

    /// Where the deployments of a hook are that wait for their version, the newest first.
    pub fn pending(&self, hook: &str) -> &[usize] {
        self.pending.get(hook).map_or(&[], Vec::as_slice)
    }

    /// Returns a deployment as it is by now.
    pub fn row(&self, place: usize) -> &deployment::Model {
        &self.deployments[place].row
    }

    /// Returns the deployment that answered the same idempotency key before.
    pub fn replayed(
        &self,
        facts: &Facts,
        hook: &str,
        new: &NewTrigger,
    ) -> Result<Option<Deployment>, StoreError> {
        let Some(key) = &new.idempotency_key else {
            return Ok(None);
        };
        let here = self.keys.get(&(hook.to_owned(), key.clone())).and_then(|id| self.places.get(id));
        let row = match here {
            Some(place) => Some(self.row(*place)),
            // It may have ended in this batch.
            None => facts
                .replayed(hook, key, new)
                .map(|stored| self.places.get(&stored.id).map_or(stored, |place| self.row(*place))),
        };
        row.map(|row| rows::deployment(row.clone(), false)).transpose()
    }

    /// Notes a new deployment, in its first state.
    pub fn insert(&mut self, row: deployment::Model) -> Result<Deployment, StoreError> {
        self.events.push(transitions::first_event(&row)?);
        let deployment = rows::deployment(row.clone(), false)?;
        self.changed.insert(deployment.id);
        self.hold(row, true);
        Ok(deployment)
    }

    /// Ends a waiting deployment for another one.
    pub fn supersede(&mut self, place: usize, by: DeploymentId, at: DateTime<Utc>) -> Result<(), StoreError> {
        let held = &mut self.deployments[place];
        self.events.push(transitions::end_waiting(&mut held.row, CancelReason::Superseded { by }, at)?);
        held.ended = true;
        if let Some(pending) = held.row.hook_id.as_ref().and_then(|hook| self.pending.get_mut(hook)) {
            pending.retain(|it| *it != place);
        }
        let deployment = rows::deployment(held.row.clone(), false)?;
        self.changed.insert(deployment.id);
        let (kind, position) = (EventType::DeploymentCanceled, held.row.last_position);
        self.changes.push(Change { deployment, kind, position, at });
        Ok(())
    }

    /// Lets the waiting deployment answer one trigger more. Whoever resolves its version just now has to do so again: a commit
    /// may have come with this trigger.
    pub fn merge(&mut self, hook: &Hook, new: &NewTrigger) -> Result<Deployment, StoreError> {
        let place = *self.pending(&hook.id.to_string()).first().ok_or(StoreError::NotFound)?;
        let Held { row, merged, .. } = &mut self.deployments[place];
        let since = row.waiting_since.unwrap_or(row.created_at);
        row.revision += 1;
        row.trigger_count += 1;
        row.use_cache = new.build_cache.unwrap_or(row.use_cache);
        if !new.request.title.is_empty() {
            row.title = Some(new.request.title.clone());
        }
        row.body = Some(new.body.clone()).filter(|body| !body.is_empty());
        row.wanted_commit.clone_from(&new.wanted_commit);
        row.not_before = hook.waiting.not_before(since, new.at);
        row.lease_owner = None;
        row.lease_expires_at = None;
        *merged = true;
        let deployment = rows::deployment(row.clone(), false)?;
        self.changed.insert(deployment.id);
        Ok(deployment)
    }

    /// Notes who still calls, whatever comes of it: after a rotation that is how one sees when the old URL can go.
    pub fn used(&mut self, hook: &str, token: Option<&str>, at: DateTime<Utc>) {
        let note = |uses: &mut BTreeMap<String, Used>, id: &str| {
            let (count, last) = uses.entry(id.to_owned()).or_insert((0, at));
            *count += 1;
            *last = std::cmp::max(*last, at);
        };
        note(&mut self.hooks, hook);
        if let Some(token) = token {
            note(&mut self.tokens, token);
        }
    }

    /// Notes a row of the ledger. An idempotency key that it brings is answered from now on with what answers it.
    pub fn record(&mut self, row: trigger::Model) {
        self.last = std::cmp::max(self.last, row.at);
        if let (Some(hook), Some(key), Some(deployment)) =
            (&row.hook_id, &row.idempotency_key, &row.deployment_id)
            && self.places.contains_key(deployment)
        {
            self.keys.insert((hook.clone(), key.clone()), deployment.clone());
        }
        self.rows.push(row);
    }

    /// Stores all of it, and returns whom it concerns. What is due later is found when it is due.
    pub async fn store(self, transaction: &DatabaseTransaction) -> Result<Rings, StoreError> {
        let due = |held: &Held| !held.ended && held.row.not_before <= self.last;
        let work = self.deployments.iter().any(|held| (held.new || held.merged) && due(held));
        let (new, known): (Vec<_>, Vec<_>) = self.deployments.into_iter().partition(|held| held.new);
        let new: Vec<_> = new.into_iter().map(|held| held.row).collect();
        let mut writes = Writes::new(transaction, self.rows.len());
        writes.insert(&new);
        writes.insert(&self.events);
        writes.insert(&self.rows);
        let mut ended = Vec::new();
        for held in known {
            if held.merged {
                deployment::Entity::update(merged(&held.row)).exec(transaction).await?;
            }
            if held.ended {
                ended.push(held.row);
            }
        }
        end(&mut writes, ended);
        count_uses(&mut writes, "hook", ["trigger_count", "last_triggered_at"], self.hooks);
        count_uses(&mut writes, "hook_token", ["use_count", "last_used_at"], self.tokens);
        // All of them are locked, or new: nobody has changed one since it was read.
        if !writes.run(transaction).await? {
            return Err(StoreError::Fenced);
        }
        for change in &self.changes {
            statuses::record(transaction, &change.deployment, change.at).await?;
        }
        let events = outgoing_events::store(transaction, &self.changes).await? > 0;
        let statuses = self.changes.iter().any(|change| change.deployment.commit.is_some());
        let deployments: Vec<_> = self.changed.into_iter().collect();
        Ok(Rings { work, statuses, events, changed: !deployments.is_empty(), deployments })
    }

    fn hold(&mut self, row: deployment::Model, new: bool) {
        let place = self.deployments.len();
        self.places.insert(row.id.clone(), place);
        if let Some(hook) = &row.hook_id {
            let pending = self.pending.entry(hook.clone()).or_default();
            // Those that are stored come newest first, and what is new is newer than all of them.
            pending.insert(if new { 0 } else { pending.len() }, place);
        }
        self.deployments.push(Held { row, new, merged: false, ended: false });
    }
}

/// What changes of a deployment that answers more triggers than before.
fn merged(row: &deployment::Model) -> deployment::ActiveModel {
    deployment::ActiveModel {
        id: Set(row.id.clone()),
        revision: Set(row.revision),
        trigger_count: Set(row.trigger_count),
        use_cache: Set(row.use_cache),
        title: Set(row.title.clone()),
        body: Set(row.body.clone()),
        wanted_commit: Set(row.wanted_commit.clone()),
        not_before: Set(row.not_before),
        lease_owner: Set(None),
        lease_expires_at: Set(None),
        ..Default::default()
    }
}

/// Stores that deployments have ended.
fn end(writes: &mut Writes, ended: Vec<deployment::Model>) {
    let values = ended.into_iter().map(|row| -> [Value; 6] {
        [
            row.id.into(),
            row.state.into(),
            row.revision.into(),
            row.last_position.into(),
            row.canceled.into(),
            row.finished_at.into(),
        ]
    });
    let update = Update {
        table: "deployment",
        columns: ["id", "state", "revision", "last_position", "canceled", "finished_at"],
        types: ["text", "text", "bigint", "bigint", "text", "timestamptz"],
        added: None,
    };
    writes.update(&update, values);
}

/// Adds to counts, and says when the last of them was.
fn count_uses(
    writes: &mut Writes,
    table: &'static str,
    [count, last]: [&'static str; 2],
    uses: BTreeMap<String, Used>,
) {
    let values =
        uses.into_iter().map(|(id, (count, at))| -> [Value; 3] { [id.into(), count.into(), at.into()] });
    let update = Update {
        table,
        columns: ["id", count, last],
        types: ["text", "bigint", "timestamptz"],
        added: Some(count),
    };
    writes.update(&update, values);
}
