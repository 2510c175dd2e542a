//! `/projects/{project}/settings/addresses`: what each branch's address serves.

use askama::Template;
use axum::{Router, extract::Path, response::Response, routing::get};
use grapnel_proto::hooks::v1::{Address, ListAddressesRequest};
use http::StatusCode;

use super::section::{Nav, Opened, Section};
use crate::{
    dashboard::{
        components::{Empty, Moment, Pager, web_address},
        forms::Asked,
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// How many addresses a page shows.
const PAGE: i32 = 50;

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new().route("/projects/{project}/settings/addresses", get(show))
}

#[derive(Template)]
#[template(path = "settings/addresses.html")]
struct AddressesPage {
    frame: Frame,
    nav: Nav,
    rows: Vec<Row>,
    empty: Empty,
    pager: Pager,
}

/// One branch's addresses.
struct Row {
    branch: String,
    /// Each with where it leads; `None` where it is no web address.
    urls: Vec<(String, Option<String>)>,
    deployment: String,
    deployment_link: String,
    held: bool,
    at: Option<Moment>,
}

/// `GET /projects/{project}/settings/addresses`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Addresses).await?;
    let request = ListAddressesRequest {
        project: opened.project.id.clone(),
        branch: String::new(),
        page_size: PAGE,
        page_token: asked.get("page").to_owned(),
    };
    let answer = answered(opened.signed_in.caller.addresses().list_addresses(request)).await?;
    let more = |token: &str| links::with_query(&opened.link(), &[("page", token)]);
    let empty = Empty {
        title: "No address yet",
        text: "Each branch with a deployment that is ready has an address, which serves its newest."
            .to_owned(),
        action: Some((links::project(opened.key()), "Show the deployments")),
    };
    let page = AddressesPage {
        frame: opened.frame(&asked),
        nav: opened.nav(),
        rows: answer.addresses.iter().map(|address| row(&opened, address)).collect(),
        empty,
        pager: Pager {
            first: (!asked.get("page").is_empty()).then(|| more("")),
            next: (!answer.next_page_token.is_empty()).then(|| more(&answer.next_page_token)),
        },
    };
    Ok(page::shown(StatusCode::OK, &page))
}

fn row(opened: &Opened, address: &Address) -> Row {
    let urls = [&address.project_url, &address.url].into_iter().filter(|url| !url.is_empty());
    Row {
        branch: address.branch.clone(),
        urls: urls.map(|url| (url.clone(), web_address(url).map(str::to_owned))).collect(),
        deployment: address.deployment_id.clone(),
        deployment_link: links::deployment(opened.key(), &address.deployment_id),
        held: address.held,
        at: Moment::of(address.updated_at.as_ref(), opened.signed_in.now),
    }
}
