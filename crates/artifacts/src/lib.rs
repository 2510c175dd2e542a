//! Artifacts of READY deployments: published by executors, read by gateways.
