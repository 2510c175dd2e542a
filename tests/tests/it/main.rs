//! The real processes, real git, real Docker, real HTTP.

mod bad_input;
mod cancel;
mod grpcurl;
mod hook_url;
mod latency;
mod layers;
mod sites;
mod start;
