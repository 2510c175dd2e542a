//! What all pages have around them.

use askama::Template;
use axum::response::{Html, IntoResponse as _, Response};
use grapnel_proto::hooks::v1::Project;
use http::StatusCode;

use super::{
    asset,
    forms::Fields,
    links, notice,
    session::{SignedIn, Who},
};

/// What a project's pages share: its name, and which of its tabs is open.
#[derive(Clone, Debug)]
pub struct ProjectTabs {
    /// What the project is called in addresses.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Where it is served; empty where it is not.
    pub site_url: String,
    /// The open tab.
    pub tab: Tab,
}

impl ProjectTabs {
    /// Tells whether the deployments are open.
    pub fn is_deployments(&self) -> bool {
        self.tab == Tab::Deployments
    }

    /// Tells whether the settings are open.
    pub fn is_settings(&self) -> bool {
        self.tab == Tab::Settings
    }
}

/// A tab of a project's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Its deployments, and each of them.
    Deployments,
    /// Its settings.
    Settings,
}

/// What stands around a page's own content. Templates take it as `frame`.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What the page is called.
    pub title: String,
    /// Who is signed in; nobody on the page to sign in at and on pages of errors.
    pub who: Option<Who>,
    /// The project, on its pages.
    pub project: Option<ProjectTabs>,
    /// What was done just before.
    pub notice: Option<&'static str>,
    /// Whether it is about the team's keys.
    about_keys: bool,
    scripts: Vec<&'static str>,
}

impl Frame {
    /// Starts a page for whoever is not, or may not be, signed in.
    pub fn signed_out(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            who: None,
            project: None,
            notice: None,
            about_keys: false,
            scripts: Vec::new(),
        }
    }

    /// Starts a page.
    pub fn of(signed_in: &SignedIn, title: impl Into<String>) -> Self {
        Self { who: Some(signed_in.who()), scripts: vec!["times.js"], ..Self::signed_out(title) }
    }

    /// Makes it a page of a project.
    #[must_use]
    pub fn in_project(mut self, project: &Project, tab: Tab) -> Self {
        let (key, name) = (links::key_of(project).to_owned(), project.name.clone());
        self.project = Some(ProjectTabs { key, name, site_url: project.site_url.clone(), tab });
        self
    }

    /// Makes it a page of the team's keys.
    #[must_use]
    pub fn of_keys(mut self) -> Self {
        self.about_keys = true;
        self
    }

    /// Tells whether it is a page of the team's keys.
    pub fn is_keys(&self) -> bool {
        self.about_keys
    }

    /// Adds what the address says was done just before.
    #[must_use]
    pub fn after(mut self, asked: &Fields) -> Self {
        self.notice = notice::text(asked.get(notice::PARAMETER));
        self
    }

    /// Adds a script of the list in [`asset`].
    #[must_use]
    pub fn with_script(mut self, name: &'static str) -> Self {
        self.scripts.push(name);
        self
    }

    /// Returns the addresses of the scripts.
    pub fn scripts(&self) -> Vec<String> {
        self.scripts.iter().map(|name| asset::url(name)).collect()
    }

    /// Returns the address of a file of ours.
    pub fn asset(&self, name: &str) -> String {
        asset::url(name)
    }

    /// The token that each form carries as `csrf`.
    pub fn csrf(&self) -> &str {
        self.who.as_ref().map_or("", |who| who.csrf.as_str())
    }
}

/// Answers with a page.
pub fn shown(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "this page cannot be written; the log says more\n")
                .into_response()
        }
    }
}
