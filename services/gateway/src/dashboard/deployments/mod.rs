//! A project's deployments, and each of them.

use axum::Router;

use crate::server::Interface;

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new()
}
