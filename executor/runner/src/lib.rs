//! What the first process of a sandbox and the executor say to each other.
//!
//! Both ends send [`frame::Frame`]s over one Unix socket on which the executor listens. The runner's frames are
//! numbered from 1 and kept until the executor has acknowledged them, so that a connection may break at any
//! moment and nothing is lost or told twice. The runner trusts the executor; the executor trusts nobody in the
//! sandbox.

pub mod frame;
pub mod message;
