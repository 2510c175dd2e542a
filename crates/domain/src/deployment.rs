//! The states of a deployment, and the one table of their transitions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::DeploymentId;

/// How many times an infrastructure fault may end an attempt before it ends the deployment.
pub const MAX_ATTEMPTS: u32 = 3;

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Stored durably; its version is not known yet.
    Pending,
    /// Its version is known; it waits for a slot of an executor.
    Queued,
    /// One executor holds the lease and runs its steps.
    Building,
    /// Its artifact is published and immutable.
    Ready,
    /// It ended with a failure that says whose fault it was.
    Error,
    /// It ended with a reason that is nobody's fault.
    Canceled,
}

impl State {
    /// All states, in the order in which a deployment passes through them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Queued, Self::Building, Self::Ready, Self::Error, Self::Canceled];

    /// Returns the state's name as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Queued => "QUEUED",
            Self::Building => "BUILDING",
            Self::Ready => "READY",
            Self::Error => "ERROR",
            Self::Canceled => "CANCELED",
        }
    }

    /// Tells whether the state never changes again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Queued | Self::Building => false,
            Self::Ready | Self::Error | Self::Canceled => true,
        }
    }

    /// Returns the state that follows when `transition` happens.
    ///
    /// # Errors
    /// The table has no such transition. The caller acted on an old view of the deployment, or is wrong.
    pub fn apply(self, transition: Transition) -> Result<Self, IllegalTransition> {
        TABLE
            .iter()
            .find(|(from, by, _)| *from == self && *by == transition)
            .map(|(_, _, to)| *to)
            .ok_or(IllegalTransition { from: self, transition })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a state of a deployment"))
    }
}

/// What happens to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// Its branch was resolved to a commit.
    Resolve,
    /// An executor accepted it.
    Start,
    /// The executor published its artifact.
    Publish,
    /// It failed, and is not tried again.
    Fail,
    /// Its attempt was lost to an infrastructure fault, and another one follows.
    Retry,
    /// It was ended on request or by a rule.
    Cancel,
}

impl Transition {
    /// All transitions.
    pub const ALL: [Self; 6] =
        [Self::Resolve, Self::Start, Self::Publish, Self::Fail, Self::Retry, Self::Cancel];
}

/// Every transition there is. What is not here cannot happen.
const TABLE: &[(State, Transition, State)] = &[
    (State::Pending, Transition::Resolve, State::Queued),
    (State::Pending, Transition::Fail, State::Error),
    (State::Pending, Transition::Cancel, State::Canceled),
    (State::Queued, Transition::Start, State::Building),
    (State::Queued, Transition::Fail, State::Error),
    (State::Queued, Transition::Cancel, State::Canceled),
    (State::Building, Transition::Publish, State::Ready),
    (State::Building, Transition::Fail, State::Error),
    (State::Building, Transition::Retry, State::Queued),
    (State::Building, Transition::Cancel, State::Canceled),
];

/// A transition that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a deployment that is {from} cannot {transition:?}")]
pub struct IllegalTransition {
    /// The state that was left as it is.
    pub from: State,
    /// What was asked of it.
    pub transition: Transition,
}

/// Why a deployment was canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", tag = "reason")]
pub enum CancelReason {
    /// A newer deployment of the same hook took its place.
    Superseded {
        /// The newer one.
        by: DeploymentId,
    },
    /// Somebody asked for it.
    User,
    /// The repository's configuration switches deployments off.
    DisabledByConfig,
    /// The repository's ignore command said that there is nothing to build.
    IgnoredByCommand,
    /// Its hook was revoked while it waited.
    HookRevoked,
    /// Its project was deleted.
    ProjectDeleted,
}

impl CancelReason {
    /// Returns the reason's name as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Superseded { .. } => "SUPERSEDED",
            Self::User => "USER",
            Self::DisabledByConfig => "DISABLED_BY_CONFIG",
            Self::IgnoredByCommand => "IGNORED_BY_COMMAND",
            Self::HookRevoked => "HOOK_REVOKED",
            Self::ProjectDeleted => "PROJECT_DELETED",
        }
    }
}

/// Says what follows an attempt that ended with an infrastructure fault: another one, or the end.
pub fn after_lost_attempt(attempt: u32) -> Transition {
    if attempt < MAX_ATTEMPTS { Transition::Retry } else { Transition::Fail }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_transition_table_is_the_one_that_was_agreed() {
        let mut table = format!("{:<10}", "");
        for transition in Transition::ALL {
            table += &format!("{:<10}", format!("{transition:?}"));
        }
        for state in State::ALL {
            table += &format!("\n{:<10}", state.as_str());
            for transition in Transition::ALL {
                let to = state.apply(transition).map_or("-", State::as_str);
                table += &format!("{to:<10}");
            }
        }
        let table: Vec<_> = table.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(table.join("\n"), @r"
                  Resolve   Start     Publish   Fail      Retry     Cancel
        PENDING   QUEUED    -         -         ERROR     -         CANCELED
        QUEUED    -         BUILDING  -         ERROR     -         CANCELED
        BUILDING  -         -         READY     ERROR     QUEUED    CANCELED
        READY     -         -         -         -         -         -
        ERROR     -         -         -         -         -         -
        CANCELED  -         -         -         -         -         -
        ");
    }

    proptest! {
        #[test]
        fn a_final_state_never_changes(steps in proptest::collection::vec(0_usize..6, 0..40)) {
            let mut state = State::Pending;
            let mut ended = None;
            for step in steps {
                if let Ok(next) = state.apply(Transition::ALL[step]) {
                    prop_assert!(ended.is_none(), "{ended:?} became {next}");
                    state = next;
                    ended = state.is_final().then_some(state);
                }
            }
        }
    }

    #[test]
    fn every_state_reads_back() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("DONE".parse::<State>().is_err());
    }

    #[test]
    fn the_third_lost_attempt_is_the_last() {
        assert_eq!(
            [1, 2, 3].map(after_lost_attempt),
            [Transition::Retry, Transition::Retry, Transition::Fail]
        );
    }
}
