//! The team's projects.

use axum::{Router, routing::get};

use crate::server::Interface;

mod list;

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new().route("/projects", get(list::show))
}
