//! What happens to a deployment while its page is open, as server-sent events; and its log as a file.

use std::io;

use askama::Template as _;
use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response, sse::Event},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use grapnel_domain::{Error, Reason};
use grapnel_proto::{
    convert::time::datetime,
    error::from_status,
    hooks::v1::{
        DeploymentEvent, LogLines, LogStream, WatchDeploymentRequest, WatchDeploymentResponse,
        deployment_event::Event as Happened,
    },
};
use grapnel_runtime::Clock;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use tonic::Streaming;

use super::{ansi, story::step_name, summary};
use crate::{
    caller::Caller,
    dashboard::{live, page_error::PageError, session::SignedIn},
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// How many lines one event carries at most, so that a browser draws while it reads.
const LINES_AT_ONCE: usize = 500;

/// What the page says of itself.
#[derive(Debug, Deserialize)]
pub struct Shown {
    /// The position up to which the page tells the story.
    #[serde(default)]
    shown: u64,
    /// Where the reader was before it came back by itself.
    #[serde(default)]
    place: String,
}

/// Where a reader is: the position of the last event that came, and how many lines came up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    position: u64,
    lines: u64,
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let (position, lines) = text.split_once('.')?;
        Some(Self { position: position.parse().ok()?, lines: lines.parse().ok()? })
    }

    fn id(self) -> String {
        format!("{}.{}", self.position, self.lines)
    }
}

/// `GET /projects/{project}/deployments/{id}/stream`: `lines` of the log from its beginning, `page` when what stands above it
/// has changed, `end` after the final state.
///
/// A reader that comes back with `Last-Event-ID` gets what follows. A stream that breaks off ends without `end`, so that
/// browsers come back.
pub async fn stream(
    signed_in: SignedIn,
    State(interface): State<Interface>,
    Path((project, id)): Path<(String, String)>,
    Query(Shown { shown, place }): Query<Shown>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let place = last.and_then(Place::read).or_else(|| Place::read(&place)).unwrap_or_default();
    let events = watch(&signed_in.caller, &id, place.position, false).await?;
    let viewer = signed_in.clone();
    let reader = Reader { signed_in, clock: interface.clock, project, id, shown, place };
    let told = stream::try_unfold((reader, events), |(mut reader, mut events)| async move {
        // What was not told to the end is told anew to a reader who comes back.
        let next = events.message().await.map_err(|_| ())?;
        let told = match next {
            Some(WatchDeploymentResponse { event: Some(event) }) => reader.tell(&event).await?,
            Some(WatchDeploymentResponse { event: None }) => Vec::new(),
            None => return Ok(None),
        };
        Ok::<_, ()>(Some((told, (reader, events))))
    });
    let told = told.map_ok(Some).chain(stream::iter([Ok(None)]));
    // An error ends the stream before its end is told.
    let told = told.scan((), |(), told| std::future::ready(told.ok())).flat_map(|told| {
        stream::iter(told.unwrap_or_else(|| vec![Event::default().event("end").data("{}")]))
    });
    Ok(live::answer_with(viewer, told))
}

/// One reader of one deployment.
struct Reader {
    signed_in: SignedIn,
    clock: Clock,
    project: String,
    id: String,
    shown: u64,
    place: Place,
}

impl Reader {
    /// Tells an event. Where the page cannot be made anew the stream breaks off before it, so that the browser comes back for it.
    async fn tell(&mut self, event: &DeploymentEvent) -> Result<Vec<Event>, ()> {
        self.place.position = event.position;
        Ok(match &event.event {
            Some(Happened::Log(log)) => self.lines(log),
            Some(Happened::LogRemoved(_)) => {
                vec![Event::default().id(self.place.id()).event("removed").data("{}")]
            }
            _ if event.position <= self.shown => Vec::new(),
            _ => vec![self.page().await?],
        })
    }

    async fn page(&mut self) -> Result<Event, ()> {
        self.signed_in.now = self.clock.now();
        let read = summary::read(&self.signed_in, &self.project, &self.id).await;
        let html = read.ok().and_then(|summary| summary.render().ok()).ok_or(())?;
        let data = serde_json::json!({ "html": html }).to_string();
        Ok(Event::default().id(self.place.id()).event("page").data(data))
    }

    fn lines(&mut self, log: &LogLines) -> Vec<Event> {
        let chunks: Vec<String> = log
            .lines
            .chunks(LINES_AT_ONCE)
            .map(|chunk| {
                let lines = chunk.iter().map(|line| {
                    self.place.lines += 1;
                    let at = datetime(line.at.as_ref()).map(|at| at.format("%H:%M:%S").to_string());
                    let runs = ansi::runs(&line.text);
                    (self.place.lines, at.unwrap_or_default(), step_name(log.step), kind(line.stream()), runs)
                });
                serde_json::to_string(&lines.collect::<Vec<_>>()).unwrap_or_default()
            })
            .collect();
        let last = chunks.len().saturating_sub(1);
        let events = chunks.into_iter().enumerate().map(|(index, data)| {
            let event = Event::default().event("lines").data(data);
            // Only what came whole counts as read.
            if index == last { event.id(self.place.id()) } else { event }
        });
        events.collect()
    }
}

/// Returns the name under which pages draw a line.
pub fn kind(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stderr => "stderr",
        LogStream::System => "system",
        LogStream::Stdout | LogStream::Unspecified => "stdout",
    }
}

/// `GET /projects/{project}/deployments/{id}/log.txt`: the log so far, as it was printed, one line each. Where it breaks off the
/// download fails, so that nobody takes a part for the whole.
pub async fn text(
    SignedIn { caller, .. }: SignedIn,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let events = watch(&caller, &id, 0, true).await?;
    let body = messages(events).map_ok(|event| match event.event {
        Some(Happened::Log(log)) => {
            let lines = log.lines.into_iter().map(|line| line.text + "\n");
            Bytes::from(lines.collect::<String>())
        }
        _ => Bytes::new(),
    });
    let name = format!("attachment; filename=\"{id}.txt\"");
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn messages(events: Streaming<WatchDeploymentResponse>) -> impl Stream<Item = io::Result<DeploymentEvent>> {
    events
        .map_err(|status| io::Error::other(from_status(&status, Reason::HooksUnavailable).message))
        .try_filter_map(|message| std::future::ready(Ok(message.event)))
}

/// Watches a deployment, or reads what has happened to it so far.
pub async fn watch(
    caller: &Caller,
    id: &str,
    after_position: u64,
    history_only: bool,
) -> Result<Streaming<WatchDeploymentResponse>, Error> {
    let deployment_id = id.to_owned();
    let request =
        WatchDeploymentRequest { deployment_id, after_position, history_only, ..Default::default() };
    answered(caller.hooks().watch_deployment(request)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_comes_back_to_its_place() {
        let place = Place { position: 12, lines: 340 };
        assert_eq!(Place::read(&place.id()), Some(place));
        assert_eq!(["", "12", "a.b", "1.-1"].map(Place::read), [None; 4]);
    }
}
