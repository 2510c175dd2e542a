//! What a request says, taken apart. Whatever is wrong with it is answered in the one envelope, and named.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
};
use grapnel_domain::{Error, Reason};
use http::{StatusCode, request::Parts};
use serde::de::{DeserializeOwned, Error as DeserializeError};
use serde_json::Value;

use crate::{error::HttpError, server::Interface};

/// How much is said of what is wrong.
const SHOWN: usize = 300;

/// What stands in the path. What cannot stand there names nothing.
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Interface> for Named<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &Interface) -> Result<Self, HttpError> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(named)| Self(named)).map_err(|_| HttpError::not_found())
    }
}

/// What stands in the query. Parameters that nobody knows are passed over.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Interface> for Asked<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &Interface) -> Result<Self, HttpError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(asked)| Self(asked)).map_err(|rejection| wrong("the query", &rejection.body_text()))
    }
}

/// A body of JSON. Fields that nobody knows are passed over.
pub struct Sent<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Interface> for Sent<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &Interface) -> Result<Self, HttpError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(sent)) => Ok(Self(sent)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(HttpError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON, with `content-type: application/json`",
            )),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(HttpError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                "the body is larger than 64 KiB",
            )),
            Err(rejection) => Err(wrong("the body", &rejection.body_text())),
        }
    }
}

/// Reads fields, and names the one that is wrong.
///
/// # Errors
/// One is missing, or wrong.
pub fn field_by_field<T: DeserializeOwned, E: DeserializeError>(
    body: serde_json::Map<String, Value>,
) -> Result<T, E> {
    serde_path_to_error::deserialize(Value::Object(body)).map_err(|error| match error.path().to_string() {
        path if path == "." => E::custom(error.inner()),
        path => E::custom(format!("`{path}`: {}", error.inner())),
    })
}

/// Says what is wrong. The texts begin with what was done, `Failed to …: `, and go on with the field and why.
fn wrong(what: &str, text: &str) -> HttpError {
    let why = text.split_once(": ").map_or(text, |(_, why)| why);
    let why: String = why.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    Error::new(Reason::InvalidRequest, format!("{what} is wrong: {why}")).into()
}
