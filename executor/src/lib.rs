//! The build executor: takes deployments over gRPC and runs their steps in sandboxes.

pub mod engine;
