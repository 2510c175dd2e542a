//! Endpoints, and the ledger of what was sent to them.

use std::time::Duration;

use grapnel_domain::{
    Error, Reason,
    endpoint::{DEFAULT_GRACE, DisabledReason, ENDPOINTS_LIMIT, EndpointSecret, EndpointUrl, EventType},
    hook::token_is_live,
    id::{DeliveryId, EndpointId, EndpointSecretId, EventId, TeamId},
};

use super::App;
use crate::{
    model::{Delivery, Endpoint, OutgoingEvent, Page, SecretOf},
    store::{
        StoreError,
        endpoints::NewSecret,
        event_ledger::{DeliveryFilter, EventFilter},
        projects::ProjectRef,
    },
};

/// An endpoint to be made.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// The project whose deployments it hears of; none is all of the team's.
    pub project: Option<ProjectRef>,
    /// Where it listens.
    pub url: EndpointUrl,
    /// What it wants to hear; empty is everything.
    pub types: Vec<EventType>,
    /// What it is for.
    pub description: String,
    /// A secret of its own; none makes one.
    pub secret: Option<EndpointSecret>,
}

/// What is to be changed of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointChanges {
    /// Where it listens.
    pub url: Option<EndpointUrl>,
    /// What it wants to hear.
    pub types: Option<Vec<EventType>>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it hears nothing.
    pub disabled: Option<bool>,
}

/// An endpoint with its secret, which nobody is shown again.
#[derive(Debug)]
pub struct WithSecret {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The secret.
    pub secret: EndpointSecret,
}

impl App {
    /// Makes an endpoint and its first secret.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `ENDPOINT_LIMIT_REACHED`.
    pub async fn create_endpoint(&self, team: TeamId, new: NewEndpoint) -> Result<WithSecret, Error> {
        let project_id = match &new.project {
            Some(project) => Some(self.project(team, project).await?.id),
            None => None,
        };
        let secret = new.secret.unwrap_or_else(|| EndpointSecret::generate(&mut rand::rng()));
        let sealed = self.seal_secret(&secret);
        let now = sealed.secret.created_at;
        let endpoint = Endpoint {
            id: self.clock.new_id(),
            team_id: team,
            project_id,
            url: new.url,
            types: new.types,
            description: new.description,
            disabled: None,
            failing_since: None,
            secrets: vec![sealed.secret.clone()],
            created_at: now,
            updated_at: now,
        };
        let mut stored = self.store.create_endpoint(&endpoint, &sealed, ENDPOINTS_LIMIT).await;
        if self.has_a_new_key(&stored) {
            let sealed = self.sealed_anew(&sealed, &secret);
            stored = self.store.create_endpoint(&endpoint, &sealed, ENDPOINTS_LIMIT).await;
        }
        stored.map_err(|error| match error {
            StoreError::EndpointLimit { limit, used } => limit_reached(project_id.is_some(), limit, used),
            other => other.into_error(Reason::ProjectNotFound),
        })?;
        tracing::info!(endpoint.id = %endpoint.id, "an endpoint was created");
        Ok(WithSecret { endpoint, secret })
    }

    /// Reads an endpoint.
    ///
    /// # Errors
    /// `ENDPOINT_NOT_FOUND`.
    pub async fn endpoint(&self, team: TeamId, id: EndpointId) -> Result<Endpoint, Error> {
        let endpoint = self.store.endpoint(team, id).await.map_err(not_found)?;
        Ok(self.with_live_secrets(endpoint))
    }

    /// Lists a team's endpoints with those of its projects, or those that hear of one project.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_endpoints(
        &self,
        team: TeamId,
        project: Option<&ProjectRef>,
        after: Option<EndpointId>,
        limit: u64,
    ) -> Result<Page<Endpoint>, Error> {
        let project = match project {
            Some(project) => Some(self.project(team, project).await?.id),
            None => None,
        };
        let page = self.store.list_endpoints(team, project, after, limit).await.map_err(not_found)?;
        let items = page.items.into_iter().map(|endpoint| self.with_live_secrets(endpoint)).collect();
        Ok(Page { items, more: page.more })
    }

    /// Changes an endpoint. One that is enabled, or moved, begins without what failed before.
    ///
    /// # Errors
    /// `ENDPOINT_NOT_FOUND`.
    pub async fn update_endpoint(
        &self,
        team: TeamId,
        id: EndpointId,
        changes: EndpointChanges,
    ) -> Result<Endpoint, Error> {
        let mut endpoint = self.endpoint(team, id).await?;
        let now = self.clock.now();
        if changes.url.is_some() || changes.disabled == Some(false) {
            endpoint.failing_since = None;
        }
        endpoint.disabled = match changes.disabled {
            Some(true) => endpoint.disabled.or(Some((now, DisabledReason::User))),
            Some(false) => None,
            None => endpoint.disabled,
        };
        endpoint.url = changes.url.unwrap_or(endpoint.url);
        endpoint.types = changes.types.unwrap_or(endpoint.types);
        endpoint.description = changes.description.unwrap_or(endpoint.description);
        endpoint.updated_at = now;
        self.store.update_endpoint(&endpoint).await.map_err(not_found)?;
        Ok(endpoint)
    }

    /// Deletes an endpoint. What was sent to it stays in the ledger.
    ///
    /// # Errors
    /// `ENDPOINT_NOT_FOUND`.
    pub async fn delete_endpoint(&self, team: TeamId, id: EndpointId) -> Result<(), Error> {
        self.store.delete_endpoint(team, id).await.map_err(not_found)?;
        tracing::info!(endpoint.id = %id, "an endpoint was deleted");
        Ok(())
    }

    /// Makes a new secret, or takes the one that is given; the current one signs on beside it for `grace`.
    ///
    /// # Errors
    /// `ENDPOINT_NOT_FOUND`.
    pub async fn rotate_endpoint_secret(
        &self,
        team: TeamId,
        id: EndpointId,
        given: Option<EndpointSecret>,
        grace: Option<Duration>,
    ) -> Result<WithSecret, Error> {
        let secret = given.unwrap_or_else(|| EndpointSecret::generate(&mut rand::rng()));
        let sealed = self.seal_secret(&secret);
        let old_expires_at = sealed.secret.created_at + grace.unwrap_or(DEFAULT_GRACE);
        let mut stored = self.store.rotate_endpoint_secret(team, id, &sealed, old_expires_at).await;
        if self.has_a_new_key(&stored) {
            let sealed = self.sealed_anew(&sealed, &secret);
            stored = self.store.rotate_endpoint_secret(team, id, &sealed, old_expires_at).await;
        }
        stored.map_err(not_found)?;
        tracing::info!(endpoint.id = %id, "an endpoint's secret was rotated");
        Ok(WithSecret { endpoint: self.endpoint(team, id).await?, secret })
    }

    /// Lists the ledger of events, newest first.
    ///
    /// # Errors
    /// `ENDPOINT_NOT_FOUND`, `DEPLOYMENT_NOT_FOUND`.
    pub async fn list_events(
        &self,
        team: TeamId,
        filter: EventFilter,
        after: Option<EventId>,
        limit: u64,
    ) -> Result<Page<OutgoingEvent>, Error> {
        if let Some(deployment) = filter.deployment {
            self.deployment(team, deployment).await?;
        }
        let listed = self.store.list_outgoing_events(team, filter, after, limit).await.map_err(not_found)?;
        // What was sent to an endpoint that is deleted is there all the same.
        if let Some(endpoint) = filter.endpoint.filter(|_| listed.items.is_empty()) {
            self.endpoint(team, endpoint).await?;
        }
        Ok(listed)
    }

    /// Lists the ledger of tries, newest first.
    ///
    /// # Errors
    /// `ENDPOINT_NOT_FOUND`, `EVENT_NOT_FOUND`.
    pub async fn list_deliveries(
        &self,
        team: TeamId,
        filter: DeliveryFilter,
        after: Option<DeliveryId>,
        limit: u64,
    ) -> Result<Page<Delivery>, Error> {
        if let Some(event) = filter.event {
            self.event(team, event).await?;
        }
        let listed = self.store.list_deliveries(team, filter, after, limit).await.map_err(not_found)?;
        if let Some(endpoint) = filter.endpoint.filter(|_| listed.items.is_empty()) {
            self.endpoint(team, endpoint).await?;
        }
        Ok(listed)
    }

    /// Sends an event again, with the same id and body, whatever came of it before.
    ///
    /// # Errors
    /// `EVENT_NOT_FOUND`, `ENDPOINT_NOT_FOUND`, `ENDPOINT_DISABLED`.
    pub async fn redeliver_event(&self, team: TeamId, id: EventId) -> Result<OutgoingEvent, Error> {
        let event = self.event(team, id).await?;
        self.store.redeliver(team, &event, self.clock.now()).await.map_err(unheard)
    }

    /// Sends an event that only shows whether events arrive.
    ///
    /// # Errors
    /// `ENDPOINT_NOT_FOUND`, `ENDPOINT_DISABLED`.
    pub async fn send_test_event(&self, team: TeamId, id: EndpointId) -> Result<OutgoingEvent, Error> {
        let (event, now) = (self.clock.new_id(), self.clock.now());
        self.store.store_test_event(team, id, event, now).await.map_err(unheard)
    }

    async fn event(&self, team: TeamId, id: EventId) -> Result<OutgoingEvent, Error> {
        let event = self.store.outgoing_event(team, id).await;
        event.map_err(|error| error.into_error(Reason::EventNotFound))
    }

    fn seal_secret(&self, secret: &EndpointSecret) -> NewSecret {
        let id: EndpointSecretId = self.clock.new_id();
        let known =
            SecretOf { id, last_four: secret.last_four(), created_at: self.clock.now(), expires_at: None };
        let sealed = self.sealer.seal(&id.to_string(), secret.text());
        NewSecret { secret: known, sealed }
    }

    fn sealed_anew(&self, new: &NewSecret, secret: &EndpointSecret) -> NewSecret {
        let sealed = self.sealer.seal(&new.secret.id.to_string(), secret.text());
        NewSecret { secret: new.secret.clone(), sealed }
    }

    fn with_live_secrets(&self, mut endpoint: Endpoint) -> Endpoint {
        let now = self.clock.now();
        endpoint.secrets.retain(|secret| token_is_live(secret.expires_at, now));
        endpoint
    }
}

fn not_found(error: StoreError) -> Error {
    error.into_error(Reason::EndpointNotFound)
}

fn unheard(error: StoreError) -> Error {
    match error {
        StoreError::EndpointDisabled => Error::new(
            Reason::EndpointDisabled,
            "the endpoint is disabled; enable it first, and it hears again of what happens then",
        ),
        other => not_found(other),
    }
}

fn limit_reached(of_project: bool, limit: u32, used: u32) -> Error {
    let whose = if of_project { "a project" } else { "a team itself" };
    let message = format!("{whose} has at most {limit} endpoints, and this one has {used}; delete one first");
    Error::new(Reason::EndpointLimitReached, message).with_fact("limit", limit).with_fact("used", used)
}
