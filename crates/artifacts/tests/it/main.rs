//! Artifact stores, each on what it really stands on.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod bucket;
mod contract;
mod files;
mod settings;
mod site;
