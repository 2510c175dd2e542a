//! What keeps a page live: a stream of pieces of page, each of which takes the place of the one with its id.
//!
//! `assets/live.js` reads it. A browser that was away asks anew, so a stream begins with all that its page shows: nothing
//! between the page and its stream is lost, and nothing has to be remembered.

use std::{convert::Infallible, time::Duration};

use askama::Template;
use axum::response::{
    IntoResponse as _, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt as _, stream};
use grapnel_domain::ErrorCode;
use grapnel_proto::hooks::v1::GetSessionRequest;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::session::SignedIn;
use crate::hooks_client::answered_to_people as answered;

/// How often a stream asks whether its session goes on. A page that is open for days ends soon after its key is revoked.
const CHECK: Duration = Duration::from_secs(5);

/// How often something is sent where nothing happens: proxies end what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// One change of a page.
#[derive(Debug, Serialize)]
pub struct Change {
    /// The `id` of the element that changes.
    id: String,
    /// What stands there from now on; none where the element goes away.
    html: Option<String>,
}

impl Change {
    /// An element as it is now.
    pub fn shown(id: impl Into<String>, piece: &impl Template) -> Option<Self> {
        let written =
            piece.render().inspect_err(|error| tracing::error!(%error, "a piece of page cannot be written"));
        Some(Self { id: id.into(), html: Some(written.ok()?) })
    }

    /// An element that is no more.
    pub fn gone(id: impl Into<String>) -> Self {
        Self { id: id.into(), html: None }
    }
}

/// Answers with a stream of changes of a list, of which the browser keeps these `ids` alone. It ends with them, when the
/// gateway stops, and with the session: an event `ended` says so.
pub fn answer(
    signed_in: SignedIn,
    ids: &[String],
    changes: impl Stream<Item = Change> + Send + 'static,
) -> Response {
    let all = Event::default().event("all").data(serde_json::json!(ids).to_string());
    let events = changes.filter_map(async |change| {
        let written = serde_json::to_string(&change).ok()?;
        Some(Event::default().event("change").data(written))
    });
    answer_with(signed_in, stream::iter([all]).chain(events))
}

/// Answers with a stream of events, which ends as [`answer`] says.
pub fn answer_with(signed_in: SignedIn, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let mut check = interval_at(Instant::now() + CHECK, CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let live = Live { signed_in, events: Box::pin(events), check, over: false };
    let events = stream::unfold(live, async |mut live| {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    let mut response =
        Sse::new(Box::pin(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx holds back what it is not told to pass on.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct Live<S> {
    signed_in: SignedIn,
    events: S,
    check: Interval,
    over: bool,
}

impl<S: Stream<Item = Event> + Unpin> Live<S> {
    async fn next(&mut self) -> Option<Event> {
        while !self.over {
            tokio::select! {
                event = self.events.next() => return event,
                // Browsers come back, to another process perhaps.
                () = self.signed_in.stopping.cancelled() => return None,
                _ = self.check.tick() => self.over = !goes_on(&self.signed_in).await,
            }
            if self.over {
                return Some(Event::default().event("ended").data("the session has ended"));
            }
        }
        None
    }
}

/// Tells whether a session goes on, as far as anybody can be asked.
async fn goes_on(signed_in: &SignedIn) -> bool {
    let asked = answered(signed_in.caller.sessions().get_session(GetSessionRequest {})).await;
    !asked.is_err_and(|error| error.code() == ErrorCode::Unauthenticated)
}
