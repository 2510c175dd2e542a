//! One endpoint: its secrets, the events for it, and every try to bring them.

use askama::Template;
use axum::{extract::Path, response::Response};
use grapnel_domain::{Error, Reason, scope::Scope};
use grapnel_proto::hooks::v1::{
    DeleteEndpointRequest, Delivery, DeliveryOutcome, Endpoint, EndpointChanges, Event, EventState,
    GetEndpointRequest, ListDeliveriesRequest, ListEventsRequest, RedeliverEventRequest,
    RotateEndpointSecretRequest, SendTestEventRequest, UpdateEndpointRequest,
};
use http::StatusCode;
use prost_types::FieldMask;

use super::{secret_page, state};
use crate::{
    dashboard::{
        components::{Action, Moment, Pager},
        forms::{Asked, Posted},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
        settings::{
            done,
            section::{Lacking, Nav, Opened, Section},
        },
    },
    hooks_client::answered_to_people as answered,
};

/// How many events and tries a page shows.
const PAGE: i32 = 25;

type Named = Path<(String, String)>;

#[derive(Template)]
#[template(path = "settings/endpoint.html")]
struct EndpointPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    list: String,
    id: String,
    url: String,
    description: String,
    state: String,
    types: String,
    secrets: Vec<(String, Option<Moment>)>,
    actions: Vec<Action>,
    events: Vec<EventRow>,
    events_pager: Pager,
    tries: Vec<TryRow>,
    tries_pager: Pager,
}

struct EventRow {
    id: String,
    kind: String,
    state: &'static str,
    tries: u32,
    at: Option<Moment>,
    next: Option<Moment>,
    deployment: Option<String>,
    redeliver: Option<Action>,
}

struct TryRow {
    event: String,
    at: Option<Moment>,
    outcome: &'static str,
    status: String,
    took: u64,
    error: String,
    answer: String,
}

/// `GET …/endpoints/{endpoint}`
pub async fn show(
    signed_in: SignedIn,
    Path((project, endpoint)): Named,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Endpoints).await?;
    let endpoint = endpoint_of(&opened, &endpoint).await?;
    let client = || opened.signed_in.caller.endpoints();
    let events = ListEventsRequest {
        endpoint_id: endpoint.id.clone(),
        page_size: PAGE,
        page_token: asked.get("events").to_owned(),
        ..Default::default()
    };
    let events = answered(client().list_events(events)).await?;
    let tries = ListDeliveriesRequest {
        endpoint_id: endpoint.id.clone(),
        page_size: PAGE,
        page_token: asked.get("tries").to_owned(),
        ..Default::default()
    };
    let tries = answered(client().list_deliveries(tries)).await?;
    let here = opened.link_to(&endpoint.id);
    let pager = |name: &'static str, next: &str| {
        let page = |token: &str| links::with_query(&here, &[(name, token)]);
        let first = (!asked.get(name).is_empty()).then(|| page(""));
        Pager { first, next: (!next.is_empty()).then(|| page(next)) }
    };
    let now = opened.signed_in.now;
    let secret = |secret: &grapnel_proto::hooks::v1::EndpointSecret| {
        (secret.last_four.clone(), Moment::of(secret.expires_at.as_ref(), now))
    };
    let page = EndpointPage {
        frame: opened.frame_titled("Endpoint", &asked),
        nav: opened.nav(),
        lacking: opened.lacking(scope_of(&endpoint)),
        list: opened.link(),
        id: endpoint.id.clone(),
        url: endpoint.url.clone(),
        description: endpoint.description.clone(),
        state: state(&endpoint),
        types: if endpoint.types.is_empty() { "All".to_owned() } else { endpoint.types.join(", ") },
        secrets: endpoint.secrets.iter().map(secret).collect(),
        actions: actions(&opened, &endpoint),
        events: events.events.iter().map(|event| event_row(&opened, &endpoint, event)).collect(),
        events_pager: pager("events", &events.next_page_token),
        tries: tries.deliveries.iter().map(|delivery| try_row(&opened, delivery)).collect(),
        tries_pager: pager("tries", &tries.next_page_token),
    };
    Ok(page::shown(StatusCode::OK, &page))
}

/// Reads an endpoint that hears of the project; another is not found at its address.
async fn endpoint_of(opened: &Opened, endpoint: &str) -> Result<Endpoint, PageError> {
    let request = GetEndpointRequest { endpoint_id: endpoint.to_owned() };
    let answer = answered(opened.signed_in.caller.endpoints().get_endpoint(request)).await?;
    let hears = |it: &Endpoint| it.project_id.is_empty() || it.project_id == opened.project.id;
    let missing = || Error::new(Reason::EndpointNotFound, "the project has no such endpoint");
    Ok(answer.endpoint.filter(hears).ok_or_else(missing)?)
}

/// A team's endpoint is changed by who may change the team.
fn scope_of(endpoint: &Endpoint) -> Scope {
    if endpoint.project_id.is_empty() { Scope::Admin } else { Scope::Write }
}

async fn open(
    signed_in: SignedIn,
    (project, endpoint): (String, String),
) -> Result<(Opened, Endpoint), PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Endpoints).await?;
    let endpoint = endpoint_of(&opened, &endpoint).await?;
    Ok((opened, endpoint))
}

/// `POST …/endpoints/{endpoint}/enable`
pub async fn enable(Path(named): Named, Posted { signed_in, .. }: Posted) -> Result<Response, PageError> {
    set_disabled(signed_in, named, false).await
}

/// `POST …/endpoints/{endpoint}/disable`
pub async fn disable(Path(named): Named, Posted { signed_in, .. }: Posted) -> Result<Response, PageError> {
    set_disabled(signed_in, named, true).await
}

async fn set_disabled(
    signed_in: SignedIn,
    named: (String, String),
    disabled: bool,
) -> Result<Response, PageError> {
    let (opened, endpoint) = open(signed_in, named).await?;
    let request = UpdateEndpointRequest {
        endpoint_id: endpoint.id.clone(),
        changes: Some(EndpointChanges { disabled, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["disabled".to_owned()] }),
    };
    answered(opened.signed_in.caller.endpoints().update_endpoint(request)).await?;
    let did = if disabled { "endpoint-disabled" } else { "endpoint-enabled" };
    Ok(done(&opened.link_to(&endpoint.id), did))
}

/// `POST …/endpoints/{endpoint}/rotate`: the one answer that has the new secret. The old one signs on for a day.
pub async fn rotate(Path(named): Named, Posted { signed_in, .. }: Posted) -> Result<Response, PageError> {
    let (opened, endpoint) = open(signed_in, named).await?;
    let request = RotateEndpointSecretRequest { endpoint_id: endpoint.id.clone(), ..Default::default() };
    let rotated = answered(opened.signed_in.caller.endpoints().rotate_endpoint_secret(request)).await?;
    let title = "The endpoint has a new secret".to_owned();
    Ok(secret_page(&opened, title, rotated.secret, &endpoint.id))
}

/// `POST …/endpoints/{endpoint}/test`
pub async fn test(Path(named): Named, Posted { signed_in, .. }: Posted) -> Result<Response, PageError> {
    let (opened, endpoint) = open(signed_in, named).await?;
    let request = SendTestEventRequest { endpoint_id: endpoint.id.clone() };
    answered(opened.signed_in.caller.endpoints().send_test_event(request)).await?;
    Ok(done(&opened.link_to(&endpoint.id), "endpoint-tested"))
}

/// `POST …/endpoints/{endpoint}/delete`
pub async fn delete(Path(named): Named, Posted { signed_in, .. }: Posted) -> Result<Response, PageError> {
    let (opened, endpoint) = open(signed_in, named).await?;
    let request = DeleteEndpointRequest { endpoint_id: endpoint.id };
    answered(opened.signed_in.caller.endpoints().delete_endpoint(request)).await?;
    Ok(done(&opened.link(), "endpoint-deleted"))
}

/// `POST …/endpoints/{endpoint}/redeliver`
pub async fn redeliver(
    Path(named): Named,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let (opened, endpoint) = open(signed_in, named).await?;
    let request = RedeliverEventRequest { event_id: fields.get("event").to_owned() };
    answered(opened.signed_in.caller.endpoints().redeliver_event(request)).await?;
    Ok(done(&opened.link_to(&endpoint.id), "event-redelivered"))
}

fn actions(opened: &Opened, endpoint: &Endpoint) -> Vec<Action> {
    let action = |word: &str, label: &'static str, title: &str, question: &str| Action {
        to: opened.link_to_do(&endpoint.id, word),
        csrf: opened.signed_in.csrf.clone(),
        label,
        title: title.to_owned(),
        fields: Vec::new(),
        question: question.to_owned(),
        grave: word == "delete",
    };
    let test = action("test", "Send a test", "Send a test to the endpoint", "");
    if !opened.signed_in.may(scope_of(endpoint)) {
        return if opened.signed_in.may(Scope::Write) { vec![test] } else { Vec::new() };
    }
    let rotation = "Make a new secret? It is shown once. The old one signs beside it for a day.";
    let rotate = action("rotate", "Rotate the secret", "Rotate the secret of the endpoint", rotation);
    let deletion = "Delete the endpoint? It hears nothing any more; what was sent to it stays in the ledger.";
    let delete = action("delete", "Delete", "Delete the endpoint", deletion);
    if endpoint.disabled_at.is_some() {
        return vec![action("enable", "Enable", "Enable the endpoint", ""), rotate, delete];
    }
    let dropped = "Disable the endpoint? What waits for it is dropped.";
    vec![test, action("disable", "Disable", "Disable the endpoint", dropped), rotate, delete]
}

fn event_row(opened: &Opened, endpoint: &Endpoint, event: &Event) -> EventRow {
    let now = opened.signed_in.now;
    let state = match event.state() {
        EventState::Delivered => "Delivered",
        EventState::Failed => "Failed: every try",
        EventState::Dropped => "Dropped",
        EventState::Waiting | EventState::Unspecified => "Waiting",
    };
    let redeliver = || Action {
        to: opened.link_to_do(&endpoint.id, "redeliver"),
        csrf: opened.signed_in.csrf.clone(),
        label: "Send again",
        title: format!("Send the event {} again", event.id),
        fields: vec![("event", event.id.clone())],
        question: String::new(),
        grave: false,
    };
    let deployment =
        (!event.deployment_id.is_empty()).then(|| links::deployment(opened.key(), &event.deployment_id));
    let may = opened.signed_in.may(Scope::Write) && endpoint.disabled_at.is_none();
    EventRow {
        id: event.id.clone(),
        kind: event.r#type.clone(),
        state,
        tries: event.tries,
        at: Moment::of(event.created_at.as_ref(), now),
        next: Moment::of(event.next_try_at.as_ref(), now),
        // A team's endpoint hears of other projects too: their deployments have another address.
        deployment: deployment.filter(|_| !endpoint.project_id.is_empty()),
        redeliver: may.then(redeliver),
    }
}

fn try_row(opened: &Opened, delivery: &Delivery) -> TryRow {
    let outcome = match delivery.outcome() {
        DeliveryOutcome::Delivered => "Delivered",
        DeliveryOutcome::Refused => "Refused",
        DeliveryOutcome::Redirected => "Redirected, which is not followed",
        DeliveryOutcome::Gone => "Gone: the endpoint is disabled by it",
        DeliveryOutcome::AddressRefused => "Not sent: the address is private",
        DeliveryOutcome::Unreachable => "Not reached",
        DeliveryOutcome::Silent => "No answer in time",
        DeliveryOutcome::Unsigned => "Not sent: the secret cannot be read",
        DeliveryOutcome::Unspecified => "Not known",
    };
    TryRow {
        event: delivery.event_id.clone(),
        at: Moment::of(delivery.at.as_ref(), opened.signed_in.now),
        outcome,
        status: if delivery.status == 0 { String::new() } else { delivery.status.to_string() },
        took: delivery.took_ms,
        error: delivery.error.clone(),
        answer: delivery.answer.clone(),
    }
}
