//! Lists of deployments.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Json, extract::RawQuery};
use form_urlencoded::parse;
use futures_util::{StreamExt as _, stream};
use grapnel_domain::{BranchName, Error, Reason};
use grapnel_proto::hooks::v1::{self as wire, DeploymentState, ListDeploymentsRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Refused,
    asked::Asked,
    caller::Caller,
    deployment::{Deployment, meta, shape},
    paging::{Given, Made, Pagination, Window, page},
    project,
    status::{State, Target},
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// How many projects are asked for at once.
const AT_ONCE: usize = 8;

/// How many conditions on `meta` a query may have.
const CONDITIONS: usize = 16;

/// Which deployments are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only those of this project, by its id or name.
    #[param(min_length = 1)]
    project_id: Option<String>,
    /// The same by another name.
    #[param(min_length = 1)]
    app: Option<String>,
    /// Only those in one of these states, with commas between them.
    #[param(
        pattern = "^(BUILDING|ERROR|INITIALIZING|QUEUED|READY|CANCELED)(,(BUILDING|ERROR|INITIALIZING|QUEUED|READY|CANCELED))*$"
    )]
    state: Option<String>,
    /// Only those for this.
    #[param(inline)]
    target: Option<Target>,
    /// Only those of this branch.
    #[param(min_length = 1)]
    branch: Option<String>,
    /// Only those of this commit.
    #[param(min_length = 1)]
    sha: Option<String>,
    /// `until`, as older callers call it.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    from: Option<i64>,
}

/// A page of deployments.
#[derive(Serialize, ToSchema)]
pub struct DeploymentsAnswer {
    /// Newest first.
    deployments: Vec<Deployment>,
    pagination: Pagination,
}

/// What is asked for, as it is looked at.
struct Filter {
    project: Option<String>,
    states: Option<Vec<State>>,
    target: Option<Target>,
    branch: Option<String>,
    sha: Option<String>,
    meta: Vec<(String, String)>,
}

impl Filter {
    fn read(which: Which, query: &str) -> Result<Self, Error> {
        let project = which.project_id.or(which.app);
        for (name, value) in [("projectId", &project), ("branch", &which.branch), ("sha", &which.sha)] {
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(Error::invalid_field(name, "must not be empty"));
            }
        }
        let meta: Vec<_> = parse(query.as_bytes())
            .filter_map(|(name, value)| Some((name.strip_prefix("meta-")?.to_owned(), value.into_owned())))
            .collect();
        if meta.len() > CONDITIONS {
            return Err(Error::invalid_field("meta-…", format!("may stand there {CONDITIONS} times")));
        }
        let states = which.state.map(|states| read_states(&states)).transpose()?;
        Ok(Self { project, states, target: which.target, branch: which.branch, sha: which.sha, meta })
    }

    /// Production is a branch, where the project is known and no other branch is asked for.
    fn narrow(&mut self, project: &wire::Project) {
        if self.target == Some(Target::Production) && self.branch.is_none() {
            self.branch = Some(project.production_branch.clone());
            self.target = None;
        }
    }

    /// Whether the hooks service looks at all of it.
    fn is_nothing_more(&self) -> bool {
        self.sha.is_none()
            && self.meta.is_empty()
            && self.target.is_none()
            && self.states.as_ref().is_none_or(|_| self.only_state() != DeploymentState::Unspecified)
    }

    /// The state to ask for, where there is one only and the hooks service has one word for it.
    fn only_state(&self) -> DeploymentState {
        match self.states.as_deref() {
            Some([State::Building]) => DeploymentState::Building,
            Some([State::Ready]) => DeploymentState::Ready,
            Some([State::Error]) => DeploymentState::Error,
            Some([State::Canceled]) => DeploymentState::Canceled,
            _ => DeploymentState::Unspecified,
        }
    }

    fn lets_pass(&self, Listed { deployment: it, project }: &Listed) -> bool {
        let known = meta(it);
        let target =
            if it.branch == project.production_branch { Target::Production } else { Target::Preview };
        self.states.as_ref().is_none_or(|states| states.contains(&State::from(it.state())))
            && self.target.is_none_or(|wanted| wanted == target)
            && self.sha.as_ref().is_none_or(|sha| *sha == it.commit)
            && self.meta.iter().all(|(name, value)| known.get(name) == Some(value))
    }
}

fn read_states(text: &str) -> Result<Vec<State>, Error> {
    let read = |word: &str| {
        State::read(word).ok_or_else(|| {
            Error::invalid_field(
                "state",
                "must be BUILDING, ERROR, INITIALIZING, QUEUED, READY or CANCELED, or several with commas between",
            )
        })
    };
    let states: Vec<_> = text.split(',').map(read).collect::<Result<_, _>>()?;
    Ok(states.into_iter().flatten().collect())
}

/// Lists deployments of a project, or of all of the team's projects, newest first.
///
/// Beside what is named here, `meta-<name>=<value>` asks for those that have this in their `meta`.
#[utoipa::path(
    get,
    path = "/v6/deployments",
    tag = "deployments",
    operation_id = "getDeployments",
    params(Window, Which),
    responses((status = 200, description = "A page of deployments.", body = DeploymentsAnswer), Refused),
    security(("key" = []))
)]
pub async fn list(
    caller: Caller,
    Asked(window): Asked<Window>,
    Asked(which): Asked<Which>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeploymentsAnswer>, HttpError> {
    let until = window.until.or(which.from);
    let window = Window { until, ..window }.checked()?;
    let mut filter = Filter::read(which, query.as_deref().unwrap_or_default())?;
    let projects = Projects::default();
    if let Some(named) = &filter.project {
        let project = project::read(&caller, named).await?;
        filter.narrow(&project);
        projects.add(project);
    }
    let request = ListDeploymentsRequest {
        project: filter.project.clone().unwrap_or_default(),
        state: filter.only_state().into(),
        branch: filter.branch.clone().unwrap_or_default(),
        until: window.until(),
        ..Default::default()
    };
    // Nothing is of what cannot be a branch.
    if filter.branch.as_ref().is_some_and(|branch| BranchName::parse(branch).is_err()) {
        let pagination = Pagination { count: 0, next: None, prev: None };
        return Ok(Json(DeploymentsAnswer { deployments: Vec::new(), pagination }));
    }
    let give = |page_size, page_token| {
        let request = ListDeploymentsRequest { page_size, page_token, ..request.clone() };
        give(&caller, &projects, request)
    };
    let (found, pagination) =
        page(&window, filter.is_nothing_more(), give, |it| filter.lets_pass(it)).await?;
    let shaped = found.into_iter().map(|it| shape(&caller, &it.project, it.deployment));
    Ok(Json(DeploymentsAnswer { deployments: shaped.collect(), pagination }))
}

/// A deployment with its project.
struct Listed {
    deployment: wire::Deployment,
    project: Arc<wire::Project>,
}

impl Made for Listed {
    fn made(&self) -> i64 {
        self.deployment.made()
    }
}

/// The projects of the deployments of a list, each read once.
#[derive(Default)]
struct Projects(Mutex<HashMap<String, Arc<wire::Project>>>);

impl Projects {
    fn add(&self, project: wire::Project) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(project.id.clone(), Arc::new(project));
    }

    fn of(&self, deployment: &wire::Deployment) -> Option<Arc<wire::Project>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&deployment.project_id).cloned()
    }

    /// Reads those of them that are not known yet. One that was deleted meanwhile stays unknown.
    async fn learn(&self, caller: &Caller, of: &[wire::Deployment]) -> Result<(), Error> {
        let unknown: BTreeSet<_> =
            of.iter().filter(|it| self.of(it).is_none()).map(|it| it.project_id.clone()).collect();
        let reads = unknown.into_iter().map(|id| async move { project::read(caller, &id).await });
        let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
        while let Some(read) = reads.next().await {
            match read {
                Err(error) if error.reason == Reason::ProjectNotFound => {}
                read => self.add(read?),
            }
        }
        Ok(())
    }
}

/// Gives a page of the list, with the projects. The deployments of a project that was deleted meanwhile are gone with it.
async fn give(caller: &Caller, projects: &Projects, request: ListDeploymentsRequest) -> Given<Listed> {
    let page = answered(caller.calls.hooks().list_deployments(request)).await?;
    projects.learn(caller, &page.deployments).await?;
    let listed = page
        .deployments
        .into_iter()
        .filter_map(|deployment| Some(Listed { project: projects.of(&deployment)?, deployment }));
    Ok((listed.collect(), page.next_page_token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(query: &str) -> Which {
        axum::extract::Query::<Which>::try_from_uri(&format!("/?{query}").parse().unwrap()).unwrap().0
    }

    fn filter(query: &str) -> Result<Filter, Error> {
        Filter::read(which(query), query)
    }

    fn listed(state: DeploymentState) -> Listed {
        let deployment = wire::Deployment {
            state: state.into(),
            branch: "main".into(),
            commit: "c0ffee".into(),
            hook_id: "hook_1".into(),
            ..Default::default()
        };
        let project = wire::Project { production_branch: "main".into(), ..Default::default() };
        Listed { deployment, project: Arc::new(project) }
    }

    #[test]
    fn one_state_is_asked_for_and_several_are_looked_for() {
        let ready = filter("state=READY").unwrap();
        assert_eq!((ready.only_state(), ready.is_nothing_more()), (DeploymentState::Ready, true));
        // Two states of ours are QUEUED.
        let queued = filter("state=QUEUED").unwrap();
        assert_eq!((queued.only_state(), queued.is_nothing_more()), (DeploymentState::Unspecified, false));
        for (state, expected) in [
            (DeploymentState::Pending, true),
            (DeploymentState::Queued, true),
            (DeploymentState::Error, true),
            (DeploymentState::Ready, false),
        ] {
            let found = filter("state=QUEUED,ERROR").unwrap().lets_pass(&listed(state));
            assert_eq!(found, expected, "{state:?}");
        }
        assert!(!filter("state=INITIALIZING").unwrap().lets_pass(&listed(DeploymentState::Queued)));
        assert!(filter("state=DONE").err().unwrap().message.contains("`state`"));
    }

    #[test]
    fn deployments_are_found_by_what_they_are_made_of_and_what_they_are_for() {
        let it = listed(DeploymentState::Ready);
        for (query, expected) in [
            ("meta-githubCommitSha=c0ffee&meta-deployHookId=hook_1", true),
            ("meta-githubCommitSha=beef", false),
            ("meta-nothing=", false),
            ("sha=c0ffee&target=production", true),
            ("target=preview", false),
            ("target=staging", false),
        ] {
            assert_eq!(filter(query).unwrap().lets_pass(&it), expected, "{query}");
        }
        assert!(filter("projectId=").err().unwrap().message.contains("`projectId`"));
    }

    #[test]
    fn production_of_one_project_is_its_branch() {
        let mut narrowed = filter("projectId=site&target=production").unwrap();
        narrowed.narrow(&wire::Project { production_branch: "main".into(), ..Default::default() });
        assert_eq!((narrowed.branch.as_deref(), narrowed.is_nothing_more()), (Some("main"), true));
    }
}
