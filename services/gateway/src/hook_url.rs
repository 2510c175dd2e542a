//! Hook URLs: `GET` and `POST /v1/integrations/deploy/{project id}/{token}`.
//!
//! Whoever has the URL may trigger the hook. The answer is 200 with the job once the trigger is stored, never a
//! redirect, and nothing about the token ever reaches a log.

use std::time::Duration;

use axum::{
    Extension, Json,
    body::{Body, HttpBody as _},
    extract::{Path, RawQuery, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use grapnel_domain::{Error, Reason, secret_token::HookToken, trigger::BODY_KEPT};
use grapnel_proto::{
    convert::{deployment::state_from_wire, time::datetime},
    hooks::v1::{Deployment, HookAddress, HttpOrigin, TriggerHookRequest, trigger_hook_request::Target},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    client_address::Peer, error::HttpError, lookahead, query::Query, server::Interface, status::status_url,
};

/// How much of a body is read, so that callers which send before they listen get their answer.
const BODY: usize = 1 << 20;

/// How long a body may take to come. It is never waited for longer, and never a reason to refuse.
const BODY_TIME: Duration = Duration::from_millis(500);

/// The headers by which senders say that a request is the same as an earlier one, those that say it best first. The
/// second is of Standard Webhooks, the third Contentful's.
const IDEMPOTENCY_KEYS: [&str; 3] = ["idempotency-key", "webhook-id", "x-contentful-idempotency-key"];

/// The answer to an accepted trigger, in the shape that callers of hosted deploy hooks know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    job: Job,
    /// Where the job's state can be read without a key.
    status_url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: String,
    state: String,
    /// In milliseconds of Unix time.
    created_at: Option<i64>,
}

impl From<&Deployment> for Job {
    fn from(deployment: &Deployment) -> Self {
        let state = state_from_wire(deployment.state).ok().flatten();
        Self {
            id: deployment.id.clone(),
            state: state.map_or("PENDING", |state| state.as_str()).to_owned(),
            created_at: datetime(deployment.created_at.as_ref()).map(|at| at.timestamp_millis()),
        }
    }
}

/// Answers a request to a hook's URL.
pub async fn trigger(
    State(interface): State<Interface>,
    Extension(peer): Extension<Peer>,
    method: Method,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut response = match method {
        Method::GET | Method::POST => {
            let query = Query::parse(query.as_deref().unwrap_or_default(), &method);
            let body = read(body).await;
            let origin = HttpOrigin {
                method: method.to_string(),
                client_address: interface.trusted_proxies.client(peer, &headers).to_string(),
                user_agent: text(&headers, header::USER_AGENT.as_str()),
                body_bytes: body.length,
                prefetch: lookahead::is_ahead(&method, &headers),
                refusal: query.refusal(),
            };
            accept(&interface, path.ok(), query, &headers, origin, body.kept).await
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

async fn accept(
    interface: &Interface,
    path: Option<Path<(String, String)>>,
    query: Query,
    headers: &HeaderMap,
    origin: HttpOrigin,
    body: Vec<u8>,
) -> Response {
    let key = IDEMPOTENCY_KEYS.iter().map(|name| text(headers, name)).find(|key| !key.is_empty());
    let triggered = async {
        let unknown = || Error::new(Reason::HookNotFound, "there is no such hook");
        let Path((project_id, token)) = path.ok_or_else(unknown)?;
        // A token that cannot be one is not asked for.
        let token = HookToken::parse(&token).map_err(|_| unknown())?;
        let address = HookAddress { project_id, token: token.expose().to_owned() };
        let request = TriggerHookRequest {
            target: Some(Target::Address(address)),
            build_cache: query.build_cache(),
            title: query.title.clone(),
            commit: query.commit.clone(),
            body,
            idempotency_key: key.unwrap_or_default(),
            origin: Some(origin),
        };
        interface.hooks.trigger(request).await
    };
    let answered = match triggered.await {
        Ok(answered) => answered,
        Err(error) => {
            metrics::counter!("grapnel_triggers_total", "result" => "refused").increment(1);
            return HttpError::from(error).into_response();
        }
    };
    let Some(mut deployment) = answered.deployment else {
        metrics::counter!("grapnel_triggers_total", "result" => "ignored").increment(1);
        let message = "looked at ahead of a person, so nothing is deployed; request it with POST to deploy";
        return Json(json!({ "ignored": { "code": "prefetch", "message": message } })).into_response();
    };
    metrics::counter!("grapnel_triggers_total", "result" => "accepted").increment(1);
    if let Some(wait) = query.wait() {
        // Who cannot be told how it ended is told that it was accepted.
        let status = interface.hooks.status(&deployment.id, &answered.status_token, wait).await;
        deployment = status.unwrap_or(deployment);
    }
    let status_url = status_url(interface, headers, &deployment.id, &answered.status_token);
    Json(Accepted { job: Job::from(&deployment), status_url }).into_response()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    value.unwrap_or_default()
}

/// A body, as far as it came.
#[derive(Default)]
struct Read {
    kept: Vec<u8>,
    length: u64,
}

/// Reads a body, up to a size and a time, and keeps the first part. What is left is dropped with the connection.
async fn read(body: Body) -> Read {
    if body.is_end_stream() {
        return Read::default();
    }
    let mut data = body.into_data_stream();
    let mut read = Read::default();
    let reading = async {
        while let Some(Ok(chunk)) = data.next().await {
            read.length += chunk.len() as u64;
            let room = BODY_KEPT - read.kept.len();
            read.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if read.length > BODY as u64 {
                return;
            }
        }
    };
    let _ = timeout(BODY_TIME, reading).await;
    read
}
