//! The page that a commit's status leads to: where one deployment stands, for people. No script, nothing of anybody
//! else, and everything that is not ours is escaped.

use std::fmt::Write as _;

use axum::response::{Html, IntoResponse, Response};
use grapnel_domain::deployment::State;
use grapnel_proto::{
    convert::{deployment::state_from_wire, time::datetime},
    hooks::v1::Deployment,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prost_types::Timestamp;

use crate::status::Why;

/// How often the page looks again while the deployment goes on, in seconds.
const LOOK_AGAIN: u32 = 5;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;font:16px/1.5 system-ui,sans-serif;background:Canvas;color:CanvasText}\
main{max-width:40rem;margin:0 auto;padding:3rem 1.25rem}\
h1{font-size:1.75rem;line-height:1.2;margin:0 0 1.5rem}\
h1 span{display:inline-block;padding:.1em .5em;border-radius:.35em;color:#fff;background:#57606a}\
h1 .READY{background:#1a7f37}h1 .ERROR{background:#cf222e}h1 .BUILDING{background:#9a6700}\
p{margin:0 0 1rem;overflow-wrap:anywhere}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.4rem 1.25rem;margin:0 0 1.5rem}\
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}\
a{color:LinkText}";

/// Tells whether a request prefers a page to JSON, as browsers do and programs do not (RFC 9110, section 12.5.1).
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    weight(&accepted, "text/html") > weight(&accepted, "application/json")
}

/// Returns how much a kind is wanted, in thousandths: by its own name, or else by `*/*`.
fn weight(accepted: &[&str], kind: &str) -> u32 {
    let (mut named, mut any) = (None, 0);
    for range in accepted.iter().flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f64>);
        let quality = (quality.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0).round() as u32;
        if name.eq_ignore_ascii_case(kind) {
            named = Some(quality);
        } else if name == "*/*" {
            any = quality;
        }
    }
    named.unwrap_or(any)
}

/// Answers with the page.
pub fn answer(deployment: &Deployment, why: Option<&Why>) -> Response {
    let mut response = Html(page(deployment, why)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    response
}

fn page(it: &Deployment, why: Option<&Why>) -> String {
    let state = state_from_wire(it.state).ok().flatten().unwrap_or(State::Pending);
    let refresh = if state.is_final() {
        String::new()
    } else {
        format!("<meta http-equiv=\"refresh\" content=\"{LOOK_AGAIN}\">")
    };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\">{refresh}<style>{STYLE}</style></head>\
         <body><main><h1>Deployment <span class=\"{state}\">{word}</span></h1><p>{says}</p>",
        title = format_args!("{} – deployment", word(state)),
        word = word(state),
        says = says(state),
    );
    if let Some(why) = why {
        let _ = write!(page, "<p><strong>{}</strong>: {}</p>", escaped(&why.code), escaped(&why.message));
    }
    if let Some(by) = why.and_then(|why| why.superseded_by.as_deref()) {
        let _ = write!(page, "<p>The newer deployment is {}.</p>", escaped(by));
    }
    if it.site_url.starts_with("https://") || it.site_url.starts_with("http://") {
        let url = escaped(&it.site_url);
        let _ = write!(page, "<p><a rel=\"noreferrer\" href=\"{url}\">{url}</a></p>");
    }
    page += "<dl>";
    for (name, at) in [
        ("Asked for", &it.created_at),
        ("Version known", &it.queued_at),
        ("Build began", &it.building_at),
        ("Ended", &it.finished_at),
    ] {
        page += &moment(name, at.as_ref());
    }
    let _ = write!(page, "<dt>Deployment</dt><dd>{}</dd></dl>", escaped(&it.id));
    if !state.is_final() {
        let _ = write!(page, "<p>This page looks again every {LOOK_AGAIN} seconds.</p>");
    }
    page + "</main></body></html>\n"
}

fn moment(name: &str, at: Option<&Timestamp>) -> String {
    let Some(at) = datetime(at) else {
        return String::new();
    };
    let shown = at.format("%Y-%m-%d %H:%M:%S UTC");
    format!("<dt>{name}</dt><dd><time datetime=\"{}\">{shown}</time></dd>", at.format("%Y-%m-%dT%H:%M:%SZ"))
}

fn word(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Queued => "queued",
        State::Building => "building",
        State::Ready => "ready",
        State::Error => "failed",
        State::Canceled => "canceled",
    }
}

fn says(state: State) -> &'static str {
    match state {
        State::Pending => "It is stored, and its version is looked up.",
        State::Queued => "Its version is known. It waits for its turn to be built.",
        State::Building => "It is being built.",
        State::Ready => "It is built, and can be looked at.",
        State::Error => "It failed. What was deployed before is served as it was.",
        State::Canceled => "Nothing was deployed. What was deployed before is served as it was.",
    }
}

/// Makes a text harmless in a page and in an attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use grapnel_proto::hooks::v1::DeploymentState;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 0 })
    }

    fn deployment(state: DeploymentState) -> Deployment {
        Deployment {
            id: "dpl_01kdzzzzzzzzzzzzzzzzzzzzzz".into(),
            state: state.into(),
            created_at: at(0),
            queued_at: at(1),
            building_at: at(2),
            ..Default::default()
        }
    }

    #[test]
    fn a_page_is_for_whoever_prefers_one_and_json_for_all_others() {
        let wanted = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            is_wanted(&headers)
        };
        assert!(wanted(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"]));
        assert!(wanted(&["application/json;q=0.5", "text/html"]));
        for json in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["application/json, text/html"],
            &["text/html;q=0.4, application/json;q=0.5"],
            &["text/html;q=0"],
            &["image/avif,image/webp,*/*"],
        ] {
            assert!(!wanted(json), "{json:?}");
        }
    }

    #[test]
    fn a_page_says_where_the_deployment_stands() {
        let ready = Deployment {
            finished_at: at(14),
            site_url: "http://dpl-1.localhost:7380/".into(),
            ..deployment(DeploymentState::Ready)
        };
        insta::assert_snapshot!(page(&ready, None).replace("><", ">\n<"));
    }

    #[test]
    fn a_page_looks_again_only_while_something_goes_on() {
        for (state, again) in [
            (DeploymentState::Pending, true),
            (DeploymentState::Queued, true),
            (DeploymentState::Building, true),
            (DeploymentState::Ready, false),
            (DeploymentState::Error, false),
            (DeploymentState::Canceled, false),
        ] {
            assert_eq!(page(&deployment(state), None).contains("http-equiv=\"refresh\""), again, "{state:?}");
        }
    }

    #[test]
    fn what_others_say_is_shown_and_does_nothing() {
        let why = Why {
            code: "BUILD_FAILED".into(),
            message: "</p><script>alert(1)</script>\" onmouseover='x' &amp;".into(),
            superseded_by: Some("<img src=x>".into()),
        };
        let it = Deployment { site_url: "javascript:alert(1)".into(), ..deployment(DeploymentState::Error) };
        let page = page(&it, Some(&why));
        assert!(page.contains(
            "&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onmouseover=&#39;x&#39; &amp;amp;"
        ));
        for harmful in ["<script", "<img", "javascript:", "onmouseover='"] {
            assert!(!page.contains(harmful), "{harmful}");
        }
        let answer = answer(&it, Some(&why));
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    }
}
