//! The hooks service against real databases and real connections.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod authorisation;
mod bursts;
mod databases;
mod dispatch;
mod endpoints;
mod histories;
mod leases;
mod listening;
mod outages;
mod outgoing_events;
mod own_postgres;
mod proxy;
mod schemas;
mod secrets;
mod senders;
mod sending;
mod statuses;
mod support;
mod tokens;
mod triggers;
mod watching;
