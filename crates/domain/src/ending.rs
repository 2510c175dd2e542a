//! What the end of an attempt makes of its deployment, and whose word on it counts.

use crate::{
    deployment::{CancelReason, State, Transition, after_lost_attempt},
    event::{Outcome, StateChange},
    failure::{Failure, FailureCode, Fault},
};

/// Who works on a deployment, and on which of its attempts: what others say of it does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// Who has the lease.
    pub by: Option<&'a str>,
    /// The attempt that was begun last.
    pub attempt: u32,
}

impl Held<'_> {
    /// Tells whether what `owner` says of an attempt counts. Whoever slept past its lease, or tells of an attempt that was
    /// given up, changes nothing.
    pub fn counts(self, owner: &str, attempt: u32) -> bool {
        self.by == Some(owner) && self.attempt == attempt
    }
}

/// Says what follows from how an attempt ended. Whoever asked for the end gets it, unless the artifact was there first.
pub fn after_attempt(
    attempt: u32,
    outcome: Outcome,
    asked: Option<CancelReason>,
) -> (Transition, StateChange) {
    match (outcome, asked) {
        (Outcome::Ready { .. }, _) => {
            (Transition::Publish, StateChange { state: State::Ready, failure: None, canceled: None })
        }
        (Outcome::Canceled | Outcome::Skipped { .. } | Outcome::Failed { .. }, Some(reason))
        | (Outcome::Skipped { reason }, None) => {
            let canceled = Some(reason);
            (Transition::Cancel, StateChange { state: State::Canceled, failure: None, canceled })
        }
        (Outcome::Failed { failure }, None) if failure.fault() == Fault::User => {
            failed(Transition::Fail, failure)
        }
        (Outcome::Failed { failure }, None) => failed(after_lost_attempt(attempt), failure),
        // Nobody asked: the executor stopped.
        (Outcome::Canceled, None) => {
            let failure = Failure::new(FailureCode::ExecutorLost, "the executor stopped during the build");
            failed(after_lost_attempt(attempt), failure)
        }
    }
}

fn failed(transition: Transition, failure: Failure) -> (Transition, StateChange) {
    let state = if transition == Transition::Retry { State::Queued } else { State::Error };
    (transition, StateChange { state, failure: Some(failure), canceled: None })
}
