//! `/projects/{project}/settings/endpoints`: who hears of the project's deployments.

mod manage;

use askama::Template;
use axum::{
    Router,
    extract::Path,
    response::Response,
    routing::{get, post},
};
use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{
    CreateEndpointRequest, Endpoint, EndpointDisabledReason, ListEndpointsRequest,
};

use super::{
    back,
    form::{Alert, Form},
    input::Input,
    once::{self, Once},
    section::{Lacking, Nav, Opened, Section},
};
use crate::{
    dashboard::{
        components::{Empty, Moment, Pager},
        forms::{Asked, Fields, Posted},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// How many endpoints a page shows.
const PAGE: i32 = 50;

/// What an endpoint can hear of.
const TYPES: [(&str, &str); 5] = [
    ("deployment.queued", "A deployment waits"),
    ("deployment.building", "A deployment builds"),
    ("deployment.ready", "A deployment is ready"),
    ("deployment.error", "A deployment failed"),
    ("deployment.canceled", "A deployment was canceled"),
];

/// The routes.
pub fn routes() -> Router<Interface> {
    let again = |Path((project, _)): Path<(String, String)>| back(Section::Endpoints, project);
    Router::new()
        .route("/projects/{project}/settings/endpoints", get(show).post(create))
        .route("/projects/{project}/settings/endpoints/{endpoint}", get(manage::show))
        .route("/projects/{project}/settings/endpoints/{endpoint}/enable", post(manage::enable).get(again))
        .route("/projects/{project}/settings/endpoints/{endpoint}/disable", post(manage::disable).get(again))
        .route("/projects/{project}/settings/endpoints/{endpoint}/rotate", post(manage::rotate).get(again))
        .route("/projects/{project}/settings/endpoints/{endpoint}/test", post(manage::test).get(again))
        .route("/projects/{project}/settings/endpoints/{endpoint}/delete", post(manage::delete).get(again))
        .route(
            "/projects/{project}/settings/endpoints/{endpoint}/redeliver",
            post(manage::redeliver).get(again),
        )
}

#[derive(Template)]
#[template(path = "settings/endpoints.html")]
struct EndpointsPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    rows: Vec<Row>,
    empty: Empty,
    pager: Pager,
    alert: Alert,
    inputs: Vec<Input>,
    types: Vec<Input>,
    create: String,
}

/// One endpoint.
struct Row {
    url: String,
    link: String,
    description: String,
    whose: &'static str,
    types: String,
    state: String,
    created: Option<Moment>,
}

/// `GET /projects/{project}/settings/endpoints`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Endpoints).await?;
    page_of(&opened, &Form::default(), &asked).await
}

/// `POST /projects/{project}/settings/endpoints`: the one answer that has the secret.
async fn create(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Endpoints).await?;
    let request = CreateEndpointRequest {
        project: opened.project.id.clone(),
        url: fields.get("url").to_owned(),
        types: fields.all("types").map(str::to_owned).collect(),
        description: fields.get("description").to_owned(),
        secret: String::new(),
    };
    match answered(opened.signed_in.caller.endpoints().create_endpoint(request)).await {
        Ok(created) => {
            let id = created.endpoint.unwrap_or_default().id;
            Ok(secret_page(&opened, "The endpoint is created".to_owned(), created.secret, &id))
        }
        Err(error) => page_of(&opened, &Form::refused(fields, error)?, &Fields::default()).await,
    }
}

/// Shows an endpoint's secret, once.
fn secret_page(opened: &Opened, title: String, secret: String, id: &str) -> Response {
    let text =
        "The endpoint checks with it that what it hears is from here, in the form of Standard Webhooks.";
    let once = Once {
        title,
        what: "the secret of the endpoint",
        secret,
        text: vec![text.to_owned()],
        example: None,
        on: (opened.link_to(id), "Go to the endpoint"),
    };
    once::shown(opened, once)
}

async fn page_of(opened: &Opened, form: &Form, asked: &Fields) -> Result<Response, PageError> {
    let request = ListEndpointsRequest {
        project: opened.project.id.clone(),
        page_size: PAGE,
        page_token: asked.get("page").to_owned(),
    };
    let answer = answered(opened.signed_in.caller.endpoints().list_endpoints(request)).await?;
    let more = |token: &str| links::with_query(&opened.link(), &[("page", token)]);
    let empty = Empty {
        title: "No endpoint yet",
        text: "An endpoint is an address of yours that hears when a deployment begins and ends.".to_owned(),
        action: None,
    };
    let page = EndpointsPage {
        frame: opened.frame(asked),
        nav: opened.nav(),
        lacking: opened.lacking(Scope::Write),
        rows: answer.endpoints.iter().map(|endpoint| row(opened, endpoint)).collect(),
        empty,
        pager: Pager {
            first: (!asked.get("page").is_empty()).then(|| more("")),
            next: (!answer.next_page_token.is_empty()).then(|| more(&answer.next_page_token)),
        },
        alert: form.alert(),
        inputs: vec![
            form.text("url", "Address", "").required().limit(2_048).hint("Where it hears: https or http."),
            form.text("description", "What it is for", "").limit(200),
        ],
        types: TYPES.map(|(word, called)| form.check_of("types", word, called, false)).into(),
        create: opened.link(),
    };
    Ok(page::shown(form.status(), &page))
}

fn row(opened: &Opened, endpoint: &Endpoint) -> Row {
    Row {
        url: endpoint.url.clone(),
        link: opened.link_to(&endpoint.id),
        description: endpoint.description.clone(),
        whose: if endpoint.project_id.is_empty() { "Team" } else { "Project" },
        types: if endpoint.types.is_empty() { "All".to_owned() } else { endpoint.types.join(", ") },
        state: state(endpoint),
        created: Moment::of(endpoint.created_at.as_ref(), opened.signed_in.now),
    }
}

/// Says whether an endpoint hears, and why not.
fn state(endpoint: &Endpoint) -> String {
    let disabled = match endpoint.disabled_reason() {
        EndpointDisabledReason::Gone => "Disabled: it answered 410",
        EndpointDisabledReason::Failing => "Disabled: nothing came through for five days",
        EndpointDisabledReason::User | EndpointDisabledReason::Unspecified => "Disabled",
    };
    let told = match (&endpoint.disabled_at, &endpoint.failing_since) {
        (Some(_), _) => disabled,
        (None, Some(_)) => "Failing",
        (None, None) => "Enabled",
    };
    told.to_owned()
}
