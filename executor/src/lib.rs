//! The build executor: takes deployments over gRPC and runs their steps in sandboxes.
//!
//! `server` takes calls and owns slots and attempts; `pipeline` is the story of one build; `source`, `cache`, `engine`
//! and `link` are what it is told with. Nothing below `server` knows that there is a network.

pub mod cache;
mod config;
pub mod disk;
pub mod engine;
mod first_process;
pub mod link;
pub mod network;
pub mod pipeline;
mod repository_config;
mod server;
pub mod source;
pub mod workspace;

pub use config::{CacheLimits, EngineConfig, ExecutorConfig, KUBERNETES_SETTINGS, SETTINGS};
pub use server::{Executor, StartError, Trial, install_runner, reconcile};
