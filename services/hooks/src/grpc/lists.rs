//! What lists are asked for: filters, and the names that page tokens are bound to. A name holds all that the question says but
//! its page, so that a token of one list continues no other.

use chrono::{DateTime, Utc};
use grapnel_domain::{BranchName, Error, id::HookId};
use grapnel_proto::{
    convert::{deployment::state_from_wire, time::datetime, trigger::decision_from_wire},
    hooks::v1::{ListDeploymentsRequest, ListProjectsRequest, ListTriggersRequest},
};
use prost_types::Timestamp;

use super::convert::{deployment_id, hook_id, project_ref};
use crate::store::{
    deployments::DeploymentFilter,
    ledger::TriggerFilter,
    projects::{ProjectFilter, ProjectRef},
};

/// The most characters that are searched for: more than any name has.
const SEARCH_LIMIT: usize = 100;

/// A question for a list.
pub struct Asked<Filter> {
    /// What its page tokens are bound to.
    pub list: String,
    /// What it lets pass.
    pub filter: Filter,
}

/// Reads which projects to list.
///
/// # Errors
/// A field is wrong.
pub fn projects(request: &ListProjectsRequest) -> Result<Asked<ProjectFilter>, Error> {
    let search = request.search.clone();
    if search.chars().count() > SEARCH_LIMIT {
        let description = format!("must have at most {SEARCH_LIMIT} characters");
        return Err(Error::invalid_field("search", description));
    }
    if search.contains('\0') {
        return Err(Error::invalid_field("search", "must not contain the character NUL"));
    }
    let until = time("until", request.until.as_ref())?;
    let list = format!("projects {} {search:?}", named(until));
    Ok(Asked { list, filter: ProjectFilter { search, until } })
}

/// Reads which deployments to list.
///
/// # Errors
/// A field is wrong.
pub fn deployments(request: &ListDeploymentsRequest) -> Result<Asked<DeploymentFilter>, Error> {
    let filter = DeploymentFilter {
        state: state_from_wire(request.state).map_err(|error| Error::invalid_field("state", error))?,
        hook: optional_hook(&request.hook_id)?,
        branch: optional_branch(&request.branch)?,
        until: time("until", request.until.as_ref())?,
    };
    let ListDeploymentsRequest { project, state, hook_id, branch, .. } = request;
    let until = named(filter.until);
    Ok(Asked { list: format!("deployments {project:?} {state} {hook_id} {until} {branch:?}"), filter })
}

/// Reads which triggers to list.
///
/// # Errors
/// A field is wrong.
pub fn triggers(request: &ListTriggersRequest) -> Result<Asked<TriggerFilter>, Error> {
    let decision = decision_from_wire(request.decision);
    let filter = TriggerFilter {
        hook: optional_hook(&request.hook_id)?,
        deployment: match request.deployment_id.as_str() {
            "" => None,
            text => Some(deployment_id(text)?),
        },
        decision: decision.map_err(|error| Error::invalid_field("decision", error))?,
        since: time("since", request.since.as_ref())?,
        until: time("until", request.until.as_ref())?,
    };
    let ListTriggersRequest { project, hook_id, deployment_id, decision, .. } = request;
    let (since, until) = (named(filter.since), named(filter.until));
    let list = format!("triggers {project:?} {decision} {since} {until} {hook_id},{deployment_id}");
    Ok(Asked { list, filter })
}

/// Reads how a request names a project where none is all of them.
///
/// # Errors
/// As [`project_ref`].
pub fn one_or_all(text: &str) -> Result<Option<ProjectRef>, Error> {
    if text.is_empty() { Ok(None) } else { project_ref(text).map(Some) }
}

/// Reads a branch that may be left out.
///
/// # Errors
/// It is no name of a branch.
pub fn optional_branch(text: &str) -> Result<Option<BranchName>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    BranchName::parse(text).map(Some).map_err(|error| Error::invalid_field("branch", error))
}

fn optional_hook(text: &str) -> Result<Option<HookId>, Error> {
    if text.is_empty() { Ok(None) } else { hook_id(text).map(Some) }
}

/// Reads a time that may be left out: one of the years that a timestamp may have (google/protobuf/timestamp.proto).
fn time(field: &str, given: Option<&Timestamp>) -> Result<Option<DateTime<Utc>>, Error> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let Some(given) = given else {
        return Ok(None);
    };
    let read = datetime(Some(given)).filter(|at| YEARS.contains(&at.timestamp()));
    read.map(Some).ok_or_else(|| Error::invalid_field(field, "is no time that the calendar has"))
}

fn named(at: Option<DateTime<Utc>>) -> String {
    at.map(|at| format!("{}.{}", at.timestamp(), at.timestamp_subsec_nanos())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use grapnel_domain::Reason;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn whatever_is_asked_otherwise_is_another_list() {
        let (hook, deployment) = ("hook_01h455vb4pex5vsknk084sn02q", "dpl_01h455vb4pex5vsknk084sn02q");
        let all = ListDeploymentsRequest::default();
        let of_deployments = [
            all.clone(),
            ListDeploymentsRequest { project: "site".into(), ..all.clone() },
            ListDeploymentsRequest { state: 4, ..all.clone() },
            ListDeploymentsRequest { hook_id: hook.into(), ..all.clone() },
            ListDeploymentsRequest { branch: "site".into(), ..all.clone() },
            ListDeploymentsRequest { until: at(4), ..all },
        ];
        let all = ListProjectsRequest::default();
        let of_projects = [
            all.clone(),
            ListProjectsRequest { search: "4.0".into(), ..all.clone() },
            ListProjectsRequest { until: at(4), ..all },
        ];
        let all = ListTriggersRequest::default();
        let of_triggers = [
            all.clone(),
            ListTriggersRequest { project: "site".into(), ..all.clone() },
            ListTriggersRequest { hook_id: hook.into(), ..all.clone() },
            ListTriggersRequest { deployment_id: deployment.into(), ..all.clone() },
            ListTriggersRequest { decision: 4, ..all.clone() },
            ListTriggersRequest { since: at(4), ..all.clone() },
            ListTriggersRequest { until: at(4), ..all },
        ];
        let mut names: Vec<String> = Vec::new();
        names.extend(of_deployments.iter().map(|request| deployments(request).unwrap().list));
        names.extend(of_projects.iter().map(|request| projects(request).unwrap().list));
        names.extend(of_triggers.iter().map(|request| triggers(request).unwrap().list));
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn what_cannot_be_asked_for_is_named() {
        let field = |refused: Error| {
            assert_eq!(refused.reason, Reason::InvalidRequest);
            refused.violations[0].field.clone()
        };
        for seconds in [i64::MAX, i64::MIN, -62_135_596_801, 253_402_300_800] {
            let request = ListDeploymentsRequest { until: at(seconds), ..Default::default() };
            assert_eq!(deployments(&request).map(|_| ()).map_err(field), Err("until".to_owned()));
            let request = ListTriggersRequest { since: at(seconds), ..Default::default() };
            assert_eq!(triggers(&request).map(|_| ()).map_err(field), Err("since".to_owned()));
        }
        let request = ListDeploymentsRequest { branch: "--all".into(), ..Default::default() };
        assert_eq!(deployments(&request).map(|_| ()).map_err(field), Err("branch".to_owned()));
        for search in ["x".repeat(101), "\0".to_owned()] {
            let request = ListProjectsRequest { search, ..Default::default() };
            assert_eq!(projects(&request).map(|_| ()).map_err(field), Err("search".to_owned()));
        }
    }
}
