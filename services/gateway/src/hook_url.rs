//! Hook URLs: `GET` and `POST /v1/integrations/deploy/{project id}/{token}`.
//!
//! Whoever has the URL may trigger the hook. The answer is 200 with the job once the trigger is stored, never a
//! redirect, and nothing about the token ever reaches a log.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use grapnel_domain::{Error, Reason, secret_token::HookToken};
use grapnel_proto::{convert::time::datetime, hooks::v1::Deployment};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use tokio::time::timeout;

use crate::{error::HttpError, hooks_client::HooksClient};

/// How much of a body is read, so that callers which send before they listen get their answer.
const BODY: usize = 1 << 20;

/// How long a body may take to come. It is never waited for longer, and never a reason to refuse.
const BODY_TIME: Duration = Duration::from_millis(500);

/// How much of a wrong value is shown.
const SHOWN: usize = 50;

/// The answer to an accepted trigger, in the shape that callers of hosted deploy hooks know.
#[derive(Serialize)]
struct Accepted {
    job: Job,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: String,
    state: &'static str,
    /// In milliseconds of Unix time.
    created_at: Option<i64>,
}

impl From<Deployment> for Job {
    fn from(deployment: Deployment) -> Self {
        let created_at = datetime(deployment.created_at.as_ref()).map(|at| at.timestamp_millis());
        Self { id: deployment.id, state: "PENDING", created_at }
    }
}

/// Answers a request to a hook's URL.
pub async fn trigger(
    State(hooks): State<HooksClient>,
    method: Method,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let mut response = match method {
        Method::GET | Method::POST => {
            read_away(body).await;
            accept(&hooks, path.ok(), query.as_deref().unwrap_or_default()).await
        }
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => HttpError::method_not_allowed().into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
    response
}

async fn accept(hooks: &HooksClient, path: Option<Path<(String, String)>>, query: &str) -> Response {
    let accepted = async {
        let build_cache = build_cache(query)?;
        let unknown = || Error::new(Reason::HookNotFound, "there is no such hook");
        let Path((project, token)) = path.ok_or_else(unknown)?;
        // A token that cannot be one is not asked for.
        let token = HookToken::parse(&token).map_err(|_| unknown())?;
        hooks.trigger(project, token.expose().to_owned(), build_cache).await
    };
    match accepted.await {
        Ok(deployment) => {
            metrics::counter!("grapnel_triggers_total", "result" => "accepted").increment(1);
            Json(Accepted { job: Job::from(deployment) }).into_response()
        }
        Err(error) => {
            metrics::counter!("grapnel_triggers_total", "result" => "refused").increment(1);
            HttpError::from(error).into_response()
        }
    }
}

/// Reads `buildCache`. Given twice, both have to say the same.
fn build_cache(query: &str) -> Result<Option<bool>, Error> {
    let mut found = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "buildCache" {
            continue;
        }
        let read = match &*value {
            "true" => true,
            "false" => false,
            other => {
                let shown: String = other.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
                return Err(Error::invalid_field(
                    "buildCache",
                    format!("must be `true` or `false`, not `{shown}`"),
                ));
            }
        };
        if found.is_some_and(|before| before != read) {
            return Err(Error::invalid_field("buildCache", "is given twice, once `true` and once `false`"));
        }
        found = Some(read);
    }
    Ok(found)
}

/// Reads a body away, up to a size and a time. What is left is dropped with the connection.
async fn read_away(body: Body) {
    let mut data = body.into_data_stream();
    let reading = async {
        let mut length = 0;
        while let Some(Ok(chunk)) = data.next().await {
            length += chunk.len();
            if length > BODY {
                return;
            }
        }
    };
    let _ = timeout(BODY_TIME, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_cache_is_true_false_or_not_there() {
        assert_eq!(build_cache("").unwrap(), None);
        assert_eq!(build_cache("buildCache=true").unwrap(), Some(true));
        assert_eq!(build_cache("x=1&buildCache=false&buildCache=false").unwrap(), Some(false));
        for wrong in
            ["buildCache=", "buildCache=maybe", "buildCache=TRUE", "buildCache=true&buildCache=false"]
        {
            assert!(build_cache(wrong).unwrap_err().to_string().contains("buildCache"), "{wrong}");
        }
        let long = build_cache(&format!("buildCache={}", "x".repeat(10_000))).unwrap_err();
        assert!(long.to_string().len() < 200);
    }
}
