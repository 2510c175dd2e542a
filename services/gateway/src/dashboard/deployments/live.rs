//! `/projects/{project}/events`: what changes in the list while it is open.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Path, State},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt as _, future, stream};
use grapnel_proto::hooks::v1::{
    Deployment, WatchDeploymentsRequest, watch_deployments_response::Change,
};
use askama::Template as _;
use http::HeaderValue;

use super::{list::{self, Filter}, view::Row};
use crate::{
    dashboard::{forms::Asked, links, page_error::PageError, session::SignedIn},
    hooks_client::answered,
    server::Interface,
};

/// How long a stream is silent at most, so that nothing between here and the reader closes it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /projects/{project}/events`: each deployment that is new or changed as a row, and without one where it does not belong
/// into the list. The stream ends when the service does; browsers come back.
pub async fn events(
    signed_in: SignedIn,
    State(interface): State<Interface>,
    Path(name): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let filter = Filter::read(&asked);
    let project = list::project(&signed_in.caller, &name).await?;
    let key = links::key_of(&project).to_owned();
    let request = WatchDeploymentsRequest { project: project.id.clone() };
    let changes = answered(signed_in.caller.hooks().watch_deployments(request)).await?;
    // What changed before this was asked for is told first, the newest last, since each new one goes to the top.
    let now = list::deployments(&signed_in.caller, &project, &filter, "").await?.deployments;
    let now = stream::iter(now.into_iter().rev().map(|it| Some(Change::Deployment(it))));
    let changes = changes.take_while(|message| future::ready(message.is_ok()));
    let changes = now.chain(changes.map(|message| message.ok().and_then(|message| message.change)));
    let told = changes.filter_map(move |change| {
        let told = match change {
            Some(Change::Deployment(deployment)) => {
                let row = fits(&filter, &deployment)
                    .then(|| Row::of(&key, &deployment, interface.clock.now()).render().unwrap_or_default());
                Some(serde_json::json!({ "id": deployment.id, "html": row }))
            }
            Some(Change::DeletedId(id)) => Some(serde_json::json!({ "id": id })),
            None => None,
        };
        future::ready(told.map(|told| Ok::<_, Infallible>(Event::default().event("change").data(told.to_string()))))
    });
    let mut response = Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn fits(filter: &Filter, deployment: &Deployment) -> bool {
    (filter.state.is_empty() || filter.wire_state() == deployment.state)
        && (filter.branch.is_empty() || filter.branch == deployment.branch)
        && (filter.hook.is_empty() || filter.hook == deployment.hook_id)
}
