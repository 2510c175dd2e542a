//! The hooks service against real databases and real connections.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod addresses;
mod authorisation;
mod backlog;
mod backups;
mod bursts;
mod changes;
mod databases;
mod deleting;
mod dispatch;
mod endpoints;
mod fleet;
mod histories;
mod leases;
mod listening;
mod lists;
mod outages;
mod outgoing_events;
mod proxy;
mod repositories;
mod retention;
mod schemas;
mod scripted;
mod secrets;
mod senders;
mod sending;
mod sessions;
mod statuses;
mod support;
mod together;
mod tokens;
mod triggers;
mod watching;
