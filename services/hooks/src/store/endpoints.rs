//! Endpoints and their secrets.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    endpoint::{DisabledReason, EventState, MAX_LIVE_SECRETS},
    hook::token_is_live,
    id::{EndpointId, ProjectId, TeamId},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};

use super::{
    Store, StoreError,
    entity::{endpoint, endpoint_secret, outgoing_event, project, team},
    event_rows, sealed,
};
use crate::{
    model::{Endpoint, Page, SecretOf},
    sealing::Sealed,
};

/// A secret that is about to be stored.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// What is known of it.
    pub secret: SecretOf,
    /// The secret, sealed for its id.
    pub sealed: Sealed,
}

impl Store {
    /// Stores a new endpoint with its first secret, unless its project, or its team, has as many as it may have.
    ///
    /// # Errors
    /// The project is gone, or there are too many.
    pub async fn create_endpoint(
        &self,
        new: &Endpoint,
        secret: &NewSecret,
        limit: u32,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // The owner's row is the lock that makes counting and inserting one thing.
        let owner_is_there = match new.project_id {
            Some(project) => project::Entity::find_by_id(project.to_string())
                .filter(project::Column::DeletedAt.is_null())
                .filter(project::Column::TeamId.eq(new.team_id.to_string()))
                .lock_exclusive()
                .one(&transaction)
                .await?
                .is_some(),
            None => team::Entity::find_by_id(new.team_id.to_string())
                .lock_exclusive()
                .one(&transaction)
                .await?
                .is_some(),
        };
        if !owner_is_there {
            return Err(StoreError::NotFound);
        }
        let owner = match new.project_id {
            Some(project) => endpoint::Column::ProjectId.eq(project.to_string()),
            None => endpoint::Column::ProjectId.is_null(),
        };
        let used = endpoint::Entity::find().filter(of(new.team_id)).filter(owner).count(&transaction).await?;
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        if used >= limit {
            return Err(StoreError::EndpointLimit { limit, used });
        }
        let row = endpoint::ActiveModel {
            team_id: Set(new.team_id.to_string()),
            project_id: Set(new.project_id.map(|id| id.to_string())),
            created_at: Set(new.created_at),
            ..changed(new)
        };
        endpoint::Entity::insert(row).exec_without_returning(&transaction).await?;
        insert_secret(&transaction, new.id, secret).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Reads an endpoint of a team.
    ///
    /// # Errors
    /// There is none.
    pub async fn endpoint(&self, team: TeamId, id: EndpointId) -> Result<Endpoint, StoreError> {
        let row = endpoint::Entity::find_by_id(id.to_string()).filter(of(team)).one(&self.reader).await?;
        let found = with_secrets(&self.reader, row.into_iter().collect()).await?;
        found.into_iter().next().ok_or(StoreError::NotFound)
    }

    /// Lists a team's endpoints with those of its projects, or those that hear of one project, the newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_endpoints(
        &self,
        team: TeamId,
        project: Option<ProjectId>,
        after: Option<EndpointId>,
        limit: u64,
    ) -> Result<Page<Endpoint>, StoreError> {
        let mut query =
            endpoint::Entity::find().filter(of(team)).order_by_desc(endpoint::Column::Id).limit(limit + 1);
        if let Some(project) = project {
            query = query.filter(hears_of(project));
        }
        if let Some(after) = after {
            query = query.filter(endpoint::Column::Id.lt(after.to_string()));
        }
        let mut found = query.all(&self.reader).await?;
        let more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page { items: with_secrets(&self.reader, found).await?, more })
    }

    /// Stores what was changed of an endpoint. The events that wait for one that is disabled now are dropped.
    ///
    /// # Errors
    /// It is gone.
    pub async fn update_endpoint(&self, new: &Endpoint) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        locked(&transaction, new.team_id, new.id).await?;
        endpoint::Entity::update(changed(new)).exec(&transaction).await?;
        if new.disabled.is_some() {
            drop_waiting(&transaction, [new.id.to_string()]).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Deletes an endpoint with its secrets. What was sent to it stays in the ledger, and what waits is dropped.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_endpoint(&self, team: TeamId, id: EndpointId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        locked(&transaction, team, id).await?;
        delete(&transaction, vec![id.to_string()]).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Adds a secret. The newest of the present ones signs until `old_expires_at`, the others stop at once.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn rotate_endpoint_secret(
        &self,
        team: TeamId,
        id: EndpointId,
        fresh: &NewSecret,
        old_expires_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let now = fresh.secret.created_at;
        let transaction = self.begin().await?;
        locked(&transaction, team, id).await?;
        let present = endpoint_secret::Entity::find()
            .filter(endpoint_secret::Column::EndpointId.eq(id.to_string()))
            .order_by_desc(endpoint_secret::Column::Id)
            .all(&transaction)
            .await?;
        let (live, mut over): (Vec<_>, Vec<_>) =
            present.into_iter().partition(|secret| token_is_live(secret.expires_at, now));
        for (place, secret) in live.into_iter().enumerate() {
            if place + 1 < MAX_LIVE_SECRETS && old_expires_at > now {
                let change = endpoint_secret::ActiveModel {
                    id: Set(secret.id),
                    expires_at: Set(Some(old_expires_at)),
                    ..Default::default()
                };
                endpoint_secret::Entity::update(change).exec(&transaction).await?;
            } else {
                over.push(secret);
            }
        }
        // What signs no more is kept nowhere.
        let over: Vec<_> = over.into_iter().map(|secret| secret.id).collect();
        sealed::remove(&transaction, over.clone()).await?;
        endpoint_secret::Entity::delete_many()
            .filter(endpoint_secret::Column::Id.is_in(over))
            .exec(&transaction)
            .await?;
        insert_secret(&transaction, id, fresh).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Deletes all endpoints of a project.
pub(super) async fn delete_of_project(
    transaction: &DatabaseTransaction,
    project: ProjectId,
) -> Result<(), StoreError> {
    let found = endpoint::Entity::find()
        .filter(endpoint::Column::ProjectId.eq(project.to_string()))
        .lock_exclusive()
        .all(transaction)
        .await?;
    delete(transaction, found.into_iter().map(|row| row.id).collect()).await
}

/// Disables an endpoint that was read locked; what waits for it is dropped.
pub(super) async fn disable(
    transaction: &DatabaseTransaction,
    id: &str,
    reason: DisabledReason,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let change = endpoint::ActiveModel {
        id: Set(id.to_owned()),
        disabled_at: Set(Some(now)),
        disabled_reason: Set(Some(reason.to_string())),
        updated_at: Set(now),
        ..Default::default()
    };
    endpoint::Entity::update(change).exec(transaction).await?;
    drop_waiting(transaction, [id.to_owned()]).await
}

/// Says of endpoints that they are a team's, its projects' included.
pub(super) fn of(team: TeamId) -> Condition {
    Condition::all().add(endpoint::Column::TeamId.eq(team.to_string()))
}

/// Says of endpoints of a team that they hear of a project.
pub(super) fn hears_of(project: ProjectId) -> Condition {
    Condition::any()
        .add(endpoint::Column::ProjectId.is_null())
        .add(endpoint::Column::ProjectId.eq(project.to_string()))
}

/// Reads an endpoint and keeps others from changing it until the transaction ends. It is locked before its events,
/// everywhere.
pub(super) async fn locked(
    transaction: &DatabaseTransaction,
    team: TeamId,
    id: EndpointId,
) -> Result<endpoint::Model, StoreError> {
    let row = endpoint::Entity::find_by_id(id.to_string())
        .filter(of(team))
        .lock_exclusive()
        .one(transaction)
        .await?;
    row.ok_or(StoreError::NotFound)
}

async fn delete(transaction: &DatabaseTransaction, ids: Vec<String>) -> Result<(), StoreError> {
    let secrets: Vec<String> = endpoint_secret::Entity::find()
        .select_only()
        .column(endpoint_secret::Column::Id)
        .filter(endpoint_secret::Column::EndpointId.is_in(ids.clone()))
        .into_tuple()
        .all(transaction)
        .await?;
    sealed::remove(transaction, secrets).await?;
    drop_waiting(transaction, ids.clone()).await?;
    endpoint::Entity::delete_many().filter(endpoint::Column::Id.is_in(ids)).exec(transaction).await?;
    Ok(())
}

/// Drops what waits for endpoints. A try that is under way ends, and is told in the ledger.
async fn drop_waiting(
    transaction: &DatabaseTransaction,
    endpoints: impl IntoIterator<Item = String>,
) -> Result<(), StoreError> {
    outgoing_event::Entity::update_many()
        .col_expr(outgoing_event::Column::State, Expr::value(EventState::Dropped.as_str()))
        .filter(outgoing_event::Column::EndpointId.is_in(endpoints))
        .filter(outgoing_event::Column::State.eq(EventState::Waiting.as_str()))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Reads the secrets of all these endpoints with one query.
pub(super) async fn with_secrets(
    database: &impl ConnectionTrait,
    endpoints: Vec<endpoint::Model>,
) -> Result<Vec<Endpoint>, StoreError> {
    let found = endpoint_secret::Entity::find()
        .filter(endpoint_secret::Column::EndpointId.is_in(endpoints.iter().map(|row| row.id.clone())))
        .order_by_desc(endpoint_secret::Column::Id)
        .all(database)
        .await?;
    let mut secrets: HashMap<String, Vec<SecretOf>> = HashMap::new();
    for row in found {
        secrets.entry(row.endpoint_id.clone()).or_default().push(event_rows::secret(row)?);
    }
    endpoints
        .into_iter()
        .map(|row| {
            let secrets = secrets.remove(&row.id).unwrap_or_default();
            event_rows::endpoint(row, secrets)
        })
        .collect()
}

async fn insert_secret(
    transaction: &DatabaseTransaction,
    endpoint: EndpointId,
    new: &NewSecret,
) -> Result<(), StoreError> {
    let NewSecret { secret, sealed } = new;
    let row = endpoint_secret::Model {
        id: secret.id.to_string(),
        endpoint_id: endpoint.to_string(),
        last_four: secret.last_four.clone(),
        created_at: secret.created_at,
        expires_at: secret.expires_at,
    };
    endpoint_secret::Entity::insert(endpoint_secret::ActiveModel::from(row))
        .exec_without_returning(transaction)
        .await?;
    sealed::put(transaction, &secret.id.to_string(), sealed).await
}

fn changed(endpoint: &Endpoint) -> endpoint::ActiveModel {
    let types: Vec<_> = endpoint.types.iter().map(|kind| kind.as_str()).collect();
    endpoint::ActiveModel {
        id: Set(endpoint.id.to_string()),
        url: Set(endpoint.url.to_string()),
        types: Set(types.join(",")),
        description: Set(endpoint.description.clone()),
        disabled_at: Set(endpoint.disabled.map(|(at, _)| at)),
        disabled_reason: Set(endpoint.disabled.map(|(_, reason)| reason.to_string())),
        failing_since: Set(endpoint.failing_since),
        updated_at: Set(endpoint.updated_at),
        ..Default::default()
    }
}
