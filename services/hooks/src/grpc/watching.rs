//! Streams that go on until something ends them, and say what did.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, future, stream};
use grapnel_domain::{Error, Reason, scope::Scope};
use grapnel_proto::{
    convert::event::deployment_event_to_wire,
    hooks::v1::{WatchDeploymentResponse, WatchDeploymentsResponse, watch_deployments_response},
};
use grapnel_runtime::CancellationToken;
use tonic::{Request, Status, metadata::MetadataMap};

use super::{
    auth::Auth,
    convert::{self, refuse},
};
use crate::{
    app::{Addresses, Change},
    model::StoredEvent,
};

/// How often it is looked whether who watches may still do so: so long a revoked key sees what it saw.
const MAY_STILL_EVERY: Duration = Duration::from_secs(5);

/// The messages of a stream.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Who watches, by what the request shows.
pub struct Watcher {
    auth: Auth,
    shown: MetadataMap,
    stopping: CancellationToken,
}

impl Watcher {
    /// Keeps what a request shows.
    pub fn of<T>(request: &Request<T>, auth: &Auth, stopping: &CancellationToken) -> Self {
        Self { auth: auth.clone(), shown: request.metadata().clone(), stopping: stopping.clone() }
    }

    /// Passes messages on, and ends with an error when the process stops or the watcher may not watch any more. A stream that
    /// ends without one has told everything.
    pub fn told<T>(self, messages: impl Stream<Item = Result<T, Status>> + Send + 'static) -> Messages<T>
    where
        T: Send + 'static,
    {
        let going_on = Some((Box::pin(messages), Box::pin(self.ends())));
        Box::pin(stream::unfold(going_on, async |going_on| {
            let (mut messages, mut ends) = going_on?;
            tokio::select! {
                biased;
                error = &mut ends => Some((Err(refuse(error)), None)),
                message = messages.next() => message.map(|message| (message, Some((messages, ends)))),
            }
        }))
    }

    /// Waits until the process stops, or the key that was shown does not work any more.
    async fn ends(self) -> Error {
        let Self { auth, shown, stopping } = self;
        let mut request = Request::new(());
        *request.metadata_mut() = shown;
        loop {
            tokio::select! {
                () = stopping.cancelled() => {
                    return Error::new(Reason::ShuttingDown, "the hooks service is stopping; watch again when it is back");
                }
                () = tokio::time::sleep(MAY_STILL_EVERY) => {}
            }
            match auth.team(&request, Scope::Read).await {
                Err(error) if error.reason != Reason::StoreUnavailable => return error,
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Writes what happens to a deployment. What is not for callers is left out.
pub fn history(
    events: impl Stream<Item = Result<Arc<StoredEvent>, Error>> + Send + 'static,
) -> impl Stream<Item = Result<WatchDeploymentResponse, Status>> + Send + 'static {
    events.filter_map(|stored| {
        future::ready(match stored {
            Ok(stored) => deployment_event_to_wire(stored.position, stored.at, &stored.event)
                .map(|event| Ok(WatchDeploymentResponse { event: Some(event) })),
            Err(error) => Some(Err(refuse(error))),
        })
    })
}

/// Writes what changes of many deployments.
pub fn changes(
    changes: impl Stream<Item = Result<Change, Error>> + Send + 'static,
    addresses: Addresses,
) -> impl Stream<Item = Result<WatchDeploymentsResponse, Status>> + Send + 'static {
    use watch_deployments_response::Change as Told;
    changes.map(move |change| {
        let told = match change.map_err(refuse)? {
            Change::Is(deployment) => Told::Deployment(convert::deployment(&deployment, &addresses)),
            Change::Deleted(id) => Told::DeletedId(id.to_string()),
        };
        Ok(WatchDeploymentsResponse { change: Some(told) })
    })
}
