//! The hooks service, as the gateway asks it.

use std::time::Duration;

use grapnel_domain::{Error, Reason, secret_token::ApiKey};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        Deployment, GetDeploymentRequest, ReadStatusRequest, ResolveSiteRequest, ResolveSiteResponse,
        TriggerHookRequest, TriggerHookResponse, WatchDeploymentRequest, WatchDeploymentResponse,
        hook_service_client::HookServiceClient, site_service_client::SiteServiceClient,
    },
};
use grapnel_runtime::grpc::{Bearer, Line};
use http::HeaderValue;
use tokio::time::timeout;
use tonic::{Streaming, codegen::InterceptedService};

use crate::caller::Caller;

/// How long the hooks service may take. Callers of hook URLs give up after two seconds, the strictest of them, and the way there
/// and back is part of that.
const ANSWER: Duration = Duration::from_millis(1_500);

/// The line to the hooks service. Clones share it.
#[derive(Clone)]
pub struct HooksClient {
    /// As the gateway itself.
    hooks: HookServiceClient<InterceptedService<Line, Bearer>>,
    sites: SiteServiceClient<InterceptedService<Line, Bearer>>,
    line: Line,
}

impl HooksClient {
    /// Takes the line, and the gateway's own key.
    pub fn new(line: Line, key: &ApiKey) -> Self {
        Self {
            hooks: HookServiceClient::with_interceptor(line.clone(), Bearer::new(key)),
            sites: SiteServiceClient::with_interceptor(line.clone(), Bearer::new(key)),
            line,
        }
    }

    /// Returns the service as whoever asks the gateway asks it, by the value of their `authorization` header.
    pub fn as_caller(&self, authorization: Option<&HeaderValue>) -> Caller {
        Caller::new(self.line.clone(), authorization)
    }

    /// Triggers a hook by what stands in its URL.
    ///
    /// # Errors
    /// What the service answers, or `HOOKS_UNAVAILABLE`.
    pub async fn trigger(&self, request: TriggerHookRequest) -> Result<TriggerHookResponse, Error> {
        let mut client = self.hooks.clone();
        answered(client.trigger_hook(request)).await
    }

    /// Reads a deployment's state by its token, at once or, if it ends within `wait` seconds, at its end.
    ///
    /// # Errors
    /// `DEPLOYMENT_NOT_FOUND`, `HOOKS_UNAVAILABLE`.
    pub async fn status(&self, id: &str, status_token: &str, wait: u32) -> Result<Deployment, Error> {
        let request = ReadStatusRequest {
            deployment_id: id.to_owned(),
            status_token: status_token.to_owned(),
            wait_seconds: wait,
        };
        let mut client = self.sites.clone();
        let within = ANSWER + Duration::from_secs(wait.into());
        let answer = answered_within(within, client.read_status(request)).await?;
        answer.deployment.ok_or_else(|| Error::internal("the hooks service answered no deployment"))
    }

    /// Finds the deployment behind a label.
    ///
    /// # Errors
    /// `SITE_NOT_FOUND`, `HOOKS_UNAVAILABLE`.
    pub async fn resolve_site(&self, label: String) -> Result<ResolveSiteResponse, Error> {
        let mut client = self.sites.clone();
        answered(client.resolve_site(ResolveSiteRequest { label })).await
    }

    /// Reads a deployment with the caller's own key.
    ///
    /// # Errors
    /// What the service answers, or `HOOKS_UNAVAILABLE`.
    pub async fn deployment(&self, caller: Option<&HeaderValue>, id: String) -> Result<Deployment, Error> {
        let request = GetDeploymentRequest { deployment_id: id };
        let answer = answered(self.as_caller(caller).hooks().get_deployment(request)).await?;
        answer.deployment.ok_or_else(|| Error::internal("the hooks service answered no deployment"))
    }

    /// Watches a deployment with the caller's own key.
    ///
    /// # Errors
    /// What the service answers, or `HOOKS_UNAVAILABLE`.
    pub async fn watch(
        &self,
        caller: Option<&HeaderValue>,
        id: String,
        after_position: u64,
    ) -> Result<Streaming<WatchDeploymentResponse>, Error> {
        let request = WatchDeploymentRequest { deployment_id: id, after_position, ..Default::default() };
        answered(self.as_caller(caller).hooks().watch_deployment(request)).await
    }

    /// Tells whether the service answers.
    pub async fn is_there(&self) -> bool {
        // Without a key: being refused is an answer.
        let asked =
            answered(self.as_caller(None).hooks().get_deployment(GetDeploymentRequest::default())).await;
        !matches!(asked, Err(error) if error.reason == Reason::HooksUnavailable)
    }
}

/// Waits for an answer, and turns what the service refuses into the domain's error.
///
/// # Errors
/// What the service answers, or `HOOKS_UNAVAILABLE` when it does not in time.
pub async fn answered<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    answered_within(ANSWER, call).await
}

/// How long a person at a page is let wait: longer than the service itself waits for an executor.
const PEOPLE: Duration = Duration::from_secs(10);

/// As [`answered`], for people, who wait longer than callers of hook URLs and lose what they typed if nobody does.
///
/// # Errors
/// As there.
pub async fn answered_to_people<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    answered_within(PEOPLE, call).await
}

/// As [`answered`], for calls that may take longer.
///
/// # Errors
/// As there.
pub async fn answered_within<T>(
    within: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    let away = || Error::new(Reason::HooksUnavailable, "the hooks service does not answer in time");
    let answer = timeout(within, call).await.map_err(|_| away())?;
    answer.map(tonic::Response::into_inner).map_err(|status| from_status(&status, Reason::HooksUnavailable))
}
