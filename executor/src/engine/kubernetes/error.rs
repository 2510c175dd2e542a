//! What the cluster's errors mean.

use std::error::Error as _;

use kube::Error;

use crate::engine::EngineError;

/// Translates an error about something. By status number: texts are only handed on.
pub fn translate(error: &Error, what: &str) -> EngineError {
    match error {
        Error::Api(status) => match status.code {
            404 => EngineError::NotFound(what.to_owned()),
            // Somebody in front of the API server, or it itself, has no time or no peer now.
            408 | 429 | 500..=599 => EngineError::Unavailable(status.message.clone()),
            _ => EngineError::Refused(status.message.clone()),
        },
        Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) => {
            EngineError::Unavailable(with_causes(error))
        }
        other => EngineError::Refused(with_causes(other)),
    }
}

/// Tells whether the API server has an opinion, and which number it gives it.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = format!("the API server: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}
