//! The team's projects.

mod create;
mod events;
mod list;
mod row;

use axum::{
    Router,
    response::Redirect,
    routing::{get, post},
};

use super::links;
use crate::server::Interface;

/// The routes.
pub fn routes() -> Router<Interface> {
    let again = || async { Redirect::to(&links::new_project()) };
    Router::new()
        .route("/projects", get(list::show))
        .route("/projects/events", get(events::stream))
        .route("/projects/new", get(create::begin).post(create::look))
        // A browser that comes back here has no form any more.
        .route("/projects/new/create", post(create::create).get(again))
}
