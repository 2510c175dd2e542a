//! The sections of the settings, and what each of them has around it.

use askama::{Template, filters::HtmlSafe};
use grapnel_domain::{Error, scope::Scope};
use grapnel_proto::hooks::v1::{GetProjectRequest, Project};

use crate::{
    dashboard::{
        forms::Fields,
        links,
        page::{Frame, Tab},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
};

/// A section of a project's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    General,
    Hooks,
    Triggers,
    Variables,
    Credentials,
    Endpoints,
    Addresses,
    Caches,
    CommitStatuses,
}

impl Section {
    const ALL: [Self; 9] = [
        Self::General,
        Self::Hooks,
        Self::Triggers,
        Self::Variables,
        Self::Credentials,
        Self::Endpoints,
        Self::Addresses,
        Self::Caches,
        Self::CommitStatuses,
    ];

    /// Returns what it is called in addresses.
    pub fn word(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Hooks => "hooks",
            Self::Triggers => "triggers",
            Self::Variables => "variables",
            Self::Credentials => "credentials",
            Self::Endpoints => "endpoints",
            Self::Addresses => "addresses",
            Self::Caches => "caches",
            Self::CommitStatuses => "statuses",
        }
    }

    /// Returns what people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::General => "General",
            Self::Hooks => "Deploy hooks",
            Self::Triggers => "Triggers",
            Self::Variables => "Variables",
            Self::Credentials => "Credentials",
            Self::Endpoints => "Endpoints",
            Self::Addresses => "Addresses",
            Self::Caches => "Build caches",
            Self::CommitStatuses => "Commit statuses",
        }
    }
}

/// A section of a project, opened by somebody.
pub struct Opened {
    /// By whom.
    pub signed_in: SignedIn,
    /// Whose settings they are.
    pub project: Project,
    section: Section,
}

impl Opened {
    /// Reads the project, by its name or id.
    ///
    /// # Errors
    /// What the service answers, as a page.
    pub async fn by(signed_in: SignedIn, project: &str, section: Section) -> Result<Self, PageError> {
        let request = GetProjectRequest { project: project.to_owned() };
        let answer = answered(signed_in.caller.hooks().get_project(request)).await?;
        let project =
            answer.project.ok_or_else(|| Error::internal("the hooks service answered no project"))?;
        Ok(Self { signed_in, project, section })
    }

    /// As [`Opened::by`], for what needs a scope: without it nothing is asked for.
    ///
    /// # Errors
    /// As there, and `SCOPE_MISSING`.
    pub async fn to(
        scope: Scope,
        signed_in: SignedIn,
        project: &str,
        section: Section,
    ) -> Result<Self, PageError> {
        signed_in.needs(scope)?;
        Self::by(signed_in, project, section).await
    }

    /// Starts a page of the section.
    pub fn frame(&self, asked: &Fields) -> Frame {
        self.frame_titled(self.section.title(), asked)
    }

    /// Starts a page of the section with a title of its own.
    pub fn frame_titled(&self, title: impl Into<String>, asked: &Fields) -> Frame {
        Frame::of(&self.signed_in, title).in_project(&self.project, Tab::Settings).after(asked)
    }

    /// Returns the way to the other sections.
    pub fn nav(&self) -> Nav {
        let item = |section: Section| NavItem {
            link: links::settings_section(self.key(), section.word()),
            title: section.title(),
            open: section == self.section,
        };
        Nav { items: Section::ALL.map(item).into() }
    }

    /// Returns what the project is called in addresses.
    pub fn key(&self) -> &str {
        links::key_of(&self.project)
    }

    /// Returns the address of the section.
    pub fn link(&self) -> String {
        links::settings_section(self.key(), self.section.word())
    }

    /// Returns the address of one thing of the section, or of a form of it.
    pub fn link_to(&self, what: &str) -> String {
        links::settings_item(self.key(), self.section.word(), what)
    }

    /// Returns the address of what can be done to one thing of the section.
    pub fn link_to_do(&self, what: &str, action: &str) -> String {
        links::settings_action(self.key(), self.section.word(), what, action)
    }

    /// Says what keeps whoever asks from changing something; `None` where nothing does.
    pub fn lacking(&self, scope: Scope) -> Option<Lacking> {
        Lacking::of(&self.signed_in, scope)
    }
}

/// The way from section to section.
#[derive(Template, Clone, Debug)]
#[template(path = "settings/nav.html")]
pub struct Nav {
    items: Vec<NavItem>,
}

impl HtmlSafe for Nav {}

#[derive(Clone, Debug)]
struct NavItem {
    link: String,
    title: &'static str,
    open: bool,
}

/// In place of what a key may not do: which scope it would take.
#[derive(Template, Clone, Debug)]
#[template(
    source = "<p class=\"notice\">To change something here takes the scope “{{ scope }}”, which the key that you signed in with does not have.</p>",
    ext = "html"
)]
pub struct Lacking {
    scope: &'static str,
}

impl HtmlSafe for Lacking {}

impl Lacking {
    /// Returns it where a scope is missing.
    pub fn of(signed_in: &SignedIn, scope: Scope) -> Option<Self> {
        (!signed_in.may(scope)).then(|| Self { scope: scope.as_str() })
    }
}
