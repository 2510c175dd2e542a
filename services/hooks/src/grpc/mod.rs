//! Thin handlers: parse, authorise, call one use case, convert.

/// Gives every handler one shape: what it does may fail with the domain's error.
macro_rules! answer {
    ($body:block) => {{
        let answered: Result<_, grapnel_domain::Error> = async move { $body }.await;
        answered.map(tonic::Response::new).map_err($crate::grpc::convert::refuse)
    }};
}

mod address_service;
mod auth;
mod convert;
mod convert_endpoints;
mod credential_service;
mod endpoint_service;
mod fleet_service;
mod hook_service;
mod key_service;
mod lists;
mod page;
mod repository_service;
mod secret_service;
mod session_service;
mod site_service;
mod status_service;
mod update;
mod variable_service;
mod watching;

use address_service::AddressHandlers;
use auth::Auth;
use credential_service::CredentialHandlers;
use endpoint_service::EndpointHandlers;
use fleet_service::FleetHandlers;
use grapnel_domain::secret_token::ApiKey;
use grapnel_proto::hooks::v1::{
    address_service_server::AddressServiceServer, credential_service_server::CredentialServiceServer,
    endpoint_service_server::EndpointServiceServer, fleet_service_server::FleetServiceServer,
    hook_service_server::HookServiceServer, key_service_server::KeyServiceServer,
    repository_service_server::RepositoryServiceServer, secret_service_server::SecretServiceServer,
    session_service_server::SessionServiceServer, site_service_server::SiteServiceServer,
    status_service_server::StatusServiceServer, variable_service_server::VariableServiceServer,
};
use grapnel_runtime::CancellationToken;
use hook_service::HookHandlers;
use key_service::KeyHandlers;
use repository_service::RepositoryHandlers;
use secret_service::SecretHandlers;
use session_service::SessionHandlers;
use site_service::SiteHandlers;
use status_service::StatusHandlers;
use tonic::service::RoutesBuilder;
use variable_service::VariableHandlers;

use crate::app::App;

/// What a handler returns.
type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

/// The services that reflection shows.
pub const PUBLIC: [&str; 11] = [
    "grapnel.hooks.v1.AddressService",
    "grapnel.hooks.v1.CredentialService",
    "grapnel.hooks.v1.EndpointService",
    "grapnel.hooks.v1.FleetService",
    "grapnel.hooks.v1.HookService",
    "grapnel.hooks.v1.KeyService",
    "grapnel.hooks.v1.RepositoryService",
    "grapnel.hooks.v1.SecretService",
    "grapnel.hooks.v1.SessionService",
    "grapnel.hooks.v1.StatusService",
    "grapnel.hooks.v1.VariableService",
];

/// The largest message that is read: settings and names are small.
const LARGEST_MESSAGE: usize = 1 << 20;

/// Puts all services behind their routes.
pub fn routes(app: &App, gateway_key: ApiKey, stopping: CancellationToken) -> RoutesBuilder {
    let auth = Auth::new(app.store.clone(), app.clock.clone(), gateway_key);
    let hooks = HookHandlers { app: app.clone(), auth: auth.clone(), stopping };
    let keys = KeyHandlers { app: app.clone(), auth: auth.clone() };
    let credentials = CredentialHandlers { app: app.clone(), auth: auth.clone() };
    let secrets = SecretHandlers { app: app.clone(), auth: auth.clone() };
    let variables = VariableHandlers { app: app.clone(), auth: auth.clone() };
    let repositories = RepositoryHandlers { app: app.clone(), auth: auth.clone() };
    let sessions = SessionHandlers { app: app.clone(), auth: auth.clone() };
    let statuses = StatusHandlers { app: app.clone(), auth: auth.clone() };
    let endpoints = EndpointHandlers { app: app.clone(), auth: auth.clone() };
    let fleet = FleetHandlers { app: app.clone(), auth: auth.clone() };
    let addresses = AddressHandlers { app: app.clone(), auth: auth.clone() };
    let sites = SiteHandlers { app: app.clone(), auth };
    let mut routes = RoutesBuilder::default();
    routes.add_service(CredentialServiceServer::new(credentials).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(SecretServiceServer::new(secrets).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(VariableServiceServer::new(variables).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(HookServiceServer::new(hooks).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(KeyServiceServer::new(keys).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(RepositoryServiceServer::new(repositories).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(SessionServiceServer::new(sessions).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(StatusServiceServer::new(statuses).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(EndpointServiceServer::new(endpoints).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(FleetServiceServer::new(fleet).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(AddressServiceServer::new(addresses).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(SiteServiceServer::new(sites).max_decoding_message_size(LARGEST_MESSAGE));
    routes
}
