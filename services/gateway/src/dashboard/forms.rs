//! What people send: forms, and the queries of addresses.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use grapnel_domain::Error;
use http::{HeaderMap, header, request::Parts};
use tokio::time::timeout;

use super::{
    page_error::{PageError, sentence},
    session::SignedIn,
};
use crate::server::Interface;

/// The largest form: variables have values of up to 64 KiB.
const SIZE: usize = 1 << 20;

/// How much of a larger one is passed over, since browsers send it all before they listen.
const PASSED_OVER: usize = 16 << 20;

/// How long a form may take to come.
const TIME: Duration = Duration::from_secs(10);

/// The field that proves that a form is from a page of this session.
const TOKEN: &str = "csrf";

/// Named values, in their order. It shows no values: some are secret.
#[derive(Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Fields {
    /// Reads what is URL-encoded.
    pub fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Returns the first value of a name without the space around it; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.exact(name).trim()
    }

    /// Returns the first value of a name as it is; empty where there is none. Browsers send the ends of lines as CR LF.
    pub fn exact(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// Returns every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Tells whether a box is checked.
    pub fn checked(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

/// The query of an address.
pub struct Asked(pub Fields);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

/// A form of a page of ours, sent by whom the page was for. Made only where the form proves it.
pub struct Posted {
    /// Who sent it.
    pub signed_in: SignedIn,
    /// What it says.
    pub fields: Fields,
}

impl FromRequest<Interface> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, interface: &Interface) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        if !is_from_here(&parts, interface.public_url.as_deref()) {
            return Err(PageError::forged().into_response());
        }
        let signed_in = SignedIn::from_request_parts(&mut parts, interface).await?;
        let fields = read(&parts.headers, body).await.map_err(PageError::into_response)?;
        if !signed_in.gave_out(fields.exact(TOKEN)) {
            return Err(PageError::forged().into_response());
        }
        Ok(Self { signed_in, fields })
    }
}

/// The form to sign in with. There is no session yet whose token it could carry.
pub struct Unsigned(pub Fields);

impl FromRequest<Interface> for Unsigned {
    type Rejection = PageError;

    async fn from_request(request: Request, interface: &Interface) -> Result<Self, PageError> {
        let (parts, body) = request.into_parts();
        if !is_from_here(&parts, interface.public_url.as_deref()) {
            return Err(PageError::forged());
        }
        read(&parts.headers, body).await.map(Self)
    }
}

/// Tells whether a browser says that a form comes from a page of this origin, or nothing about it. A page of another
/// origin cannot keep the browser from saying so (Fetch, sections 3.2 and 4.6).
fn is_from_here(parts: &Parts, public_url: Option<&str>) -> bool {
    let headers = &parts.headers;
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or_default());
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let Some(origin) = text("origin") else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    // Over HTTP/2 the host stands in the address (RFC 9113, section 8.3.1).
    let asked = text("host").or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    let ours = host.is_some() && host == asked;
    ours || public_url.is_some_and(|url| {
        url == origin || url.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/'))
    })
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Fields, PageError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(PageError::unreadable());
    }
    let text = timeout(TIME, collect(body)).await.map_err(|_| PageError::unreadable())??;
    Ok(Fields::parse(&text))
}

async fn collect(body: Body) -> Result<Vec<u8>, PageError> {
    let mut data = body.into_data_stream();
    let (mut text, mut length) = (Vec::new(), 0);
    while let Some(chunk) = data.next().await {
        let chunk = chunk.map_err(|_| PageError::unreadable())?;
        length += chunk.len();
        if length > SIZE {
            text = Vec::new();
        } else {
            text.extend_from_slice(&chunk);
        }
        if length > PASSED_OVER {
            break;
        }
    }
    if length > SIZE { Err(PageError::too_large()) } else { Ok(text) }
}

/// What is wrong with a form, to be shown beside what was typed.
#[derive(Debug, Default)]
pub struct Problems {
    /// What concerns no single field; empty where nothing does.
    pub general: String,
    fields: Vec<(String, String)>,
}

impl Problems {
    /// Adds one of a field.
    #[must_use]
    pub fn with(mut self, field: &str, what: &str) -> Self {
        self.fields.push((field.to_owned(), sentence(what)));
        self
    }

    /// Returns what is wrong with a field; empty where nothing is.
    pub fn of(&self, field: &str) -> &str {
        self.fields.iter().find(|(name, _)| name == field).map_or("", |(_, what)| what.as_str())
    }
}

/// Puts what the service says of fields beside them, by the names that its requests give them; all else is general.
impl From<&Error> for Problems {
    fn from(error: &Error) -> Self {
        if error.violations.is_empty() {
            return Self { general: sentence(&error.message), fields: Vec::new() };
        }
        let beside = |it: &grapnel_domain::FieldViolation| (it.field.clone(), sentence(&it.description));
        Self { general: String::new(), fields: error.violations.iter().map(beside).collect() }
    }
}
