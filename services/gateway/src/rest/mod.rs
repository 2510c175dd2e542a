//! The interface that existing tools already speak: the shapes of Vercel's public API, for callers with a key.
//!
//! [`any_version`] leads every version of an address to its one route.

#![allow(unused_qualifications, reason = "the macros that describe the routes write paths in full")]

mod addresses;
mod answer;
mod asked;
mod caller;
mod deploy_hooks;
mod deployment;
mod deployments;
mod event;
mod events;
mod new_deployment;
mod new_project;
mod openapi;
mod paging;
mod project;
mod projects;
mod status;
mod teams;
mod user;
mod versions;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, patch, post},
};

pub use self::versions::any_version;
use crate::server::Interface;

/// How large a body may be.
const BODY: usize = 64 * 1024;

/// Returns the routes, and the description of them.
pub fn routes() -> Router<Interface> {
    Router::new()
        .route("/openapi.json", get(openapi::get))
        .route("/v2/user", get(user::get))
        .route("/v2/teams", get(teams::list))
        .route("/v2/teams/{team}", get(teams::get))
        .route("/v9/projects", get(projects::list).post(new_project::add))
        .route("/v9/projects/{project}", get(projects::get).delete(projects::remove))
        .route("/v2/projects/{project}/deploy-hooks", post(deploy_hooks::create))
        .route("/v2/projects/{project}/deploy-hooks/{hook}", delete(deploy_hooks::revoke))
        .route("/v10/projects/{project}/promote/{deployment}", post(addresses::promote))
        .route("/v9/projects/{project}/rollback/{deployment}", post(addresses::rollback))
        .route("/v6/deployments", get(deployments::list))
        .route("/v13/deployments", post(new_deployment::create))
        .route("/v13/deployments/{deployment}", get(deployment::get).delete(deployment::remove))
        .route("/v12/deployments/{deployment}/cancel", patch(deployment::cancel))
        .route("/v11/deployments/{deployment}/builds", get(deployment::builds))
        .route("/v2/deployments/{deployment}/aliases", get(addresses::of_deployment))
        .route("/v3/deployments/{deployment}/events", get(events::read))
        .layer(DefaultBodyLimit::max(BODY))
}
