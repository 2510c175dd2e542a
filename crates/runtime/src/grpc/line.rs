//! How a client reaches a service: over a connection, or without one where both are in the same process.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
    service::Routes,
    transport::{Channel, Error},
};

/// The services of this process, for clients in it. They are called as they would be over a connection, with the same keys, by
/// the same handlers and within the same limits; nothing is only said to be so. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Local(Arc<OnceLock<Routes>>);

impl Local {
    /// Begins to serve. Whoever calls before is told that nobody is there yet.
    pub fn serve(&self, routes: Routes) {
        // A service begins once.
        let _ = self.0.set(routes);
    }
}

/// The way to a service. Clones share it.
#[derive(Clone, Debug)]
pub enum Line {
    /// A connection.
    Connected(Channel),
    /// None: it is in this process.
    Local(Local),
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Connected(channel) => channel.poll_ready(context),
            Self::Local(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Self::Connected(channel) => Box::pin(channel.call(request)),
            Self::Local(local) => {
                let routes = local.0.get().cloned();
                Box::pin(async move {
                    let Some(mut routes) = routes else {
                        return Ok(Status::unavailable("the service is only starting").into_http());
                    };
                    let answered: Result<_, Infallible> = routes.call(request).await;
                    Ok(answered.unwrap_or_else(|never| match never {}))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_health::{
        ServingStatus,
        pb::{HealthCheckRequest, health_client::HealthClient},
    };

    use super::*;

    #[tokio::test]
    async fn a_service_of_the_same_process_answers_as_soon_as_it_serves_and_streams_too() {
        let local = Local::default();
        let mut client = HealthClient::new(Line::Local(local.clone()));
        let early = client.check(HealthCheckRequest::default()).await.unwrap_err();
        assert_eq!(early.code(), Code::Unavailable);
        let (reporter, health) = tonic_health::server::health_reporter();
        local.serve(Routes::new(health));
        client.check(HealthCheckRequest::default()).await.unwrap();
        let unknown = HealthCheckRequest { service: "nobody".to_owned() };
        assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
        let mut watching = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        for told in [ServingStatus::Serving, ServingStatus::NotServing] {
            assert_eq!(watching.message().await.unwrap().unwrap().status, told as i32);
            reporter.set_service_status("", ServingStatus::NotServing).await;
        }
    }
}
