//! Events to endpoints, in the form of Standard Webhooks 1.0.0.
//!
//! What is to be sent stands in the store, written in the transaction of what it tells. One loop claims what is due, and a
//! task of its own sends each: at least once, for who dies between sending and saying so leaves the try to another.

mod body;
mod signature;
mod worker;

pub use body::body;
pub use worker::{Needs, Pace, Sender};
