//! A project's settings, one file or folder for each section, and the team's keys.
//!
//! A section is opened by [`section::Opened`]; its forms are made of [`input::Input`]s by a [`form::Form`], which keeps what
//! was typed and puts what was refused beside it. What is shown once is the answer to the form that made it
//! ([`once`]), so that no address leads to it.

mod addresses;
mod build_settings;
mod caches;
mod commit_statuses;
mod credentials;
mod endpoints;
mod form;
mod general;
mod hooks;
mod input;
mod keys;
mod once;
mod section;
mod triggers;
mod variables;

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};

use self::section::Section;
use super::{links, notice};
use crate::server::Interface;

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new()
        .route("/projects/{project}/settings", get(first))
        .merge(general::routes())
        .merge(hooks::routes())
        .merge(triggers::routes())
        .merge(variables::routes())
        .merge(credentials::routes())
        .merge(endpoints::routes())
        .merge(addresses::routes())
        .merge(caches::routes())
        .merge(commit_statuses::routes())
        .merge(keys::routes())
}

/// `GET /projects/{project}/settings`
async fn first(Path(project): Path<String>) -> Redirect {
    Redirect::to(&links::settings_section(&project, Section::General.word()))
}

/// Leads from a form to a page, which says what was done.
fn done(address: &str, what: &str) -> Response {
    Redirect::to(&links::with_query(address, &[(notice::PARAMETER, what)])).into_response()
}

/// `GET` of an address that only a form leads to: a browser that comes back there gets to the section.
async fn back(section: Section, project: String) -> Redirect {
    Redirect::to(&links::settings_section(&project, section.word()))
}
