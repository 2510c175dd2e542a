//! Deployments for a key with scope `read`: one as JSON, and what happens to it as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use grapnel_domain::Reason;
use grapnel_proto::{
    error::from_status,
    hooks::v1::{DeploymentEvent, WatchDeploymentResponse, deployment_event::Event as Happened},
    json::to_json,
};
use http::{HeaderMap, header};
use tonic::Status;

use crate::{error::HttpError, hooks_client::HooksClient};

/// How long a stream is silent at most, so that nothing between here and the reader closes it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /v1/deployments/{id}`
pub async fn get(
    State(hooks): State<HooksClient>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let deployment = hooks.deployment(headers.get(header::AUTHORIZATION), id).await?;
    Ok(Json(to_json("grapnel.hooks.v1.Deployment", &deployment)).into_response())
}

/// `GET /v1/deployments/{id}/events`
///
/// The id of an event is its position; a reader that comes back with `Last-Event-ID` gets what follows.
pub async fn events(
    State(hooks): State<HooksClient>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let watched = hooks.watch(headers.get(header::AUTHORIZATION), id, last).await?;
    let events = watched.map(|message| Ok(sse(message))).chain(end());
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    Ok(response)
}

/// Readers come back when a stream ends; this tells them that there is nothing to come back for.
fn end() -> impl Stream<Item = Result<Event, Infallible>> {
    stream::once(async { Ok(Event::default().event("end").data("{}")) })
}

fn sse(message: Result<WatchDeploymentResponse, Status>) -> Event {
    match message {
        Ok(WatchDeploymentResponse { event: Some(event) }) => Event::default()
            .id(event.position.to_string())
            .event(kind(&event))
            .data(to_json("grapnel.hooks.v1.DeploymentEvent", &event).to_string()),
        Ok(WatchDeploymentResponse { event: None }) => Event::default().comment("nothing"),
        Err(status) => {
            let error = from_status(&status, Reason::HooksUnavailable);
            Event::default().event("error").data(serde_json::json!({ "message": error.message }).to_string())
        }
    }
}

fn kind(event: &DeploymentEvent) -> &'static str {
    match event.event {
        Some(Happened::StateChanged(_)) => "state",
        Some(Happened::StepStarted(_)) => "step-started",
        Some(Happened::Log(_)) => "log",
        Some(Happened::StepFinished(_)) => "step-finished",
        Some(Happened::CacheReported(_)) => "cache",
        Some(Happened::LogRemoved(_)) => "log-removed",
        None => "unknown",
    }
}
