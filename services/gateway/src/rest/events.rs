//! What happened to a deployment: its log and its states, line by line, as one array or as lines of JSON, and on to its end
//! for whoever follows.

use std::{collections::VecDeque, io};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt as _, stream};
use grapnel_domain::Error;
use grapnel_proto::hooks::v1::{self as wire, WatchDeploymentRequest, WatchDeploymentResponse};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use tonic::{Status, Streaming};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Refused,
    asked::{Asked, Named},
    caller::Caller,
    deployment,
    event::{DeploymentEvent, events_of},
    paging::check_time,
    status::State,
};
use crate::{error::HttpError, hooks_client::answered_to_people as answered};

/// The content type of lines of JSON.
const LINES: &str = "application/x-ndjson";

/// How many events the end of a log has where nobody says so, and at most.
const BACKWARD: (usize, usize) = (1_000, 10_000);

/// How many bytes of a log are kept to show its end.
const BACKWARD_BYTES: usize = 16 << 20;

/// Which events are asked for, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// The oldest first, or the newest first: `backward` shows the end of a log.
    #[param(inline)]
    direction: Option<Direction>,
    /// Whether to go on until the deployment has ended.
    #[param(pattern = "^(1|true|0|false)?$")]
    follow: Option<String>,
    /// `lines` answers one event a line, else they are one array. Who follows gets lines in any case.
    #[param(inline)]
    format: Option<Format>,
    /// How many at most; -1 is all of them, and so is nothing at all for `forward`. The end of a log has 1,000, and 10,000
    /// at most.
    #[param(minimum = -1, maximum = 1_000_000)]
    limit: Option<i64>,
    /// Only those of this time or later, in milliseconds of Unix time.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    since: Option<i64>,
    /// Only those up to this time, in milliseconds of Unix time.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    until: Option<i64>,
}

/// Which events come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The oldest.
    #[default]
    Forward,
    /// The newest.
    Backward,
}

/// How events are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One event a line.
    Lines,
    /// One array.
    Json,
}

impl Which {
    fn checked(self) -> Result<Self, Error> {
        check_time("since", self.since)?;
        check_time("until", self.until)?;
        if self.limit.is_some_and(|limit| !(-1..=1_000_000).contains(&limit)) {
            return Err(Error::invalid_field("limit", "must be from 0 to 1000000, or -1 for all"));
        }
        if !matches!(self.follow.as_deref(), None | Some("" | "0" | "1" | "true" | "false")) {
            return Err(Error::invalid_field("follow", "must be 1, true, 0, false or nothing"));
        }
        if self.follows() && self.is_backward() {
            return Err(Error::invalid_field("direction", "must be `forward` with `follow`"));
        }
        Ok(self)
    }

    fn follows(&self) -> bool {
        matches!(self.follow.as_deref(), Some("1" | "true"))
    }

    fn is_backward(&self) -> bool {
        self.direction == Some(Direction::Backward)
    }

    fn as_lines(&self) -> bool {
        self.follows() || self.format == Some(Format::Lines)
    }

    fn limit(&self) -> Option<usize> {
        self.limit.and_then(|limit| usize::try_from(limit).ok())
    }

    fn wants(&self, event: &DeploymentEvent) -> bool {
        self.since.is_none_or(|since| event.created >= since)
            && self.until.is_none_or(|until| event.created <= until)
    }
}

/// Reads what happened to a deployment: what was printed, by which step, and how it stood.
///
/// A connection that breaks before the last line, or the end of the array, was cut: it never looks like the end.
#[utoipa::path(
    get,
    path = "/v3/deployments/{deployment}/events",
    tag = "deployments",
    operation_id = "getDeploymentEvents",
    params(("deployment" = String, Path, description = "The deployment's id, or a host that serves it."), Which),
    responses(
        (status = 200, description = "The events.", content(
            ([DeploymentEvent] = "application/json"),
            (String = "application/x-ndjson"),
        )),
        Refused,
    ),
    security(("key" = []))
)]
pub async fn read(
    caller: Caller,
    Named(named): Named<String>,
    Asked(which): Asked<Which>,
) -> Result<Response, HttpError> {
    let which = which.checked()?;
    let found = deployment::find(&caller, &named).await?;
    let lines = which.as_lines();
    let events = events(&caller, found, which).await?;
    let (kind, body) = if lines {
        let lines = events.map(|event| event.and_then(|event| line(&event)));
        (LINES, Body::from_stream(lines))
    } else {
        ("application/json", Body::from_stream(array(events)))
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The events that are asked for. An error in it breaks the connection.
async fn events(
    caller: &Caller,
    deployment: wire::Deployment,
    which: Which,
) -> Result<stream::BoxStream<'static, io::Result<DeploymentEvent>>, Error> {
    let id = deployment.id.clone();
    let all = if deployment.last_position == 0 && !which.follows() {
        stream::empty().boxed()
    } else {
        let request = WatchDeploymentRequest { deployment_id: id.clone(), ..Default::default() };
        let watched = answered(caller.calls.hooks().watch_deployment(request)).await?;
        let end = if which.follows() { End::Final } else { End::Position(deployment.last_position) };
        History { watched, end, over: false }.events(id).boxed()
    };
    let (limit, backward) = (which.limit(), which.is_backward());
    let wanted =
        all.filter(move |event| std::future::ready(event.as_ref().map_or(true, |event| which.wants(event))));
    Ok(match (backward, limit) {
        (true, limit) => end_of(wanted, limit.unwrap_or(BACKWARD.0).min(BACKWARD.1)).boxed(),
        (false, Some(limit)) => wanted.take(limit).boxed(),
        (false, None) => wanted.boxed(),
    })
}

/// Where a history is over.
#[derive(Clone, Copy, Debug)]
enum End {
    /// After the event at a position.
    Position(u64),
    /// After the deployment's final state.
    Final,
}

impl End {
    fn is(self, event: &wire::DeploymentEvent) -> bool {
        match self {
            Self::Position(last) => event.position >= last,
            Self::Final => matches!(
                &event.event,
                Some(wire::deployment_event::Event::StateChanged(changed))
                    if matches!(State::from(changed.state()), State::Ready | State::Error | State::Canceled)
            ),
        }
    }
}

/// A history that is read.
struct History<S = Streaming<WatchDeploymentResponse>> {
    watched: S,
    end: End,
    over: bool,
}

impl<S: Stream<Item = Result<WatchDeploymentResponse, Status>> + Unpin + Send + 'static> History<S> {
    fn events(self, id: String) -> impl Stream<Item = io::Result<DeploymentEvent>> + Send {
        let id = std::sync::Arc::<str>::from(id);
        stream::unfold(self, |mut history| async move { Some((history.next().await?, history)) }).flat_map(
            move |event| match event {
                Ok(event) => stream::iter(events_of(&id, &event)).map(Ok).left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            },
        )
    }

    /// Returns the next event, `None` after the last, and an error where the history breaks off before that.
    async fn next(&mut self) -> Option<io::Result<wire::DeploymentEvent>> {
        while !self.over {
            match self.watched.next().await {
                Some(Ok(WatchDeploymentResponse { event: Some(event) })) => {
                    self.over = self.end.is(&event);
                    return Some(Ok(event));
                }
                Some(Ok(WatchDeploymentResponse { event: None })) => {}
                Some(Err(status)) => {
                    self.over = true;
                    return Some(Err(io::Error::other(status.message().to_owned())));
                }
                None => {
                    self.over = true;
                    return Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
            }
        }
        None
    }
}

/// The last events of a history, the newest first.
fn end_of(
    events: impl Stream<Item = io::Result<DeploymentEvent>> + Send + 'static,
    limit: usize,
) -> impl Stream<Item = io::Result<DeploymentEvent>> + Send {
    let collected = async move {
        let (mut last, mut bytes) = (VecDeque::new(), 0);
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => return vec![Err(error)],
            };
            bytes += event.text.len();
            last.push_front(event);
            while last.len() > limit || bytes > BACKWARD_BYTES {
                bytes -= last.pop_back().map_or(bytes, |oldest: DeploymentEvent| oldest.text.len());
            }
        }
        last.into_iter().map(Ok).collect()
    };
    stream::once(collected).flat_map(stream::iter)
}

fn line(event: &DeploymentEvent) -> io::Result<Bytes> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line.into())
}

/// Writes events as one array.
fn array(events: impl Stream<Item = io::Result<DeploymentEvent>>) -> impl Stream<Item = io::Result<Bytes>> {
    let mut before = "[";
    let items = events.map(move |event| {
        let mut item = before.as_bytes().to_vec();
        before = ",";
        serde_json::to_writer(&mut item, &event?)?;
        Ok(Bytes::from(item))
    });
    // An empty array has no item to begin it.
    let items = items.chain(stream::once(async { Ok(Bytes::from_static(b"]")) }));
    items.scan(true, |first, item| {
        let lone = std::mem::take(first) && matches!(&item, Ok(item) if item.as_ref() == b"]");
        std::future::ready(Some(if lone { Ok(Bytes::from_static(b"[]")) } else { item }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(position: u64, state: wire::DeploymentState) -> Result<WatchDeploymentResponse, Status> {
        let changed = wire::StateChanged { state: state.into(), ..Default::default() };
        let event = Some(wire::deployment_event::Event::StateChanged(changed));
        Ok(WatchDeploymentResponse {
            event: Some(wire::DeploymentEvent { position, event, ..Default::default() }),
        })
    }

    fn printed(position: u64, text: &str) -> Result<WatchDeploymentResponse, Status> {
        let line = wire::LogLine { text: text.into(), ..Default::default() };
        let log = wire::LogLines { step: wire::Step::Build.into(), lines: vec![line] };
        let event = Some(wire::deployment_event::Event::Log(log));
        Ok(WatchDeploymentResponse {
            event: Some(wire::DeploymentEvent { position, event, ..Default::default() }),
        })
    }

    async fn read_of(
        told: Vec<Result<WatchDeploymentResponse, Status>>,
        end: End,
    ) -> Vec<io::Result<DeploymentEvent>> {
        let history = History { watched: stream::iter(told), end, over: false };
        history.events("dpl_1".to_owned()).collect().await
    }

    #[tokio::test]
    async fn a_history_ends_at_its_last_event_and_a_followed_one_with_the_deployment() {
        use wire::DeploymentState::{Building, Pending, Ready};
        let told =
            || vec![state(1, Pending), state(2, Building), printed(3, "a"), state(4, Ready), printed(5, "b")];
        for (end, expected) in [(End::Position(2), 2), (End::Final, 4)] {
            let events = read_of(told(), end).await;
            assert_eq!(events.len(), expected, "{end:?}");
            assert!(events.iter().all(Result::is_ok));
        }
    }

    #[tokio::test]
    async fn a_history_that_breaks_off_never_looks_like_its_end() {
        let broken = [
            vec![printed(1, "a")],
            vec![printed(1, "a"), Err(Status::unavailable("the process is stopping"))],
            vec![],
        ];
        for told in broken {
            for end in [End::Position(9), End::Final] {
                let again = told.iter().map(|told| match told {
                    Ok(told) => Ok(told.clone()),
                    Err(status) => Err(status.clone()),
                });
                let events = read_of(again.collect(), end).await;
                assert!(events.last().unwrap().is_err(), "{end:?}");
                let lines: Vec<_> = array(stream::iter(events)).collect().await;
                assert!(lines.iter().any(Result::is_err));
            }
        }
    }

    #[tokio::test]
    async fn an_array_is_one_whatever_is_in_it() {
        for texts in [&[][..], &["a"], &["a", "]", "\"\u{1b}[31m"]] {
            let told = texts.iter().zip(1..).map(|(text, position)| printed(position, text)).collect();
            let events = read_of(told, End::Position(texts.len() as u64)).await;
            let events: Vec<_> = if texts.is_empty() { Vec::new() } else { events };
            let written: Vec<_> = array(stream::iter(events)).map(Result::unwrap).collect().await;
            let read: serde_json::Value = serde_json::from_slice(&written.concat()).unwrap();
            let read: Vec<_> = read.as_array().unwrap().iter().map(|event| event["text"].clone()).collect();
            assert_eq!(read, texts);
        }
    }

    #[tokio::test]
    async fn the_end_of_a_log_is_its_newest_lines_first() {
        let told = (1..=9).map(|position| printed(position, &position.to_string())).collect();
        let events = read_of(told, End::Position(9)).await;
        let last: Vec<_> = end_of(stream::iter(events), 3).map(|event| event.unwrap().text).collect().await;
        assert_eq!(last, ["9", "8", "7"]);
    }

    #[test]
    fn what_cannot_be_asked_for_is_named() {
        let backward = Some(Direction::Backward);
        for (which, named) in [
            (Which { limit: Some(-2), ..Which::default() }, "limit"),
            (Which { since: Some(-1), ..Which::default() }, "since"),
            (Which { follow: Some("yes".into()), ..Which::default() }, "follow"),
            (Which { direction: backward, follow: Some("1".into()), ..Which::default() }, "direction"),
        ] {
            assert!(which.checked().unwrap_err().message.contains(named));
        }
    }
}
