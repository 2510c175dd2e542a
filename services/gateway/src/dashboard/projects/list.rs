//! `/projects`: what the team has, and how each stands.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};
use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{Deployment, ListProjectsRequest, ListProjectsResponse, Project};
use http::StatusCode;

use crate::{
    dashboard::{
        components::{Empty, Moment, Pager, StateBadge, web_address},
        forms::{Asked, Fields},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered,
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
    may_create: bool,
}

/// One project.
#[derive(Template)]
#[template(path = "projects/row.html")]
struct Row {
    id: String,
    name: String,
    link: String,
    branch: String,
    site_url: Option<String>,
    latest: Option<Latest>,
}

impl askama::filters::HtmlSafe for Row {}

/// Its newest deployment.
struct Latest {
    link: String,
    state: StateBadge,
    what: String,
    at: Option<Moment>,
}

/// `GET /projects`
pub async fn show(signed_in: SignedIn, Asked(asked): Asked) -> Result<Response, PageError> {
    let answer = ask(&signed_in, &asked).await?;
    let search = asked.get("search").to_owned();
    let may_create = signed_in.may(Scope::Write);
    let list = ListPage {
        frame: Frame::of(&signed_in, "Projects").after(&asked),
        rows: rows(&answer, signed_in.now),
        empty: nothing(&search, may_create),
        pager: pager(&asked, &answer.next_page_token),
        may_create,
        search,
    };
    Ok(page::shown(StatusCode::OK, &list))
}

async fn ask(signed_in: &SignedIn, asked: &Fields) -> Result<ListProjectsResponse, PageError> {
    let request = ListProjectsRequest {
        page_size: PAGE,
        page_token: asked.get("page").to_owned(),
        search: asked.get("search").to_owned(),
        until: None,
    };
    Ok(answered(signed_in.caller.hooks().list_projects(request)).await?)
}

fn rows(answer: &ListProjectsResponse, now: DateTime<Utc>) -> Vec<Row> {
    let latest = |project: &Project| answer.latest_deployments.iter().find(|it| it.project_id == project.id);
    answer.projects.iter().map(|project| row(project, latest(project), now)).collect()
}

fn row(project: &Project, latest: Option<&Deployment>, now: DateTime<Utc>) -> Row {
    let key = links::key_of(project);
    Row {
        id: project.id.clone(),
        name: project.name.clone(),
        link: links::project(key),
        branch: project.production_branch.clone(),
        site_url: web_address(&project.site_url).map(str::to_owned),
        latest: latest.map(|it| Latest {
            link: links::deployment(key, &it.id),
            state: StateBadge::of(it),
            what: if it.commit_message.is_empty() { it.title.clone() } else { it.commit_message.clone() },
            at: Moment::of(it.created_at.as_ref(), now),
        }),
    }
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
        text: "A project is a git repository and the way to build it.".to_owned(),
        action: may_create.then(|| (links::new_project(), "New project")),
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
