//! The HookService: projects, hooks, tokens, limits, deployments and their dispatch.
//!
//! `grpc` holds thin handlers, `app` the use cases, `store` everything durable, and `dispatch` brings stored
//! deployments to executors and their events back.

pub mod app;
pub mod backup;
mod config;
pub mod dispatch;
pub mod executors;
pub mod grpc;
pub mod inputs;
pub mod model;
pub mod outbound;
mod private_file;
pub mod retention;
pub mod sealing;
mod server;
pub mod store;

pub use config::{DatabaseConfig, HooksConfig, SETTINGS, ServiceKeys};
pub use server::{Hooks, StartError};
