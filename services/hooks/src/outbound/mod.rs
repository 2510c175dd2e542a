//! What goes out to others: statuses to git hosts, events to endpoints.

pub mod events;
pub mod http;
pub mod statuses;
