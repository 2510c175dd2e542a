//! `/projects/{project}/settings/hooks`: the project's deploy hooks.

mod actions;
mod create;
mod list;
mod manage;
mod options;

use axum::{
    Router,
    extract::Path,
    routing::{get, post},
};
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{GetHookRequest, Hook};

pub use self::options::thousandths;
use super::section::{Opened, Section};
use crate::{
    dashboard::page_error::PageError, hooks_client::answered_to_people as answered, server::Interface,
};

/// The routes.
pub fn routes() -> Router<Interface> {
    let again = |Path((project, _)): Path<(String, String)>| super::back(Section::Hooks, project);
    Router::new()
        .route("/projects/{project}/settings/hooks", get(list::show))
        .route("/projects/{project}/settings/hooks/new", get(create::begin).post(create::create))
        .route("/projects/{project}/settings/hooks/{hook}", get(manage::show).post(manage::save))
        .route("/projects/{project}/settings/hooks/{hook}/pause", post(actions::pause).get(again))
        .route("/projects/{project}/settings/hooks/{hook}/resume", post(actions::resume).get(again))
        .route("/projects/{project}/settings/hooks/{hook}/rotate", post(manage::rotate).get(again))
        .route("/projects/{project}/settings/hooks/{hook}/revoke", post(actions::revoke).get(again))
}

/// Reads a hook of the project; one of another project is not found at its address.
async fn hook_of(opened: &Opened, hook: &str) -> Result<Hook, PageError> {
    let request = GetHookRequest { hook_id: hook.to_owned() };
    let answer = answered(opened.signed_in.caller.hooks().get_hook(request)).await?;
    let hook = answer.hook.filter(|hook| hook.project_id == opened.project.id);
    Ok(hook.ok_or_else(|| Error::new(Reason::HookNotFound, "the project has no such hook"))?)
}
