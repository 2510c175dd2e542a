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
use futures_util::{Stream, StreamExt as _, future, stream};
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
    let mut response =
        Sse::new(events_of(watched)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    Ok(response)
}

/// Readers come back when a stream ends. `end` tells them that there is nothing to come back for, and it is told after the last
/// event alone: after an error, such as that of a process that stops, there is.
fn events_of(
    watched: impl Stream<Item = Result<WatchDeploymentResponse, Status>>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    watched.map(Some).chain(stream::once(async { None })).scan(false, |failed, message| {
        let event = match message {
            Some(message) => {
                *failed = message.is_err();
                Some(sse(message))
            }
            None if *failed => None,
            None => Some(Event::default().event("end").data("{}")),
        };
        future::ready(event.map(Ok))
    })
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

#[cfg(test)]
mod tests {
    use grapnel_domain::Error;
    use grapnel_proto::error::to_status;

    use super::*;

    async fn told(messages: Vec<Result<WatchDeploymentResponse, Status>>) -> String {
        let response = Sse::new(events_of(stream::iter(messages))).into_response();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_reader_is_sent_home_after_the_last_event_and_not_after_an_error() {
        let event = || {
            Ok(WatchDeploymentResponse { event: Some(DeploymentEvent { position: 7, ..Default::default() }) })
        };
        let whole = told(vec![event()]).await;
        assert!(whole.contains("id: 7\n") && whole.contains("event: end\n"), "{whole}");
        let stops = to_status(&Error::new(Reason::ShuttingDown, "stopping"));
        let cut = told(vec![event(), Err(stops)]).await;
        assert!(cut.contains("id: 7\n") && cut.contains("event: error\n"), "{cut}");
        assert!(!cut.contains("event: end"), "{cut}");
    }
}
