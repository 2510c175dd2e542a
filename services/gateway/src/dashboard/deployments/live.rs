//! `/projects/{project}/events`: what changes in the list while it is open.

use axum::{
    extract::{Path, State},
    response::Response,
};
use futures_util::{StreamExt as _, future, stream};
use grapnel_proto::hooks::v1::{
    Deployment, WatchDeploymentsRequest, watch_deployments_response::Change as Changed,
};

use super::{
    list::{self, Filter},
    view::Row,
};
use crate::{
    dashboard::{
        forms::Asked,
        links,
        live::{self, Change},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// `GET /projects/{project}/events`: each deployment that is new or changed as a row, and without one where it does not belong
/// into the list. The stream ends when the service does; browsers come back.
pub async fn events(
    signed_in: SignedIn,
    State(interface): State<Interface>,
    Path(name): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let filter = Filter::read(&asked);
    let caller = &signed_in.caller;
    let project = list::project(caller, &name).await?;
    let key = links::key_of(&project).to_owned();
    let request = WatchDeploymentsRequest { project: project.id.clone() };
    let changes = answered(caller.hooks().watch_deployments(request)).await?;
    // What changed before this was asked for is told first, the newest last, since each new one goes to the top.
    let first = list::deployments(caller, &project, &filter, "").await?.deployments;
    let ids: Vec<String> = first.iter().map(|it| it.id.clone()).collect();
    let first = stream::iter(first.into_iter().rev().map(|it| Some(Changed::Deployment(it))));
    let later = changes.take_while(|message| future::ready(message.is_ok()));
    let later = later.map(|message| message.ok().and_then(|message| message.change));
    let told = first.chain(later).filter_map(move |change| {
        future::ready(match change {
            Some(Changed::Deployment(it)) if fits(&filter, &it) => {
                Change::shown(&it.id, &Row::of(&key, &it, interface.clock.now()))
            }
            Some(Changed::Deployment(it)) => Some(Change::gone(it.id)),
            Some(Changed::DeletedId(id)) => Some(Change::gone(id)),
            None => None,
        })
    });
    Ok(live::answer(signed_in, &ids, told))
}

fn fits(filter: &Filter, deployment: &Deployment) -> bool {
    (filter.state.is_empty() || filter.wire_state() == deployment.state)
        && (filter.branch.is_empty() || filter.branch == deployment.branch)
        && (filter.hook.is_empty() || filter.hook == deployment.hook_id)
}
