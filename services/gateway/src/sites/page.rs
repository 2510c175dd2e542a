//! What people see where there is no file to show.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use grapnel_domain::{Error, Reason};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::error::RETRY_AFTER;

/// These pages run nothing, load nothing and are shown in no frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A page that says what is the matter. What stands in it is escaped.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">
<style>
:root{color-scheme:light dark}
body{margin:0;font:16px/1.5 system-ui,sans-serif;background:Canvas;color:CanvasText}
main{max-width:36rem;margin:0 auto;padding:4rem 1.25rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}
p{margin:0 0 1rem;overflow-wrap:anywhere}
small{opacity:.7}
</style></head>
<body><main><h1>{{ title }}</h1><p>{{ text }}</p>{% if !advice.is_empty() %}<p>{{ advice }}</p>{% endif %}
<p><small>{{ status.as_u16() }} {{ status.canonical_reason().unwrap_or_default() }}</small></p></main></body></html>
"#
)]
struct Page<'a> {
    status: StatusCode,
    title: &'a str,
    text: &'a str,
    advice: &'a str,
}

impl IntoResponse for Page<'_> {
    fn into_response(self) -> Response {
        // A template that only writes to memory does not fail.
        let mut response = (self.status, Html(self.render().unwrap_or_default())).into_response();
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// Says on a page why there is no site.
pub fn instead(error: &Error) -> Response {
    let cause = std::error::Error::source(error);
    match error.reason {
        Reason::ArtifactRemoved => Page {
            status: StatusCode::GONE,
            title: "This deployment is gone",
            text: "The files of this deployment were removed: it was deleted, it is older than this installation keeps them, or its project was deleted.",
            advice: "Deploying again brings the site back, at a new address.",
        }
        .into_response(),
        Reason::ArtifactMissing => {
            tracing::warn!(%error, "a site cannot be served");
            Page {
                status: StatusCode::NOT_FOUND,
                title: "The files of this deployment are missing",
                text: "They are missing, though it is READY: they were not restored together with the database, or are kept where this gateway does not see them.",
                advice: "Whoever operates this installation finds more in the gateway's log.",
            }
            .into_response()
        }
        Reason::HooksUnavailable | Reason::StoreUnavailable => {
            tracing::warn!(%error, cause, "a site cannot be served now");
            Page {
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "The site cannot be shown now",
                text: "The site cannot be looked up now. Try again in a moment.",
                advice: "",
            }
            .into_response()
        }
        _ => {
            tracing::error!(%error, cause, "a site cannot be served");
            Page {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                title: "The site cannot be shown",
                text: "The site cannot be served now. It is not your fault.",
                advice: "Whoever operates this installation finds more in the gateway's log.",
            }
            .into_response()
        }
    }
}

/// Says that nothing is served at a host.
pub fn no_site(host: &str) -> Response {
    let text = format!("No site is served at {host}.");
    Page {
        status: StatusCode::NOT_FOUND,
        title: "There is no site here",
        text: &text,
        advice: "A project's site appears with the first READY deployment of its production branch, a branch's with its own.",
    }
    .into_response()
}

/// Says that a request does not name the site that it is for.
pub fn not_a_host() -> Response {
    Page {
        status: StatusCode::BAD_REQUEST,
        title: "Which site is meant?",
        text: "The request names no host, or one that cannot be. A site is found by the first part of its host name.",
        advice: "",
    }
    .into_response()
}

/// Says that a site has no such page.
pub fn no_such_page() -> Response {
    Page {
        status: StatusCode::NOT_FOUND,
        title: "There is no such page",
        text: "The site is here, and it has nothing at this path.",
        advice: "",
    }
    .into_response()
}

/// Says that nothing can be done to a site but to read it.
pub fn only_read() -> Response {
    let page = Page {
        status: StatusCode::METHOD_NOT_ALLOWED,
        title: "Sites are only read",
        text: "A site is files. It answers GET and HEAD.",
        advice: "",
    };
    ([(header::ALLOW, "GET, HEAD")], page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_says_is_text() {
        let page = Page { status: StatusCode::NOT_FOUND, title: "<b>", text: "\"'&<script>", advice: "</p>" };
        let page = page.render().unwrap();
        for harmful in ["<b>", "<script", "</p></p>"] {
            assert!(!page.contains(harmful), "{page}");
        }
    }
}
