//! Conversions between wire and domain, a file for each family of messages.
//!
//! From the wire everything may be missing or wrong: such functions return the field's name and what is wrong
//! with it. To the wire nothing can go wrong.

use grapnel_domain::{Error, FieldViolation};

pub mod build;
pub mod deployment;
pub mod endpoint;
pub mod event;
pub mod project;
pub mod source;
pub mod status;
pub mod time;
pub mod trigger;

/// Collects the wrong fields of one request, so that all are told at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Keeps the value, or notes what is wrong with `field`.
    pub fn check<T, E: std::fmt::Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.add(field, error)).ok()
    }

    /// Notes what is wrong with `field`.
    pub fn add(&mut self, field: &str, description: impl std::fmt::Display) {
        self.0.push(FieldViolation { field: field.to_owned(), description: description.to_string() });
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// Something was wrong.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid(self.0)) }
    }
}

/// Hands out a value that is there whenever [`Violations::finish`] went well.
///
/// # Errors
/// The value is not there: a fault of the caller's order of calls, told as an internal error.
pub fn checked<T>(value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::internal("a field was used before its violations were"))
}
