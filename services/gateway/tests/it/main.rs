//! The gateway in front of a hooks service that the test itself plays.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod dashboard;
mod support;
