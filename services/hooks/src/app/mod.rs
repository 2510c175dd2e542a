//! The use cases: what callers can do, with the rules that hold for it.
//!
//! Domain types come in and records go out; who the caller is has been decided before.

mod caches;
mod commit_statuses;
mod credentials;
mod deployments;
mod endpoints;
mod executors;
mod hooks;
mod keys;
mod projects;
mod rates;
mod repositories;
mod secrets;
mod sessions;
mod sites;
mod status;
mod triggers;
mod variables;
mod watching;

use std::time::Duration;

pub use commit_statuses::{NoDestination, StatusChange};
pub use credentials::{NewCredential, NewSecret, Scanned};
pub use endpoints::{EndpointChanges, NewEndpoint, WithSecret};
pub use executors::{AllExecutors, Executors};
use grapnel_domain::{id::ProjectId, plan::HookLimits, secret_token::HookToken};
use grapnel_runtime::Clock;
pub use hooks::{HookChanges, NewHook, WithUrl};
pub use keys::FirstKey;
pub use projects::{NewProject, ProjectChanges};
pub use rates::TriggerRates;
pub use repositories::Inspected;
pub use secrets::Rotated;
pub use sessions::Profile;
pub use triggers::{Answered, Brought, TriggerTarget, unknown_hook};
pub use watching::{Change, Part};

use crate::{inputs::Inputs, sealing::Sealer, store::Store};

/// The use cases, with what they need. Clones share everything.
#[derive(Clone, Debug)]
pub struct App {
    /// What is durable.
    pub store: Store,
    /// How secrets are kept.
    pub sealer: Sealer,
    /// Time and ids.
    pub clock: Clock,
    /// Hooks per project by plan.
    pub limits: HookLimits,
    /// Triggers by hook and by address.
    pub rates: TriggerRates,
    /// Who looks into repositories and keeps build caches.
    pub executors: AllExecutors,
    /// How addresses look.
    pub addresses: Addresses,
    /// How long a session is open that nobody ends.
    pub session_lifetime: Duration,
}

impl App {
    /// Returns what finds the inputs of builds.
    pub fn inputs(&self) -> Inputs {
        Inputs::new(self.store.clone(), self.sealer.clone())
    }
}

/// How the installation's addresses look from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// How hook URLs begin, without a slash at the end.
    pub public_url: String,
    /// The scheme of sites.
    pub sites_scheme: String,
    /// The domain of sites, with its port.
    pub sites_domain: String,
}

impl Addresses {
    /// Returns a hook's URL. It is a secret.
    pub fn hook_url(&self, project: ProjectId, token: &HookToken) -> String {
        format!("{}/v1/integrations/deploy/{project}/{}", self.public_url, token.expose())
    }

    /// Returns the address of a site by its first label.
    pub fn site_url(&self, label: impl std::fmt::Display) -> String {
        format!("{}://{label}.{}/", self.sites_scheme, self.sites_domain)
    }
}
