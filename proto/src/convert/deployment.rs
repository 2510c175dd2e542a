//! States, failures and cancellations of deployments.

use grapnel_domain::{
    deployment::{CancelReason, State},
    failure::{Failure, FailureCode, Fault},
};

use crate::hooks::v1 as wire;

/// Writes a state.
pub fn state_to_wire(state: State) -> wire::DeploymentState {
    match state {
        State::Pending => wire::DeploymentState::Pending,
        State::Queued => wire::DeploymentState::Queued,
        State::Building => wire::DeploymentState::Building,
        State::Ready => wire::DeploymentState::Ready,
        State::Error => wire::DeploymentState::Error,
        State::Canceled => wire::DeploymentState::Canceled,
    }
}

/// Reads a state; `None` where none is named.
///
/// # Errors
/// The number is none of a state's.
pub fn state_from_wire(number: i32) -> Result<Option<State>, String> {
    let state = wire::DeploymentState::try_from(number)
        .map_err(|_| format!("{number} is not the number of a deployment's state"))?;
    Ok(match state {
        wire::DeploymentState::Unspecified => None,
        wire::DeploymentState::Pending => Some(State::Pending),
        wire::DeploymentState::Queued => Some(State::Queued),
        wire::DeploymentState::Building => Some(State::Building),
        wire::DeploymentState::Ready => Some(State::Ready),
        wire::DeploymentState::Error => Some(State::Error),
        wire::DeploymentState::Canceled => Some(State::Canceled),
    })
}

/// Writes a failure.
pub fn failure_to_wire(failure: &Failure) -> wire::Failure {
    let fault = match failure.fault() {
        Fault::User => wire::Fault::User,
        Fault::Infrastructure => wire::Fault::Infrastructure,
    };
    wire::Failure {
        code: failure.code.as_str().to_owned(),
        fault: fault.into(),
        message: failure.message.clone(),
    }
}

/// Reads a failure. A code from a newer release counts as ours: it is tried again, and told with its name.
pub fn failure_from_wire(failure: &wire::Failure) -> Failure {
    match failure.code.parse::<FailureCode>() {
        Ok(code) => Failure::new(code, &failure.message),
        Err(_) => Failure::new(FailureCode::Internal, format!("{}: {}", failure.code, failure.message)),
    }
}

/// Writes why a deployment was canceled.
pub fn cancellation_to_wire(reason: CancelReason) -> wire::Cancellation {
    let (reason, superseded_by) = match reason {
        CancelReason::Superseded { by } => (wire::CancelReason::Superseded, by.to_string()),
        CancelReason::User => (wire::CancelReason::User, String::new()),
        CancelReason::DisabledByConfig => (wire::CancelReason::DisabledByConfig, String::new()),
        CancelReason::IgnoredByCommand => (wire::CancelReason::IgnoredByCommand, String::new()),
        CancelReason::HookRevoked => (wire::CancelReason::HookRevoked, String::new()),
        CancelReason::ProjectDeleted => (wire::CancelReason::ProjectDeleted, String::new()),
    };
    wire::Cancellation { reason: reason.into(), superseded_by }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_failures_survive_the_wire() {
        for state in State::ALL {
            assert_eq!(state_from_wire(state_to_wire(state).into()), Ok(Some(state)));
        }
        assert_eq!(state_from_wire(0), Ok(None));
        assert!(state_from_wire(99).is_err());
        for code in FailureCode::ALL {
            let failure = Failure::new(*code, "why");
            assert_eq!(failure_from_wire(&failure_to_wire(&failure)), failure);
        }
    }
}
