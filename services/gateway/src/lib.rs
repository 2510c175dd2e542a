//! The HTTP side of Grapnel: hook URLs, deployments, sites, the dashboard.
//!
//! It speaks gRPC to the hooks service and knows no database. Sites have a listener of their own, so that nothing a site
//! does happens on the origin of the interface.

mod caller;
mod client_address;
mod config;
mod dashboard;
mod deployments;
mod error;
mod hook_url;
mod hooks_client;
mod http_server;
mod lookahead;
mod query;
mod rest;
mod server;
mod sites;
mod status;
mod status_page;

pub use client_address::TrustedProxies;
pub use config::{GatewayConfig, SETTINGS};
pub use server::{Gateway, StartError};
