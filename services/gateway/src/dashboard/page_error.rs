//! What keeps a page from being shown, as a page.

use askama::Template;
use axum::response::{IntoResponse, Response};
use grapnel_domain::{Error, ErrorCode, Reason};
use grapnel_proto::error::from_status;
use http::{StatusCode, header};
use tonic::Status;

use super::{
    page::{self, Frame},
    session::SignInFirst,
};
use crate::error::{RETRY_AFTER, status_of};

/// What is shown in a page's place.
#[derive(Debug)]
pub struct PageError {
    status: StatusCode,
    title: &'static str,
    /// What is the matter.
    message: String,
    /// What to do about it.
    advice: &'static str,
    /// Whether there is no session, or none any more.
    sign_in: bool,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    status: u16,
    title: &'static str,
    message: String,
    advice: &'static str,
}

impl PageError {
    fn new(
        status: StatusCode,
        title: &'static str,
        message: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self { status, title, message: message.into(), advice, sign_in: false }
    }

    /// An address where nothing is.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "Not found",
            "There is nothing at this address.",
            "What was here may have been deleted, or renamed.",
        )
    }

    /// A method that the address does not have.
    pub fn method_not_allowed() -> Self {
        let advice = "Go back, and use the links and buttons of the page.";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "Not possible here",
            "This address is not for opening.",
            advice,
        )
    }

    /// A form that did not come from a page of ours, or from a page of another session.
    pub fn forged() -> Self {
        let message = "The form does not belong to your session, so nothing was done.";
        let advice = "Go back, reload the page, and send it again.";
        Self::new(StatusCode::FORBIDDEN, "The page is out of date", message, advice)
    }

    /// A form that is larger than any of ours.
    pub fn too_large() -> Self {
        let advice = "Go back and send less at once.";
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Too large",
            "What was sent is larger than a form may be.",
            advice,
        )
    }

    /// A form that did not come in time, or is none.
    pub fn unreadable() -> Self {
        let advice = "Go back and send it again.";
        Self::new(
            StatusCode::BAD_REQUEST,
            "Not understood",
            "The form did not arrive whole, so nothing was done.",
            advice,
        )
    }

    /// A request that shows no session, or one that has ended.
    pub fn sign_in() -> Self {
        let error = Self::new(StatusCode::SEE_OTHER, "Sign in", "There is no session.", "Sign in.");
        Self { sign_in: true, ..error }
    }
}

impl From<Status> for PageError {
    fn from(status: Status) -> Self {
        from_status(&status, Reason::HooksUnavailable).into()
    }
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        let status = status_of(error.reason);
        if status.is_server_error() {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(reason = %error.reason, cause, "a page cannot be shown");
        }
        let (title, advice) = match error.reason.code() {
            ErrorCode::Unauthenticated => return Self::sign_in(),
            ErrorCode::NotFound => {
                ("Not found", "What was here may have been deleted, or belongs to another team.")
            }
            ErrorCode::Gone => ("Gone", "It was removed, and does not come back."),
            ErrorCode::PermissionDenied => {
                return Self::new(status, "Not allowed", refusal(&error), "Sign in with a key that has it.");
            }
            ErrorCode::InvalidArgument if error.reason == Reason::InvalidPageToken => {
                ("This page of the list is gone", "Start from the list's first page.")
            }
            ErrorCode::InvalidArgument => ("Not understood", "Go back and correct it."),
            ErrorCode::AlreadyExists | ErrorCode::LimitReached | ErrorCode::FailedPrecondition => {
                ("Not possible now", "Go back and reload the page: it may have changed.")
            }
            ErrorCode::ResourceExhausted => ("Too many requests", "Wait a minute, then try again."),
            ErrorCode::Unavailable => ("Not available now", "Nothing is lost. Try again in a few seconds."),
            ErrorCode::Internal => ("Something is broken", "Try again; the service's log says more."),
        };
        Self::new(status, title, sentence(&error.message), advice)
    }
}

/// Says which scope is missing.
fn refusal(error: &Error) -> String {
    match error.facts.get("scope") {
        Some(scope) => {
            format!("This takes the scope “{scope}”, which the key of your session does not have.")
        }
        None => sentence(&error.message),
    }
}

/// Makes a sentence of an error's message. What it puts between backticks, as programs do, gets the quotes that people do.
pub fn sentence(message: &str) -> String {
    let mut parts = message.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (place, part) in parts.enumerate() {
        text.push(if place % 2 == 0 { '“' } else { '”' });
        text += part;
    }
    let first = text.chars().next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let rest = text.chars().skip(1);
    let end = if text.is_empty() || text.ends_with(['.', '!', '?', ':']) { "" } else { "." };
    first + &rest.collect::<String>() + end
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if self.sign_in {
            let mut response = StatusCode::SEE_OTHER.into_response();
            response.extensions_mut().insert(SignInFirst::default());
            return response;
        }
        let Self { status, title, message, advice, .. } = self;
        let frame = Frame::signed_out(title);
        let page = ErrorPage { frame, status: status.as_u16(), title, message, advice };
        let mut response = page::shown(status, &page);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_sentence_for_people() {
        for (message, expected) in [
            ("", ""),
            ("must not be empty", "Must not be empty."),
            ("the name `a` is taken, `b` is not", "The name “a” is taken, “b” is not."),
            ("Already one.", "Already one."),
            ("`main` is gone", "“main” is gone."),
        ] {
            assert_eq!(sentence(message), expected);
        }
    }
}
