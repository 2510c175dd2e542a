//! What every Grapnel process needs: settings, telemetry, clock, shutdown, gRPC ends.
//!
//! The wall clock, the environment and signals are read here and nowhere else, so that everything above can be
//! tested with a time and a configuration of the test's own.

pub mod boot;
pub mod clock;
mod crash_point;
pub mod grpc;
pub mod https;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use clock::Clock;
pub use crash_point::{arm_crash_points, crash_point};
pub use settings::{Setting, Settings};
pub use tokio_util::{sync::CancellationToken, task::TaskTracker};
