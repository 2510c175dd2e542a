//! The build executor: takes deployments over gRPC and runs their steps in sandboxes.
