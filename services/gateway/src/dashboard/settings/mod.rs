//! A project's settings.

use axum::Router;

use crate::server::Interface;

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new()
}
