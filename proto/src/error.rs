//! How the domain's errors travel over gRPC: the one place that knows both.
//!
//! A status carries `google.rpc.ErrorInfo` (`reason`, the domain `grapnel`, the facts as metadata) and, where
//! fields are wrong, `google.rpc.BadRequest`. The way back goes by the reason; a status without one (a proxy's, the
//! transport's) becomes what its code can mean to a caller.

use std::collections::HashMap;

use grapnel_domain::{Error, ErrorCode, FieldViolation, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of our reasons, in the sense of `google.rpc.ErrorInfo`.
const ERROR_DOMAIN: &str = "grapnel";

/// Returns the gRPC code for a group of reasons.
pub fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::AlreadyExists => Code::AlreadyExists,
        ErrorCode::Gone | ErrorCode::LimitReached | ErrorCode::FailedPrecondition => Code::FailedPrecondition,
        ErrorCode::ResourceExhausted => Code::ResourceExhausted,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::Internal => Code::Internal,
    }
}

/// Turns an error into what a caller gets. The inside cause stays here.
pub fn to_status(error: &Error) -> Status {
    let mut details = ErrorDetails::new();
    let facts: HashMap<_, _> = error.facts.clone().into_iter().collect();
    details.set_error_info(error.reason.as_str(), ERROR_DOMAIN, facts);
    for violation in &error.violations {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    Status::with_error_details(grpc_code(error.code()), &error.message, details)
}

/// Reads an error back from what another process answered.
///
/// `away` is the reason to give when the process did not answer at all.
pub fn from_status(status: &Status, away: Reason) -> Error {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
    let known = info.and_then(|info| info.reason.parse::<Reason>().ok());
    let Some(reason) = known else {
        return without_reason(status, away);
    };
    let mut error = Error::new(reason, status.message());
    error.facts = info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default();
    error.violations = details
        .bad_request()
        .map(|request| request.field_violations.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|v| FieldViolation { field: v.field.clone(), description: v.description.clone() })
        .collect();
    error
}

/// A status that is not ours says by its code whether the other side is away or something is broken.
fn without_reason(status: &Status, away: Reason) -> Error {
    // What broke below gRPC was said by nobody: the connection failed, in one of many ways.
    if std::error::Error::source(status).is_some() {
        return Error::new(away, unreachable_message(away)).because(status.to_string());
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted => {
            Error::new(away, unreachable_message(away)).because(status.to_string())
        }
        Code::Unauthenticated => Error::new(Reason::KeyInvalid, status.message()),
        Code::PermissionDenied => Error::new(Reason::ScopeMissing, status.message()),
        Code::InvalidArgument | Code::OutOfRange => Error::new(Reason::InvalidRequest, status.message()),
        Code::Ok
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Error::internal(status.to_string()),
    }
}

fn unreachable_message(away: Reason) -> &'static str {
    match away {
        Reason::ExecutorUnavailable => "the executor does not answer",
        Reason::HooksUnavailable => "the hooks service does not answer",
        _ => "the service does not answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let sent = Error::new(*reason, "outside text").with_fact("limit", 5).because("inside text");
            let status = to_status(&sent);
            assert_eq!(status.code(), grpc_code(reason.code()));
            let received = from_status(&status, Reason::HooksUnavailable);
            assert_eq!((received.reason, received.message.as_str()), (*reason, "outside text"));
            assert_eq!(received.facts["limit"], "5");
        }
    }

    #[test]
    fn wrong_fields_survive_the_wire() {
        let sent = Error::invalid_field("branch", "must not begin with `-`");
        assert_eq!(from_status(&to_status(&sent), Reason::HooksUnavailable).violations, sent.violations);
    }

    #[test]
    fn the_inside_cause_does_not_travel() {
        let status = to_status(&Error::internal("password=hunter2"));
        assert!(!format!("{status:?}").contains("hunter2"));
        assert!(!String::from_utf8_lossy(status.details()).contains("hunter2"));
    }

    #[test]
    fn a_broken_connection_means_that_the_other_side_is_away() {
        let error = from_status(&Status::unavailable("tcp connect error"), Reason::ExecutorUnavailable);
        assert_eq!(error.reason, Reason::ExecutorUnavailable);
        let error = from_status(&Status::unimplemented("what?"), Reason::ExecutorUnavailable);
        assert_eq!(error.reason, Reason::Internal);
    }
}
