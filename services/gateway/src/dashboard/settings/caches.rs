//! `/projects/{project}/settings/caches`: the project's build caches on every executor.

use askama::Template;
use axum::{
    Router,
    extract::Path,
    response::Response,
    routing::{get, post},
};
use grapnel_domain::{Error, ErrorCode, scope::Scope};
use grapnel_proto::hooks::v1::{BuildCache, ListCachesRequest, PurgeCacheRequest};
use http::StatusCode;

use super::{
    back, done,
    section::{Lacking, Nav, Opened, Section},
    triggers::size,
};
use crate::{
    dashboard::{
        components::{Action, Empty, Moment},
        forms::{Asked, Posted},
        page::{self, Frame},
        page_error::{PageError, sentence},
        session::SignedIn,
    },
    error::status_of,
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// The routes.
pub fn routes() -> Router<Interface> {
    let again = |Path(project): Path<String>| back(Section::Caches, project);
    Router::new()
        .route("/projects/{project}/settings/caches", get(show))
        .route("/projects/{project}/settings/caches/purge", post(purge).get(again))
}

#[derive(Template)]
#[template(path = "settings/caches.html")]
struct CachesPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    rows: Vec<Row>,
    /// Why they are not known; empty where they are.
    away: String,
    empty: Empty,
    purge_all: Option<Action>,
}

/// One cache.
struct Row {
    branch: String,
    root_directory: String,
    executor: String,
    shared: bool,
    size: String,
    generation: u64,
    image: String,
    used: Option<Moment>,
    purge: Option<Action>,
}

/// `GET /projects/{project}/settings/caches`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Caches).await?;
    let request = ListCachesRequest { project: opened.project.id.clone() };
    let (caches, away, status) = match answered(opened.signed_in.caller.hooks().list_caches(request)).await {
        Ok(answer) => (answer.caches, String::new(), StatusCode::OK),
        Err(error) if is_away(&error) => (Vec::new(), sentence(&error.message), status_of(error.reason)),
        Err(error) => return Err(error.into()),
    };
    let may = opened.signed_in.may(Scope::Write);
    let empty = Empty {
        title: "No build cache yet",
        text: "A deployment that is ready leaves what it installed for the next one of its branch."
            .to_owned(),
        action: None,
    };
    let page = CachesPage {
        frame: opened.frame(&asked),
        nav: opened.nav(),
        lacking: opened.lacking(Scope::Write),
        rows: caches.iter().map(|cache| row(&opened, cache, may)).collect(),
        away,
        empty,
        purge_all: may.then(|| drop_of(&opened, "")),
    };
    Ok(page::shown(status, &page))
}

fn is_away(error: &Error) -> bool {
    error.code() == ErrorCode::Unavailable
}

/// `POST /projects/{project}/settings/caches/purge`
async fn purge(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Caches).await?;
    let branch = fields.exact("branch").to_owned();
    let request = PurgeCacheRequest { project: opened.project.id.clone(), branch };
    answered(opened.signed_in.caller.hooks().purge_cache(request)).await?;
    Ok(done(&opened.link(), "caches-purged"))
}

fn row(opened: &Opened, cache: &BuildCache, may: bool) -> Row {
    Row {
        branch: cache.branch.clone(),
        root_directory: cache.root_directory.clone(),
        executor: cache.executor.clone(),
        shared: cache.shared,
        size: size(cache.bytes),
        generation: cache.generation,
        image: cache.builder_image.clone(),
        used: Moment::of(cache.used_at.as_ref(), opened.signed_in.now),
        purge: may.then(|| drop_of(opened, &cache.branch)),
    }
}

fn drop_of(opened: &Opened, branch: &str) -> Action {
    let whose =
        if branch.is_empty() { "every branch".to_owned() } else { format!("the branch “{branch}”") };
    Action {
        to: opened.link_to("purge"),
        csrf: opened.signed_in.csrf.clone(),
        label: if branch.is_empty() { "Drop all" } else { "Drop" },
        title: format!("Drop the build caches of {whose}"),
        fields: vec![("branch", branch.to_owned())],
        question: format!(
            "Drop the build caches of {whose}, on every executor? The next build takes longer."
        ),
        grave: true,
    }
}
