//! The real processes, real git, real Docker, real HTTP.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod backup;
mod bad_input;
mod browser;
mod buckets;
mod caches;
mod cancel;
mod cli;
mod crashes;
mod db;
mod disk;
mod endpoints;
mod events;
mod faults;
mod grpcurl;
mod hook_url;
mod latency;
mod layers;
mod openapi;
mod private_sources;
mod processes;
mod restarts;
mod retention;
mod secrets;
mod security;
mod sites;
mod start;
mod statuses;
mod tools;
mod triggers;
mod vercel;
