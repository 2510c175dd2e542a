//! What Docker's refusals mean. Told apart by status number, never by text.

use bollard::errors::Error;

use crate::engine::EngineError;

/// Returns the HTTP status of a refusal.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Turns what the client says into what the pipeline knows.
pub fn translate(error: Error, what: &str) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code: 404, .. } => EngineError::NotFound(what.to_owned()),
        Error::DockerResponseServerError { message, .. } => EngineError::Refused(message),
        Error::SocketNotFoundError(path) => EngineError::Unavailable(format!(
            "there is no socket at {path}; is Docker installed and started?"
        )),
        Error::RequestTimeoutError => EngineError::Unavailable("it took too long to answer".to_owned()),
        other => {
            EngineError::Unavailable(format!("{other}; is Docker started, and may this user use its socket?"))
        }
    }
}

/// Ways to read an answer where some refusals mean that all is well.
pub trait EngineResultExt<T> {
    /// Reads "there is none" as `None`.
    fn or_missing(self, what: &str) -> Result<Option<T>, EngineError>;
    /// Reads "it is there already" as done.
    fn or_conflict(self, what: &str) -> Result<(), EngineError>;
    /// Reads "there is none", "it does not run" and "it is being removed" as done.
    fn or_ended(self, what: &str) -> Result<(), EngineError>;
}

impl<T> EngineResultExt<T> for Result<T, Error> {
    fn or_missing(self, what: &str) -> Result<Option<T>, EngineError> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(translate(error, what)),
        }
    }

    fn or_conflict(self, what: &str) -> Result<(), EngineError> {
        match self {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(409) => Ok(()),
            Err(error) => Err(translate(error, what)),
        }
    }

    fn or_ended(self, what: &str) -> Result<(), EngineError> {
        match self {
            Ok(_) => Ok(()),
            Err(error) if matches!(status(&error), Some(304 | 404 | 409)) => Ok(()),
            Err(error) => Err(translate(error, what)),
        }
    }
}
