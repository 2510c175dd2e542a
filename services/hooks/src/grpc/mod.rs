//! Thin handlers: parse, authorise, call one use case, convert.

mod auth;
mod convert;
mod convert_endpoints;
mod endpoint_service;
mod hook_service;
mod key_service;
mod page;
mod site_service;
mod update;

use auth::Auth;
use endpoint_service::EndpointHandlers;
use grapnel_domain::secret_token::ApiKey;
use grapnel_proto::hooks::v1::{
    endpoint_service_server::EndpointServiceServer, hook_service_server::HookServiceServer,
    key_service_server::KeyServiceServer, site_service_server::SiteServiceServer,
};
use grapnel_runtime::CancellationToken;
use hook_service::HookHandlers;
use key_service::KeyHandlers;
use site_service::SiteHandlers;
use tonic::service::RoutesBuilder;

use crate::app::App;

/// The services that reflection shows.
pub const PUBLIC: [&str; 3] =
    ["grapnel.hooks.v1.EndpointService", "grapnel.hooks.v1.HookService", "grapnel.hooks.v1.KeyService"];

/// The largest message that is read: settings and names are small.
const LARGEST_MESSAGE: usize = 1 << 20;

/// Puts all services behind their routes.
pub fn routes(app: &App, gateway_key: ApiKey, stopping: CancellationToken) -> RoutesBuilder {
    let auth = Auth::new(app.store.clone(), gateway_key);
    let hooks = HookHandlers { app: app.clone(), auth: auth.clone(), stopping };
    let keys = KeyHandlers { app: app.clone(), auth: auth.clone() };
    let endpoints = EndpointHandlers { app: app.clone(), auth: auth.clone() };
    let sites = SiteHandlers { app: app.clone(), auth };
    let mut routes = RoutesBuilder::default();
    routes.add_service(HookServiceServer::new(hooks).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(KeyServiceServer::new(keys).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(EndpointServiceServer::new(endpoints).max_decoding_message_size(LARGEST_MESSAGE));
    routes.add_service(SiteServiceServer::new(sites).max_decoding_message_size(LARGEST_MESSAGE));
    routes
}
