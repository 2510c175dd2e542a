//! What is said of a commit: that something waits, runs, went well or failed.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    deployment::{CancelReason, State},
    failure::Failure,
    name::{HookName, ProjectName},
};

/// How a commit stands with a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportState {
    /// The deployment waits.
    Pending,
    /// It is built. Most hosts show this as they show what waits; GitLab takes nothing else after it.
    Running,
    /// It went well, or nothing was to be done.
    Success,
    /// It failed.
    Failure,
}

impl ReportState {
    /// All of them, in the order in which they follow each other.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Success, Self::Failure];

    /// Returns the name as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
        }
    }

    /// Tells whether nothing follows it for the same deployment.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Success | Self::Failure => true,
        }
    }
}

impl fmt::Display for ReportState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReportState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not the state of a report"))
    }
}

/// What is said of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it stands.
    pub state: ReportState,
    /// What happened, in one line for people.
    pub description: String,
}

impl Report {
    /// Says what a deployment's state comes to; `None` where nothing is said. `attempt` is the one that runs or ran last,
    /// and `took` how long its build has taken.
    ///
    /// A deployment that was superseded says nothing: the one that took its place has the same commit and speaks for it.
    /// What ended without a result is nobody's failure, so it is a success that says what was not done.
    pub fn of(
        state: State,
        attempt: u32,
        took: Option<Duration>,
        failure: Option<&Failure>,
        canceled: Option<CancelReason>,
    ) -> Option<Self> {
        let (state, description) = match state {
            State::Pending => return None,
            State::Queued if attempt == 0 => (ReportState::Pending, "Queued".to_owned()),
            State::Queued => (ReportState::Running, again(attempt + 1)),
            State::Building if attempt <= 1 => (ReportState::Running, "Building".to_owned()),
            State::Building => (ReportState::Running, again(attempt)),
            State::Ready => (ReportState::Success, ready(took)),
            State::Error => {
                let message = failure.map(|failure| one_line(&failure.message)).unwrap_or_default();
                let message = if message.is_empty() { "The deployment failed".to_owned() } else { message };
                (ReportState::Failure, message)
            }
            State::Canceled => (ReportState::Success, nothing_deployed(canceled?)?.to_owned()),
        };
        Some(Self { state, description })
    }
}

fn again(attempt: u32) -> String {
    format!("Building again (attempt {attempt})")
}

fn ready(took: Option<Duration>) -> String {
    let Some(seconds) = took.map(|took| took.as_secs()) else {
        return "Ready".to_owned();
    };
    match seconds {
        0..120 => format!("Ready in {seconds} s"),
        _ => format!("Ready in {} min {} s", seconds / 60, seconds % 60),
    }
}

/// Says why nothing was deployed; `None` where another deployment says what came of it.
fn nothing_deployed(reason: CancelReason) -> Option<&'static str> {
    match reason {
        CancelReason::Superseded { .. } => None,
        CancelReason::User => Some("Nothing was deployed: somebody ended the deployment"),
        CancelReason::DisabledByConfig => {
            Some("Nothing was deployed: the repository's configuration switches deployments off")
        }
        CancelReason::IgnoredByCommand => {
            Some("Nothing was deployed: the ignore command said that there is nothing to build")
        }
        CancelReason::HookRevoked => Some("Nothing was deployed: the hook was revoked"),
        CancelReason::ProjectDeleted => Some("Nothing was deployed: the project was deleted"),
    }
}

fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control())
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the name under which a project, or one hook of it, speaks about commits.
pub fn context(project: &ProjectName, hook: Option<&HookName>) -> String {
    match hook {
        Some(hook) => format!("grapnel/{project}/{hook}"),
        None => format!("grapnel/{project}"),
    }
}

/// Cuts a text to a number of characters, the last of which says that there was more.
pub fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{deployment::Transition, failure::FailureCode, id::DeploymentId};

    fn of(state: State, attempt: u32) -> Option<Report> {
        Report::of(state, attempt, Some(Duration::from_secs(12)), None, None)
    }

    fn canceled(reason: CancelReason) -> Option<Report> {
        Report::of(State::Canceled, 1, None, None, Some(reason))
    }

    #[test]
    fn every_state_has_its_words() {
        let said = |report: Option<Report>| report.map(|it| format!("{} {}", it.state, it.description));
        let failure = Failure::new(FailureCode::BuildFailed, "`npm run build`\nexited with 1\t");
        let failed = Report::of(State::Error, 1, None, Some(&failure), None);
        for (seen, expected) in [
            (of(State::Pending, 0), None),
            (of(State::Queued, 0), Some("PENDING Queued")),
            (of(State::Building, 1), Some("RUNNING Building")),
            (of(State::Queued, 1), Some("RUNNING Building again (attempt 2)")),
            (of(State::Building, 2), Some("RUNNING Building again (attempt 2)")),
            (of(State::Ready, 1), Some("SUCCESS Ready in 12 s")),
            (failed, Some("FAILURE `npm run build` exited with 1")),
        ] {
            assert_eq!(said(seen).as_deref(), expected);
        }
        let long = Report::of(State::Ready, 1, Some(Duration::from_secs(125)), None, None);
        assert_eq!(said(long).as_deref(), Some("SUCCESS Ready in 2 min 5 s"));
    }

    #[test]
    fn what_ended_without_a_result_is_never_a_failure_and_a_successor_speaks_for_what_it_superseded() {
        assert_eq!(
            canceled(CancelReason::Superseded { by: DeploymentId::from_uuid(uuid::Uuid::nil()) }),
            None
        );
        for reason in [
            CancelReason::User,
            CancelReason::DisabledByConfig,
            CancelReason::IgnoredByCommand,
            CancelReason::HookRevoked,
            CancelReason::ProjectDeleted,
        ] {
            let report = canceled(reason).unwrap();
            assert_eq!(report.state, ReportState::Success, "{reason:?}");
            assert!(report.description.starts_with("Nothing was deployed: "), "{report:?}");
        }
    }

    #[test]
    fn a_context_names_the_project_and_the_hook() {
        let (project, hook) = ("harbour".parse().unwrap(), "Contentful – täglich".parse().unwrap());
        assert_eq!(context(&project, None), "grapnel/harbour");
        assert_eq!(context(&project, Some(&hook)), "grapnel/harbour/Contentful – täglich");
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(shortened("schön", 5), "schön");
        assert_eq!(shortened("schöner", 5), "schö…");
        assert_eq!(shortened("a b c", 3), "a…");
    }

    proptest! {
        #[test]
        fn a_deployment_never_goes_back_from_final_or_from_running(steps in proptest::collection::vec(0_usize..6, 0..40)) {
            let (mut state, mut attempt, mut last) = (State::Pending, 0, None);
            for step in steps {
                let transition = Transition::ALL[step];
                let Ok(next) = state.apply(transition) else { continue };
                attempt += u32::from(next == State::Building);
                state = next;
                let report = Report::of(state, attempt, None, None, Some(CancelReason::User)).unwrap();
                if let Some(last) = last {
                    prop_assert!(!ReportState::is_final(last), "{last} was followed by {}", report.state);
                    prop_assert!(last == ReportState::Pending || report.state != ReportState::Pending);
                }
                last = Some(report.state);
            }
        }

        #[test]
        fn what_is_cut_fits(text: String, limit in 1_usize..300) {
            prop_assert!(shortened(&text, limit).chars().count() <= limit);
        }
    }
}
