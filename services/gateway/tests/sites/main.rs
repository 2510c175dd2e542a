//! Sites over HTTP: real files on a disk, and a hooks service that says what the test says.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod addresses;
mod attacks;
mod reading;
mod served;
