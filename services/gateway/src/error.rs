//! How errors look over HTTP: the one place that knows.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use grapnel_domain::{Error, ErrorCode, Reason};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// How many seconds to wait before trying again when something is away.
pub const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// An error as an HTTP answer.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// What says when to come back, where there were too many requests.
    limited: Option<Limited>,
}

/// A limit that was reached. The headers are those of the IETF's draft on RateLimit fields.
#[derive(Debug)]
struct Limited {
    limit: String,
    seconds: String,
}

impl HttpError {
    /// An address where nothing is.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    /// A method that the address does not have.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this address does not have this method",
        )
    }

    /// What HTTP itself refuses, before anybody is asked.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), limited: None }
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let (status, code) = status_and_code(error.reason);
        if status.is_server_error() {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(reason = %error.reason, cause, "a request failed");
        }
        let fact = |name: &str| error.facts.get(name).cloned();
        let limited = fact("retry_after_seconds")
            .map(|seconds| Limited { limit: fact("limit_per_minute").unwrap_or_default(), seconds });
        Self { status, code, message: error.message, limited }
    }
}

/// Returns the status that a reason has over HTTP.
pub fn status_of(reason: Reason) -> StatusCode {
    status_and_code(reason).0
}

/// Says what a reason is over HTTP. The second part is what programs look at.
fn status_and_code(reason: Reason) -> (StatusCode, &'static str) {
    match reason {
        Reason::HookPaused => return (StatusCode::FORBIDDEN, "hook_paused"),
        Reason::MethodRefused => return (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        _ => {}
    }
    match reason.code() {
        ErrorCode::InvalidArgument => (StatusCode::BAD_REQUEST, "invalid_request"),
        ErrorCode::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthorized"),
        ErrorCode::PermissionDenied => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorCode::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorCode::Gone => (StatusCode::GONE, "gone"),
        ErrorCode::AlreadyExists => (StatusCode::CONFLICT, "conflict"),
        ErrorCode::LimitReached => (StatusCode::CONFLICT, "limit_reached"),
        ErrorCode::FailedPrecondition => (StatusCode::CONFLICT, "conflict"),
        ErrorCode::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
        ErrorCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, Json(body)).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Some(Limited { limit, seconds }) = self.limited {
            for (name, value) in [
                ("retry-after", seconds.as_str()),
                ("ratelimit-limit", limit.as_str()),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", seconds.as_str()),
            ] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    response.headers_mut().insert(name, value);
                }
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_status_and_code() {
        let table: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| {
                let (status, code) = status_and_code(*reason);
                format!("{reason:<22} {} {code}", status.as_u16())
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }
}
