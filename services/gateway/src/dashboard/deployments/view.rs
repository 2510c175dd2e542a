//! How a deployment looks in lists, and the words that its pages share.

use askama::{Template, filters::HtmlSafe};
use chrono::{DateTime, Utc};
use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{CancelReason, Deployment},
};
use prost_types::Timestamp;

use crate::dashboard::{
    components::{Moment, StateBadge},
    links,
};

/// One deployment as a row of a list.
#[derive(Template)]
#[template(path = "deployments/row.html")]
pub struct Row {
    id: String,
    link: String,
    state: StateBadge,
    what: String,
    /// Why it is so, where its state does not say it all.
    why: Option<&'static str>,
    superseded_by: Option<String>,
    hook: Option<String>,
    triggers: u32,
    promoted: bool,
    branch: String,
    commit: String,
    took: String,
    at: Option<Moment>,
}

impl HtmlSafe for Row {}

impl Row {
    /// Shows a deployment of a project, which `project` names in addresses.
    pub fn of(project: &str, deployment: &Deployment, now: DateTime<Utc>) -> Self {
        let superseding = deployment.cancellation.as_ref().map(|it| it.superseded_by.as_str());
        Self {
            id: deployment.id.clone(),
            link: links::deployment(project, &deployment.id),
            state: StateBadge::of(deployment),
            what: what(deployment),
            why: why_canceled(deployment),
            superseded_by: superseding.filter(|id| !id.is_empty()).map(|id| links::deployment(project, id)),
            hook: hook_of(deployment),
            triggers: deployment.trigger_count,
            promoted: deployment.promoted,
            branch: deployment.branch.clone(),
            commit: short(&deployment.commit).to_owned(),
            took: took(deployment, now),
            at: Moment::of(deployment.created_at.as_ref(), now),
        }
    }
}

/// Says what a deployment is called: by its trigger, by its commit, or by its id.
pub fn what(deployment: &Deployment) -> String {
    [&deployment.title, &deployment.commit_message, &deployment.id]
        .into_iter()
        .find(|text| !text.trim().is_empty())
        .cloned()
        .unwrap_or_default()
}

/// Returns the name of the hook that asked for a deployment.
pub fn hook_of(deployment: &Deployment) -> Option<String> {
    (!deployment.hook_id.is_empty()).then(|| deployment.hook_name.clone())
}

/// Returns as much of a commit's hash as people compare.
pub fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// Says how long the build took, or goes on; empty before it began.
pub fn took(deployment: &Deployment, now: DateTime<Utc>) -> String {
    let Some(began) = datetime(deployment.building_at.as_ref()) else { return String::new() };
    let ended = datetime(deployment.finished_at.as_ref()).unwrap_or(now);
    duration((ended - began).num_milliseconds())
}

/// Says how long something took.
pub fn duration(milliseconds: i64) -> String {
    let milliseconds = milliseconds.max(0);
    let seconds = milliseconds / 1_000;
    match seconds {
        0..10 => format!("{seconds}.{} s", milliseconds % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Says how long it was from one moment to another; empty where one of them is not known.
pub fn between(from: Option<&Timestamp>, to: Option<&Timestamp>) -> String {
    match (datetime(from), datetime(to)) {
        (Some(from), Some(to)) => duration((to - from).num_milliseconds()),
        _ => String::new(),
    }
}

/// Says why a deployment was canceled.
pub fn why_canceled(deployment: &Deployment) -> Option<&'static str> {
    Some(match deployment.cancellation.as_ref()?.reason() {
        CancelReason::Superseded => "a newer deployment took its place",
        CancelReason::User => "somebody ended it",
        CancelReason::DisabledByConfig => "the repository's configuration switches deployments off",
        CancelReason::IgnoredByCommand => "the ignore command says that there is nothing to build",
        CancelReason::HookRevoked => "its hook was revoked",
        CancelReason::ProjectDeleted => "its project was deleted",
        CancelReason::Unspecified => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_exactly_as_anybody_wants_them() {
        for (milliseconds, told) in [
            (-5, "0.0 s"),
            (0, "0.0 s"),
            (2_345, "2.3 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_720_000, "1 h 2 min"),
        ] {
            assert_eq!(duration(milliseconds), told);
        }
    }

    #[test]
    fn a_row_escapes_what_comes_from_elsewhere_and_marks_hooks() {
        let evil = "<script>alert(1)</script>";
        let deployment = Deployment {
            id: "dpl_1".into(),
            hook_id: "hook_1".into(),
            hook_name: evil.into(),
            branch: evil.into(),
            commit_message: evil.into(),
            trigger_count: 3,
            ..Deployment::default()
        };
        let row = Row::of("site", &deployment, DateTime::UNIX_EPOCH).render().unwrap();
        assert!(!row.contains("<script") && row.matches("&#60;script&#62;").count() >= 3, "{row}");
        assert!(row.contains("3 triggers"), "{row}");
    }
}
