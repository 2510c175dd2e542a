//! `/projects/{project}/deployments/{id}`: one deployment, and its log.

use askama::Template;
use axum::{extract::Path, response::Response};
use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{Deployment, deployment_event::Event},
};
use http::StatusCode;

use super::{
    ansi::{self, Run},
    stream,
    summary::{self, Summary},
};
use crate::{
    caller::Caller,
    dashboard::{
        forms::Asked,
        links,
        page::{self, Frame, Tab},
        page_error::PageError,
        session::SignedIn,
    },
};

/// How many of the last events are looked through for lines, for readers without scripts: a few first, since a build that
/// prints a lot has a thousand lines in each, and half as many more as long as that was little.
const FEW_EVENTS: u64 = 4;
const MANY_EVENTS: u64 = 64;

/// How many lines are enough of them.
const ENOUGH: usize = 50;

/// How many of the last lines such a reader is shown; the whole log is a file.
const LINES: usize = 500;

#[derive(Template)]
#[template(path = "deployments/page.html")]
struct DeploymentPage {
    frame: Frame,
    summary: Summary,
    stream: String,
    log: String,
    lines: Vec<Line>,
    /// Whether the first line that is shown is not the log's first.
    cut: bool,
}

/// A line of the log.
struct Line {
    kind: &'static str,
    at: String,
    runs: Vec<Run>,
}

/// `GET /projects/{project}/deployments/{id}`
pub async fn show(
    signed_in: SignedIn,
    Path((name, id)): Path<(String, String)>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let summary = summary::read(&signed_in, &name, &id).await?;
    let (lines, cut) = last_lines(&signed_in.caller, &summary.deployment).await?;
    let key = links::key_of(&summary.project);
    let stream = links::deployment_stream(&summary.project.id, &id, summary.shown);
    let log = links::deployment_log(key, &id);
    let frame = Frame::of(&signed_in, summary.title.clone())
        .in_project(&summary.project, Tab::Deployments)
        .after(&asked)
        .with_script("log.js")
        .with_script("copy.js");
    Ok(page::shown(StatusCode::OK, &DeploymentPage { frame, summary, stream, log, lines, cut }))
}

async fn last_lines(caller: &Caller, deployment: &Deployment) -> Result<(Vec<Line>, bool), PageError> {
    let mut events = FEW_EVENTS;
    loop {
        let (lines, cut) = lines_of_last(events, caller, deployment).await?;
        if lines.len() >= ENOUGH || !cut || events >= MANY_EVENTS {
            return Ok((lines, cut));
        }
        events += events / 2;
    }
}

async fn lines_of_last(
    count: u64,
    caller: &Caller,
    deployment: &Deployment,
) -> Result<(Vec<Line>, bool), PageError> {
    let after = deployment.last_position.saturating_sub(count);
    let mut events = stream::watch(caller, &deployment.id, after, true).await?;
    let mut lines = Vec::new();
    while let Some(message) = events.message().await? {
        let Some(Event::Log(log)) = message.event.and_then(|event| event.event) else { continue };
        lines.extend(log.lines.iter().map(|line| Line {
            kind: stream::kind(line.stream()),
            at: datetime(line.at.as_ref()).map(|at| at.format("%H:%M:%S").to_string()).unwrap_or_default(),
            runs: ansi::runs(&line.text),
        }));
    }
    let over = lines.len().saturating_sub(LINES);
    lines.drain(..over);
    Ok((lines, over > 0 || after > 0))
}
