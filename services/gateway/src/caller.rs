//! The hooks service, as whoever asks the gateway asks it: with their own key, or their session.

use grapnel_proto::hooks::v1::{
    address_service_client::AddressServiceClient, credential_service_client::CredentialServiceClient,
    endpoint_service_client::EndpointServiceClient, hook_service_client::HookServiceClient,
    key_service_client::KeyServiceClient, repository_service_client::RepositoryServiceClient,
    session_service_client::SessionServiceClient, status_service_client::StatusServiceClient,
    variable_service_client::VariableServiceClient,
};
use grapnel_runtime::grpc::Line;
use http::HeaderValue;
use tonic::{
    Request, Status,
    codegen::InterceptedService,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

/// Whoever asks. Clones share the line.
#[derive(Clone)]
pub struct Caller {
    line: Line,
    shown: Shown,
}

/// What they show, in every call of theirs.
#[derive(Clone)]
pub struct Shown(Option<MetadataValue<Ascii>>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(shown) = &self.0 {
            request.metadata_mut().insert("authorization", shown.clone());
        }
        Ok(request)
    }
}

macro_rules! clients {
    ($($(#[doc = $doc:literal])* $name:ident: $client:ident;)*) => {
        impl Caller {
            $(
                $(#[doc = $doc])*
                pub fn $name(&self) -> $client<InterceptedService<Line, Shown>> {
                    $client::with_interceptor(self.line.clone(), self.shown.clone())
                }
            )*
        }
    };
}

clients! {
    /// Which deployment each address serves.
    addresses: AddressServiceClient;
    /// What git needs for private repositories.
    credentials: CredentialServiceClient;
    /// Who hears of deployments.
    endpoints: EndpointServiceClient;
    /// Projects, hooks, deployments.
    hooks: HookServiceClient;
    /// API keys.
    keys: KeyServiceClient;
    /// Repositories, looked into.
    repositories: RepositoryServiceClient;
    /// Sessions of people.
    sessions: SessionServiceClient;
    /// What git hosts are told.
    statuses: StatusServiceClient;
    /// The environment of builds.
    variables: VariableServiceClient;
}

impl Caller {
    /// Takes the value of an `authorization` header.
    pub fn new(line: Line, authorization: Option<&HeaderValue>) -> Self {
        let shown = authorization.and_then(|value| MetadataValue::try_from(value.as_bytes()).ok());
        let shown = shown.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Self { line, shown: Shown(shown) }
    }
}
