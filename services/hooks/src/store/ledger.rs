//! The ledger: one row for every request to a hook's URL, whatever came of it.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    id::{DeploymentId, HookId, ProjectId, TeamId, TriggerId},
    trigger::Decision,
};
use grapnel_runtime::clock::first_id_from;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Store, StoreError, entity::trigger, lists, retention::Step, rows, triggers::NewTrigger};
use crate::model::{Page, Trigger, TriggerRequest};

/// How many rows of the ledger are removed at once, so that nobody waits for it.
const PRUNED_AT_ONCE: u64 = 1_000;

/// Which rows of the ledger to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriggerFilter {
    /// Only those of this hook.
    pub hook: Option<HookId>,
    /// Only those that this deployment answers.
    pub deployment: Option<DeploymentId>,
    /// Only those that came to this.
    pub decision: Option<Decision>,
    /// Only those that came at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those that came before this time.
    pub until: Option<DateTime<Utc>>,
}

impl Store {
    /// Lists a project's ledger, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_triggers(
        &self,
        team: TeamId,
        project: ProjectId,
        filter: TriggerFilter,
        after: Option<TriggerId>,
        limit: u64,
    ) -> Result<Page<Trigger>, StoreError> {
        let query = lists::filtered_triggers(team, project, &filter, after).limit(limit + 1);
        let mut found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page { items: found.into_iter().map(rows::trigger).collect::<Result<_, _>>()?, more })
    }

    /// Removes the oldest rows of the ledger that came before `before`, as many as nobody waits for.
    ///
    /// # Errors
    /// The database fails.
    pub async fn prune_triggers(&self, before: DateTime<Utc>) -> Result<Step, StoreError> {
        // By their ids, which sort by time, so that no trigger has to be put into an index of times.
        let later: TriggerId = first_id_from(before);
        let oldest: Vec<String> = trigger::Entity::find()
            .select_only()
            .column(trigger::Column::Id)
            .filter(trigger::Column::Id.lt(later.to_string()))
            .filter(trigger::Column::At.lt(before))
            .order_by_asc(trigger::Column::Id)
            .limit(PRUNED_AT_ONCE)
            .into_tuple()
            .all(&self.reader)
            .await?;
        let more = oldest.len() as u64 == PRUNED_AT_ONCE;
        let done = trigger::Entity::delete_many()
            .filter(trigger::Column::Id.is_in(oldest))
            .exec(&self.writer)
            .await?;
        Ok(Step { removed: done.rows_affected, more })
    }
}

/// Makes the row of a trigger, as far as it is known without its hook.
pub(super) fn row(
    team: &str,
    project: &str,
    new: &NewTrigger,
    decision: Decision,
    reason: &str,
) -> trigger::Model {
    let TriggerRequest { method, client_address, user_agent, body_bytes, body_digest, title } =
        new.request.clone();
    trigger::Model {
        id: new.id.to_string(),
        team_id: team.to_owned(),
        project_id: project.to_owned(),
        hook_id: None,
        token_id: None,
        method,
        client_address,
        user_agent,
        body_bytes: i64::try_from(body_bytes).unwrap_or(i64::MAX),
        body_digest,
        title,
        idempotency_key: new.idempotency_key.clone(),
        decision: decision.to_string(),
        reason: reason.to_owned(),
        deployment_id: None,
        at: new.at,
    }
}
