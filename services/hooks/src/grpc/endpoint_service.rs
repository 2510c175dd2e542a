//! The calls of `grapnel.hooks.v1.EndpointService`.

use grapnel_domain::{
    Error, Reason, SecretText,
    endpoint::{DESCRIPTION_LIMIT, EndpointSecret, EventType},
    id::{EndpointId, EventId, TeamId},
    scope::Scope,
};
use grapnel_proto::{
    convert::{Violations, checked, endpoint::event_state_from_wire},
    hooks::v1::{endpoint_service_server::EndpointService, *},
};
use tonic::Request;

use super::{
    Answer,
    auth::Auth,
    convert::{deployment_id, project_ref},
    convert_endpoints as convert, page, update,
};
use crate::{
    app::{App, EndpointChanges as Changes, NewEndpoint},
    store::event_ledger::{DeliveryFilter, EventFilter},
};

/// The handlers.
pub struct EndpointHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl EndpointService for EndpointHandlers {
    async fn create_endpoint(
        &self,
        request: Request<CreateEndpointRequest>,
    ) -> Answer<CreateEndpointResponse> {
        answer!({
            let scope = scope_of(!request.get_ref().project.is_empty());
            let team = self.auth.team(&request, scope).await?;
            let created = self.app.create_endpoint(team, new_endpoint(request.into_inner())?).await?;
            Ok(CreateEndpointResponse {
                endpoint: Some(convert::endpoint(&created.endpoint)),
                secret: created.secret.text().expose().to_owned(),
            })
        })
    }

    async fn get_endpoint(&self, request: Request<GetEndpointRequest>) -> Answer<GetEndpointResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let endpoint = self.app.endpoint(team, endpoint_id(&request.into_inner().endpoint_id)?).await?;
            Ok(GetEndpointResponse { endpoint: Some(convert::endpoint(&endpoint)) })
        })
    }

    async fn list_endpoints(&self, request: Request<ListEndpointsRequest>) -> Answer<ListEndpointsResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let list = format!("endpoints {}", request.project);
            let after = page::after(&list, &request.page_token)?;
            let project = optional(&request.project, project_ref)?;
            let size = page::size(request.page_size)?;
            let page = self.app.list_endpoints(team, project.as_ref(), after, size).await?;
            Ok(ListEndpointsResponse {
                next_page_token: page::next(&list, page.items.last().map(|it| it.id), page.more),
                endpoints: page.items.iter().map(convert::endpoint).collect(),
            })
        })
    }

    async fn update_endpoint(
        &self,
        request: Request<UpdateEndpointRequest>,
    ) -> Answer<UpdateEndpointResponse> {
        answer!({
            let (team, id) = self.may_change(&request, &request.get_ref().endpoint_id).await?;
            let request = request.into_inner();
            let changes = changes(request.changes, request.update_mask)?;
            let endpoint = self.app.update_endpoint(team, id, changes).await?;
            Ok(UpdateEndpointResponse { endpoint: Some(convert::endpoint(&endpoint)) })
        })
    }

    async fn delete_endpoint(
        &self,
        request: Request<DeleteEndpointRequest>,
    ) -> Answer<DeleteEndpointResponse> {
        answer!({
            let (team, id) = self.may_change(&request, &request.get_ref().endpoint_id).await?;
            self.app.delete_endpoint(team, id).await?;
            Ok(DeleteEndpointResponse {})
        })
    }

    async fn rotate_endpoint_secret(
        &self,
        request: Request<RotateEndpointSecretRequest>,
    ) -> Answer<RotateEndpointSecretResponse> {
        answer!({
            let (team, id) = self.may_change(&request, &request.get_ref().endpoint_id).await?;
            let request = request.into_inner();
            let grace = update::grace(request.grace_seconds)?;
            let mut violations = Violations::default();
            let given = given_secret(request.secret, &mut violations);
            violations.finish()?;
            let rotated = self.app.rotate_endpoint_secret(team, id, given, grace).await?;
            Ok(RotateEndpointSecretResponse {
                endpoint: Some(convert::endpoint(&rotated.endpoint)),
                secret: rotated.secret.text().expose().to_owned(),
            })
        })
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Answer<ListEventsResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let ListEventsRequest { endpoint_id: endpoint, deployment_id: deployment, state, .. } = &request;
            let list = format!("events {endpoint} {deployment} {state}");
            let after = page::after(&list, &request.page_token)?;
            let state =
                event_state_from_wire(*state).map_err(|error| Error::invalid_field("state", error))?;
            let filter = EventFilter {
                endpoint: optional(endpoint, endpoint_id)?,
                deployment: optional(deployment, deployment_id)?,
                state,
            };
            let page = self.app.list_events(team, filter, after, page::size(request.page_size)?).await?;
            Ok(ListEventsResponse {
                next_page_token: page::next(&list, page.items.last().map(|it| it.id), page.more),
                events: page.items.into_iter().map(convert::event).collect(),
            })
        })
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Answer<ListDeliveriesResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let request = request.into_inner();
            let ListDeliveriesRequest { endpoint_id: endpoint, event_id: event, .. } = &request;
            let list = format!("deliveries {endpoint} {event}");
            let after = page::after(&list, &request.page_token)?;
            let filter = DeliveryFilter {
                endpoint: optional(endpoint, endpoint_id)?,
                event: optional(event, event_id)?,
            };
            let page = self.app.list_deliveries(team, filter, after, page::size(request.page_size)?).await?;
            Ok(ListDeliveriesResponse {
                next_page_token: page::next(&list, page.items.last().map(|it| it.id), page.more),
                deliveries: page.items.into_iter().map(convert::delivery).collect(),
            })
        })
    }

    async fn redeliver_event(
        &self,
        request: Request<RedeliverEventRequest>,
    ) -> Answer<RedeliverEventResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let event = self.app.redeliver_event(team, event_id(&request.into_inner().event_id)?).await?;
            Ok(RedeliverEventResponse { event: Some(convert::event(event)) })
        })
    }

    async fn send_test_event(&self, request: Request<SendTestEventRequest>) -> Answer<SendTestEventResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let id = endpoint_id(&request.into_inner().endpoint_id)?;
            let event = self.app.send_test_event(team, id).await?;
            Ok(SendTestEventResponse { event: Some(convert::event(event)) })
        })
    }
}

impl EndpointHandlers {
    /// Returns the team whose endpoint the caller may change, with the endpoint's id.
    async fn may_change<T>(
        &self,
        request: &Request<T>,
        endpoint: &str,
    ) -> Result<(TeamId, EndpointId), Error> {
        let team = self.auth.team(request, Scope::Write).await?;
        let id = endpoint_id(endpoint)?;
        let of_project = self.app.endpoint(team, id).await?.project_id.is_some();
        self.auth.team(request, scope_of(of_project)).await?;
        Ok((team, id))
    }
}

/// What a team has itself hears of all its projects, so that it is for an admin to make and to change.
fn scope_of(of_project: bool) -> Scope {
    if of_project { Scope::Write } else { Scope::Admin }
}

fn new_endpoint(request: CreateEndpointRequest) -> Result<NewEndpoint, Error> {
    let mut violations = Violations::default();
    let project = optional(&request.project, project_ref)?;
    let url = violations.check("url", request.url.parse());
    let types = violations.check("types", types(&request.types));
    let description = violations.check("description", description(request.description));
    let secret = given_secret(request.secret, &mut violations);
    violations.finish()?;
    Ok(NewEndpoint {
        project,
        url: checked(url)?,
        types: checked(types)?,
        description: checked(description)?,
        secret,
    })
}

fn changes(changes: Option<EndpointChanges>, mask: Option<prost_types::FieldMask>) -> Result<Changes, Error> {
    let new = changes.unwrap_or_default();
    let mut violations = Violations::default();
    let mut changed = Changes::default();
    for path in update::paths(mask)? {
        match path.as_str() {
            "url" => changed.url = violations.check("changes.url", new.url.parse()),
            "types" => changed.types = violations.check("changes.types", types(&new.types)),
            "description" => {
                changed.description =
                    violations.check("changes.description", description(new.description.clone()));
            }
            "disabled" => changed.disabled = Some(new.disabled),
            other => update::unknown_path(other, &mut violations),
        }
    }
    violations.finish()?;
    Ok(changed)
}

/// Reads a secret of the caller's own; empty is none.
fn given_secret(text: String, violations: &mut Violations) -> Option<EndpointSecret> {
    if text.is_empty() {
        return None;
    }
    violations.check("secret", EndpointSecret::parse(&SecretText::from(text)))
}

/// Reads the types that an endpoint chooses, each once.
fn types(names: &[String]) -> Result<Vec<EventType>, String> {
    let mut types = Vec::new();
    for name in names {
        let kind = EventType::CHOICE.into_iter().find(|kind| kind.as_str() == name);
        let choice = || EventType::CHOICE.map(EventType::as_str).join(", ");
        types.push(kind.ok_or_else(|| format!("must be some of {}", choice()))?);
    }
    types.sort_unstable();
    types.dedup();
    Ok(types)
}

fn description(text: String) -> Result<String, String> {
    if text.chars().count() > DESCRIPTION_LIMIT || text.chars().any(char::is_control) {
        return Err(format!("must have at most {DESCRIPTION_LIMIT} characters, in one line"));
    }
    Ok(text)
}

/// Reads an id or a name where empty text is none.
fn optional<T>(text: &str, read: impl FnOnce(&str) -> Result<T, Error>) -> Result<Option<T>, Error> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

/// Reads an endpoint's id. What is none names no endpoint.
fn endpoint_id(text: &str) -> Result<EndpointId, Error> {
    text.parse().map_err(|_| Error::new(Reason::EndpointNotFound, "there is no such endpoint"))
}

/// Reads an event's id. What is none names no event.
fn event_id(text: &str) -> Result<EventId, Error> {
    text.parse().map_err(|_| Error::new(Reason::EventNotFound, "there is no such event in the ledger"))
}
