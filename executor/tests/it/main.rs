//! The executor's parts, each against the real thing beside it: engines, git, runners.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod adoption;
mod ahead;
mod artifacts;
mod attacks;
mod beside_the_source;
mod branches;
mod buckets;
mod builds;
mod cache_upkeep;
mod caches;
mod engines;
mod journals;
mod lfs;
mod links;
mod private_sources;
mod reconciling;
mod served;
mod server;
mod shared_caches;
mod site;
mod source_site;
mod sources;
mod submodules;
mod support;
