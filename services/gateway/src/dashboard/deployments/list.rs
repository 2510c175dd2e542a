//! `/projects/{project}`: what was deployed, the newest first.

use askama::Template;
use axum::{extract::Path, response::Response};
use grapnel_domain::{deployment::State, scope::Scope};
use grapnel_proto::{
    convert::deployment::state_to_wire,
    hooks::v1::{
        GetProjectRequest, Hook, ListAddressesRequest, ListDeploymentsRequest, ListDeploymentsResponse,
        ListHooksRequest, Project,
    },
};
use http::StatusCode;

use super::{plot::Plot, view::Row};
use crate::{
    caller::Caller,
    dashboard::{
        components::{Empty, Pager},
        forms::{Asked, Fields},
        links,
        page::{self, Frame, Tab},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
};

/// How many deployments a page shows.
const PAGE: i32 = 50;

/// The states to choose from.
const STATES: [State; 6] =
    [State::Pending, State::Queued, State::Building, State::Ready, State::Error, State::Canceled];

#[derive(Template)]
#[template(path = "deployments/list.html")]
struct ListPage {
    frame: Frame,
    /// What the project is called in addresses.
    key: String,
    production_branch: String,
    filter: Filter,
    branches: Vec<String>,
    hooks: Vec<Hook>,
    rows: Vec<Row>,
    plot: Option<Plot>,
    empty: Empty,
    pager: Pager,
    /// Where changes are told; none on the later pages of the list, which do not change.
    live: Option<String>,
    may_deploy: bool,
}

/// What is looked for. Every part may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A state's name.
    pub state: String,
    /// A branch.
    pub branch: String,
    /// A hook's id.
    pub hook: String,
}

impl Filter {
    /// Reads it from an address. A state that is none is no wish.
    pub fn read(asked: &Fields) -> Self {
        let state = asked.get("state");
        let state = STATES.iter().find(|known| known.as_str() == state).map(ToString::to_string);
        Self {
            state: state.unwrap_or_default(),
            branch: asked.get("branch").to_owned(),
            hook: asked.get("hook").to_owned(),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn pairs(&self) -> [(&'static str, &str); 3] {
        [("state", &self.state), ("branch", &self.branch), ("hook", &self.hook)]
    }

    /// Returns the number by which contracts name the state.
    pub fn wire_state(&self) -> i32 {
        self.state.parse::<State>().map(|state| state_to_wire(state).into()).unwrap_or_default()
    }
}

/// `GET /projects/{project}`
pub async fn show(
    signed_in: SignedIn,
    Path(name): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let filter = Filter::read(&asked);
    let caller = &signed_in.caller;
    let project = project(caller, &name).await?;
    let (answer, hooks, branches) = tokio::try_join!(
        deployments(caller, &project, &filter, asked.get("page")),
        hooks(caller, &project),
        branches(caller, &project),
    )?;
    let key = links::key_of(&project).to_owned();
    let mut branches: Vec<String> = branches;
    branches.extend(hooks.iter().map(|hook| hook.branch.clone()));
    branches.push(project.production_branch.clone());
    branches.sort();
    branches.dedup();
    let first = asked.get("page").is_empty();
    let list = ListPage {
        frame: Frame::of(&signed_in, "Deployments")
            .in_project(&project, Tab::Deployments)
            .after(&asked)
            .with_script("live.js"),
        rows: answer.deployments.iter().map(|it| Row::of(&key, it, signed_in.now)).collect(),
        plot: Plot::of(&answer.deployments),
        empty: nothing(&key, &filter, first, signed_in.may(Scope::Write)),
        pager: pager(&key, &filter, &asked, &answer.next_page_token),
        live: first.then(|| links::with_query(&links::project_events(&key), &filter.pairs())),
        may_deploy: signed_in.may(Scope::Deploy),
        production_branch: project.production_branch.clone(),
        key,
        filter,
        branches,
        hooks,
    };
    Ok(page::shown(StatusCode::OK, &list))
}

/// Reads a project by what it is called in addresses.
pub async fn project(caller: &Caller, name: &str) -> Result<Project, PageError> {
    let request = GetProjectRequest { project: name.to_owned() };
    Ok(answered(caller.hooks().get_project(request)).await?.project.unwrap_or_default())
}

/// Lists a page of a project's deployments.
pub async fn deployments(
    caller: &Caller,
    project: &Project,
    filter: &Filter,
    page_token: &str,
) -> Result<ListDeploymentsResponse, PageError> {
    let request = ListDeploymentsRequest {
        project: project.id.clone(),
        state: filter.wire_state(),
        hook_id: filter.hook.clone(),
        branch: filter.branch.clone(),
        page_size: PAGE,
        page_token: page_token.to_owned(),
        until: None,
    };
    Ok(answered(caller.hooks().list_deployments(request)).await?)
}

async fn hooks(caller: &Caller, project: &Project) -> Result<Vec<Hook>, PageError> {
    let request = ListHooksRequest { project: project.id.clone(), page_size: 200, ..Default::default() };
    Ok(answered(caller.hooks().list_hooks(request)).await?.hooks)
}

/// Returns branches that have been deployed: those that changed last.
async fn branches(caller: &Caller, project: &Project) -> Result<Vec<String>, PageError> {
    let request = ListAddressesRequest { project: project.id.clone(), page_size: 100, ..Default::default() };
    let answer = answered(caller.addresses().list_addresses(request)).await?;
    Ok(answer.addresses.into_iter().map(|address| address.branch).collect())
}

fn nothing(key: &str, filter: &Filter, first: bool, may_write: bool) -> Empty {
    if !filter.is_empty() || !first {
        let text = "No deployment is as you ask for.".to_owned();
        return Empty {
            title: "Nothing found",
            text,
            action: Some((links::project(key), "Show all deployments")),
        };
    }
    Empty {
        title: "Nothing was deployed yet",
        text: "Deploy it now, or make a deploy hook and request its URL.".to_owned(),
        action: may_write.then(|| (links::settings_section(key, "hooks"), "Deploy hooks")),
    }
}

fn pager(key: &str, filter: &Filter, asked: &Fields, next: &str) -> Pager {
    let page = |token: &str| {
        let [state, branch, hook] = filter.pairs();
        links::with_query(&links::project(key), &[state, branch, hook, ("page", token)])
    };
    Pager {
        first: (!asked.get("page").is_empty()).then(|| page("")),
        next: (!next.is_empty()).then(|| page(next)),
    }
}
