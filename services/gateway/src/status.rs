//! The state of one deployment, for whoever has the address that the answer to its trigger holds. No key, no log.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use grapnel_domain::{Error, Reason};
use grapnel_proto::{
    convert::{deployment::state_from_wire, time::datetime},
    hooks::v1::{CancelReason, Deployment},
};
use http::{HeaderMap, HeaderValue, header};
use prost_types::Timestamp;
use serde::Serialize;

use crate::{error::HttpError, query::LONGEST_WAIT, server::Interface, status_page};

/// A deployment's state, as CMSs and pages are to read it. Times are in milliseconds of Unix time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    id: String,
    state: &'static str,
    /// Why it failed or was canceled.
    reason: Option<Why>,
    created_at: Option<i64>,
    queued_at: Option<i64>,
    building_at: Option<i64>,
    finished_at: Option<i64>,
    site_url: Option<String>,
}

/// Why a deployment failed or was canceled.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Which of the known reasons.
    pub code: String,
    /// What happened, in words.
    pub message: String,
    /// The deployment that took its place.
    pub superseded_by: Option<String>,
}

impl From<Deployment> for Status {
    fn from(it: Deployment) -> Self {
        let at = |at: Option<Timestamp>| datetime(at.as_ref()).map(|at| at.timestamp_millis());
        let reason = why(&it);
        let state = state_from_wire(it.state).ok().flatten();
        Self {
            id: it.id,
            state: state.map_or("PENDING", |state| state.as_str()),
            reason,
            created_at: at(it.created_at),
            queued_at: at(it.queued_at),
            building_at: at(it.building_at),
            finished_at: at(it.finished_at),
            site_url: Some(it.site_url).filter(|url| !url.is_empty()),
        }
    }
}

fn why(deployment: &Deployment) -> Option<Why> {
    if let Some(failure) = &deployment.failure {
        let (code, message) = (failure.code.clone(), failure.message.clone());
        return Some(Why { code, message, superseded_by: None });
    }
    let cancellation = deployment.cancellation.as_ref()?;
    let name = cancellation.reason().as_str_name();
    let message = match cancellation.reason() {
        CancelReason::Superseded => "a newer deployment of the same hook took its place",
        CancelReason::User => "somebody ended it",
        CancelReason::DisabledByConfig => "the repository's configuration switches deployments off",
        CancelReason::IgnoredByCommand => {
            "the repository's ignore command said that there is nothing to build"
        }
        CancelReason::HookRevoked => "its hook was revoked",
        CancelReason::ProjectDeleted => "its project was deleted",
        CancelReason::Unspecified => "",
    };
    Some(Why {
        code: name.trim_start_matches("CANCEL_REASON_").to_owned(),
        message: message.to_owned(),
        superseded_by: Some(cancellation.superseded_by.clone()).filter(|id| !id.is_empty()),
    })
}

/// Returns where a deployment's state can be read.
pub fn status_url(interface: &Interface, headers: &HeaderMap, id: &str, token: &str) -> String {
    format!("{}/v1/status/{id}/{token}", own_address(interface, headers))
}

/// Returns how addresses of our own begin: as it is set, else as the caller called us.
pub fn own_address(interface: &Interface, headers: &HeaderMap) -> String {
    let seen = || {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        format!("http://{}", host.unwrap_or("localhost"))
    };
    interface.public_url.as_ref().map_or_else(seen, Clone::clone)
}

/// `GET /v1/status/{id}/{token}`, with `?wait=<seconds>` at the deployment's end.
///
/// A page for whoever comes with a browser, from a commit's status perhaps; JSON for everybody else.
pub async fn read(
    State(interface): State<Interface>,
    Path((id, token)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let wait = waited_for(query.as_deref().unwrap_or_default())?;
    let deployment = interface.hooks.status(&id, &token, wait).await?;
    let answer = if status_page::is_wanted(&headers) {
        status_page::answer(&deployment, why(&deployment).as_ref())
    } else {
        Json(Status::from(deployment)).into_response()
    };
    let mut answer = open(answer);
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(answer)
}

/// `GET /v1/status/{id}/{token}/badge.svg`
pub async fn badge(
    State(interface): State<Interface>,
    Path((id, token)): Path<(String, String)>,
) -> Result<Response, HttpError> {
    let deployment = interface.hooks.status(&id, &token, 0).await?;
    let svg = draw(Status::from(deployment).state);
    Ok(open(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response()))
}

fn waited_for(query: &str) -> Result<u32, Error> {
    let wait = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "wait");
    let Some((_, value)) = wait else {
        return Ok(0);
    };
    let seconds = value.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT);
    seconds.ok_or_else(|| {
        Error::new(Reason::InvalidRequest, format!("`wait` must be from 0 to {LONGEST_WAIT} seconds"))
    })
}

/// The state changes, and whoever has the address may read it from wherever.
fn open(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Draws a badge. Its texts are ours, so nothing needs escaping.
fn draw(state: &str) -> String {
    let colour = match state {
        "READY" => "#1a7f37",
        "ERROR" => "#cf222e",
        "BUILDING" => "#9a6700",
        _ => "#57606a",
    };
    let word = state.to_ascii_lowercase();
    // Seven units a letter hold the widest of these words in the font below.
    let (left, right) = (52, 14 + 7 * word.len());
    let (width, middle) = (left + right, left + right / 2);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="deploy: {word}"><title>deploy: {word}</title><rect width="{width}" height="20" rx="3" fill="#24292f"/><path d="M{left} 0h{inner}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{colour}"/><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle"><text x="26" y="14">deploy</text><text x="{middle}" y="14">{word}</text></g></svg>"##,
        inner = right - 3,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_says_the_state_in_its_colour() {
        insta::assert_snapshot!(draw("READY"));
        for state in ["PENDING", "QUEUED", "BUILDING", "ERROR", "CANCELED"] {
            assert!(draw(state).contains(&state.to_ascii_lowercase()));
        }
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(waited_for("").unwrap(), 0);
        assert_eq!(waited_for("wait=300").unwrap(), 300);
        assert!(waited_for("wait=301").is_err() && waited_for("wait=x").is_err());
    }
}
