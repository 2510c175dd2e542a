//! A project's deployments, and each of them.

mod actions;
mod ansi;
mod list;
mod live;
mod page;
mod plot;
mod story;
mod stream;
mod summary;
mod view;

use axum::{
    Router,
    routing::{get, post},
};

use crate::server::Interface;

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new()
        .route("/projects/{project}", get(list::show))
        .route("/projects/{project}/events", get(live::events))
        .route("/projects/{project}/deploy", post(actions::deploy))
        .route("/projects/{project}/deployments/{id}", get(page::show))
        .route("/projects/{project}/deployments/{id}/stream", get(stream::stream))
        .route("/projects/{project}/deployments/{id}/log.txt", get(stream::text))
        .route("/projects/{project}/deployments/{id}/cancel", post(actions::cancel))
        .route("/projects/{project}/deployments/{id}/redeploy", post(actions::redeploy))
        .route("/projects/{project}/deployments/{id}/promote", post(actions::promote))
        .route("/projects/{project}/deployments/{id}/delete", post(actions::delete))
}
