//! One project of the list.

use askama::{Template, filters::HtmlSafe};
use chrono::{DateTime, Utc};
use grapnel_proto::hooks::v1::{Deployment, Project};

use crate::dashboard::{
    components::{Moment, StateBadge, web_address},
    links,
};

/// A project, and how it stands.
#[derive(Template)]
#[template(path = "projects/row.html")]
pub struct Row {
    /// The element's id: the project's.
    pub id: String,
    name: String,
    link: String,
    branch: String,
    site_url: Option<String>,
    latest: Option<Latest>,
}

impl HtmlSafe for Row {}

/// Its newest deployment.
struct Latest {
    link: String,
    state: StateBadge,
    what: String,
    at: Option<Moment>,
}

impl Row {
    /// Takes a project and its newest deployment.
    pub fn of(project: &Project, latest: Option<&Deployment>, now: DateTime<Utc>) -> Self {
        let key = links::key_of(project);
        let what = |it: &Deployment| {
            let said = if it.title.is_empty() { &it.commit_message } else { &it.title };
            if said.is_empty() { it.branch.clone() } else { said.clone() }
        };
        Self {
            id: project.id.clone(),
            name: project.name.clone(),
            link: links::project(key),
            branch: project.production_branch.clone(),
            // Before the first deployment nothing is there.
            site_url: latest.and(web_address(&project.site_url)).map(str::to_owned),
            latest: latest.map(|it| Latest {
                link: links::deployment(key, &it.id),
                state: StateBadge::of(it),
                what: what(it),
                at: Moment::of(it.created_at.as_ref(), now),
            }),
        }
    }
}
