//! What every page is sent with: who may embed it, run in it and keep it.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};
use http::{HeaderName, HeaderValue, Method, header};

use super::{links, session::SignInFirst};

/// Nothing but what comes from here, no script or style in the page itself, and nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of every answer of the dashboard. Addresses of pages stay with us: `same-origin`.
const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Adds the headers, and leads whoever has no session to the page to sign in at, and from there back.
pub async fn guarded(request: Request, next: Next) -> Response {
    let asked = (request.method() == Method::GET)
        .then(|| request.uri().path_and_query().map(ToString::to_string))
        .flatten();
    let response = next.run(request).await;
    if let Some(SignInFirst { forget }) = response.extensions().get().cloned() {
        let next = asked.as_deref().filter(|address| *address != "/projects").and_then(links::local);
        let address = next.map_or_else(links::login, links::login_then);
        let mut redirect = Redirect::to(&address).into_response();
        if let Some(forget) = forget {
            redirect.headers_mut().insert(header::SET_COOKIE, forget);
        }
        return secured(redirect);
    }
    secured(response)
}

/// Adds the headers to one answer.
pub fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    response
}
