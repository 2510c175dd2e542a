//! `/projects`: what the team has, and how each stands.

use askama::Template;
use axum::response::Response;
use grapnel_domain::{Error, scope::Scope};
use grapnel_proto::hooks::v1::{Deployment, ListProjectsRequest, ListProjectsResponse, Project};
use http::StatusCode;

use super::row::Row;
use crate::{
    dashboard::{
        components::{Empty, Pager},
        forms::{Asked, Fields},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
};

/// How many projects a page shows.
const PAGE: i32 = 50;

#[derive(Template)]
#[template(path = "projects/list.html")]
struct ListPage {
    frame: Frame,
    search: String,
    rows: Vec<Row>,
    empty: Empty,
    pager: Pager,
    /// Where what changes is told.
    events: String,
    may_create: bool,
}

/// `GET /projects`
pub async fn show(signed_in: SignedIn, Asked(asked): Asked) -> Result<Response, PageError> {
    let answer = ask(&signed_in, &asked).await?;
    let (search, page) = (asked.get("search"), asked.get("page"));
    let may_create = signed_in.may(Scope::Write);
    let rows =
        with_latest(&answer).map(|(project, latest)| Row::of(project, latest, signed_in.now)).collect();
    let list = ListPage {
        frame: Frame::of(&signed_in, "Projects").after(&asked).with_script("live.js"),
        rows,
        empty: nothing(search, may_create),
        pager: pager(&asked, &answer.next_page_token),
        events: links::project_list_events(&[("search", search), ("page", page)]),
        may_create,
        search: search.to_owned(),
    };
    Ok(page::shown(StatusCode::OK, &list))
}

/// Asks for the projects that a page of the list shows.
///
/// # Errors
/// What the service answers.
pub async fn ask(signed_in: &SignedIn, asked: &Fields) -> Result<ListProjectsResponse, Error> {
    let request = ListProjectsRequest {
        page_size: PAGE,
        page_token: asked.get("page").to_owned(),
        search: asked.get("search").to_owned(),
        until: None,
    };
    answered(signed_in.caller.hooks().list_projects(request)).await
}

/// Returns each project with its newest deployment.
pub fn with_latest(answer: &ListProjectsResponse) -> impl Iterator<Item = (&Project, Option<&Deployment>)> {
    let latest = |project: &Project| answer.latest_deployments.iter().find(|it| it.project_id == project.id);
    answer.projects.iter().map(move |project| (project, latest(project)))
}

fn nothing(search: &str, may_create: bool) -> Empty {
    if !search.is_empty() {
        let text = format!("No project's name contains “{search}”.");
        return Empty {
            title: "Nothing found",
            text,
            action: Some((links::projects(), "Show all projects")),
        };
    }
    Empty {
        title: "No project yet",
        text: "A project is a git repository and the way to build it. Once there is one, a deploy hook of it builds it \
               whenever somebody requests the hook's URL."
            .to_owned(),
        action: may_create.then(|| (links::new_project(), "Create the first project")),
    }
}

fn pager(asked: &Fields, next: &str) -> Pager {
    let search = asked.get("search");
    let page = |token: &str| links::with_query(&links::projects(), &[("search", search), ("page", token)]);
    Pager {
        first: (!asked.get("page").is_empty()).then(|| page("")),
        next: (!next.is_empty()).then(|| page(next)),
    }
}
