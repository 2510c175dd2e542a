//! The dashboard: pages for people, on the interface's own origin.
//!
//! | address | page |
//! |---|---|
//! | `/` | leads to the projects |
//! | `/login`, `/logout` | sign in with an API key, sign out |
//! | `/projects` | the team's projects; `/projects/events` tells what changes in them |
//! | `/projects/new` | a new project, in two steps |
//! | `/projects/{project}` | a project: its deployments |
//! | `/projects/{project}/deployments/{id}` | one deployment |
//! | `/projects/{project}/settings`, `/projects/{project}/settings/{section}` | a project's settings |
//! | `/keys` | the team's API keys |
//! | `/assets/{name}` | style, scripts and pictures, which are part of the program |
//!
//! Each address is made in [`links`] and nowhere else. A page takes [`session::SignedIn`], a form's target
//! [`forms::Posted`], which has looked at the form's token before the handler runs; what goes wrong is a
//! [`page_error::PageError`]. Everything works by links and forms; scripts add what is live. Templates escape all that they
//! are given: what is a piece of page itself says so by its type ([`components`]).

mod asset;
mod components;
mod deployments;
mod forms;
mod guard;
mod links;
mod live;
mod notice;
mod page;
mod page_error;
mod projects;
mod session;
mod settings;
mod sign_in;

use axum::{
    Router, middleware,
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use http::{HeaderMap, Uri};
use tower_http::catch_panic::CatchPanicLayer;

use self::page_error::PageError;
use crate::{server::Interface, status_page};

/// Returns the routes of all pages.
pub fn routes() -> Router<Interface> {
    Router::new()
        .route("/", get(|| async { Redirect::to(&links::projects()) }))
        .merge(sign_in::routes())
        .merge(projects::routes())
        .merge(deployments::routes())
        .merge(settings::routes())
        .method_not_allowed_fallback(|| async { PageError::method_not_allowed() })
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            PageError::from(grapnel_domain::Error::internal("a page's handler panicked")).into_response()
        }))
        .layer(middleware::from_fn(guard::guarded))
        .route("/assets/{name}", get(asset::serve))
}

/// Tells whether whoever asks for an address where nothing is wants a page: a person's browser, outside the programs'
/// interfaces.
pub fn is_for_people(uri: &Uri, headers: &HeaderMap) -> bool {
    let versioned =
        uri.path().strip_prefix("/v").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    !versioned && status_page::is_wanted(headers)
}

/// Answers where nothing is, with a page.
pub fn not_found() -> Response {
    guard::secured(PageError::not_found().into_response())
}
