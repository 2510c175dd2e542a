//! Who is signed in: the cookie, the session behind it, and what proves that a form is of that session.

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use grapnel_domain::{Error, ErrorCode, Reason, scope::Scope};
use grapnel_proto::hooks::v1::{GetSessionRequest, Session};
use grapnel_runtime::CancellationToken;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::page_error::PageError;
use crate::{caller::Caller, hooks_client::answered_to_people as answered, server::Interface};

/// What the secret of a session begins with. A key in a cookie is no session.
const SECRET: &str = "grs_";

/// The cookie's name. With the prefix a browser takes it from this very host alone, over HTTPS (RFC 6265bis, section
/// 4.1.3): a site below the same domain cannot put another in its place.
const NAME: &str = "grapnel";
const SECURE_NAME: &str = "__Host-grapnel";

/// Whoever a page is for.
#[derive(Clone)]
pub struct SignedIn {
    /// The hooks service, asked with their session.
    pub caller: Caller,
    /// Who they are.
    pub session: Session,
    /// What each form of their pages carries.
    pub csrf: String,
    /// When they asked.
    pub now: DateTime<Utc>,
    /// When the gateway stops.
    pub stopping: CancellationToken,
}

/// What pages say of whoever is signed in.
#[derive(Clone, Debug)]
pub struct Who {
    /// The team's name.
    pub team: String,
    /// The name of the key that they signed in with, and the end of it.
    pub key: String,
    /// What each form carries.
    pub csrf: String,
}

impl SignedIn {
    /// Returns what pages say of them.
    pub fn who(&self) -> Who {
        let Session { team_name, key_name, key_last_four, .. } = &self.session;
        Who {
            team: team_name.clone(),
            key: format!("{key_name} (…{key_last_four})"),
            csrf: self.csrf.clone(),
        }
    }

    /// Tells whether their key has a scope. What they may not do is not offered; the service refuses it all the same.
    pub fn may(&self, scope: Scope) -> bool {
        self.session.scopes.iter().any(|it| *it == scope.as_str() || *it == Scope::Admin.as_str())
    }

    /// Refuses what their key has no scope for, before anything is asked for or shown.
    ///
    /// # Errors
    /// `SCOPE_MISSING`, as the service would say it.
    pub fn needs(&self, scope: Scope) -> Result<(), Error> {
        let lacking = || Error::new(Reason::ScopeMissing, format!("the key lacks the scope `{scope}`"));
        if self.may(scope) { Ok(()) } else { Err(lacking().with_fact("scope", scope)) }
    }

    /// Tells whether a form's token is the one that their pages carry.
    pub fn gave_out(&self, token: &str) -> bool {
        self.csrf.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

/// Marks the answer to a request that shows no session: it becomes the way to the page to sign in at.
#[derive(Clone, Debug, Default)]
pub struct SignInFirst {
    /// What makes the browser forget a session that has ended.
    pub forget: Option<HeaderValue>,
}

impl FromRequestParts<Interface> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, interface: &Interface) -> Result<Self, Response> {
        let secure = is_secure(interface);
        let Some(secret) = shown(&parts.headers, secure) else {
            return Err(PageError::sign_in().into_response());
        };
        let caller = as_session(interface, secret);
        let asked = answered(caller.sessions().get_session(GetSessionRequest {})).await;
        let session = match asked.map(|answer| answer.session.unwrap_or_default()) {
            Ok(session) => session,
            Err(error) if error.code() == ErrorCode::Unauthenticated => {
                let mut response = PageError::sign_in().into_response();
                response.extensions_mut().insert(SignInFirst { forget: Some(forgotten(secure)) });
                return Err(response);
            }
            Err(error) => return Err(PageError::from(error).into_response()),
        };
        let csrf = token_of(secret);
        let (now, stopping) = (interface.clock.now(), interface.stopping.clone());
        Ok(Self { caller, session, csrf, now, stopping })
    }
}

/// Returns the hooks service as a session asks it.
pub fn as_session(interface: &Interface, secret: &str) -> Caller {
    let authorization = HeaderValue::try_from(format!("Bearer {secret}")).ok();
    interface.hooks.as_caller(authorization.as_ref())
}

/// Tells whether people reach the dashboard over HTTPS.
pub fn is_secure(interface: &Interface) -> bool {
    interface.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
}

/// Returns the session's secret that a request shows. Where there are two cookies of the name somebody else has put one
/// there, and none of them counts.
pub fn shown(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let name = if secure { SECURE_NAME } else { NAME };
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookie| cookie.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
    let value = values.next().filter(|value| is_secret(value));
    if values.next().is_some() { None } else { value }
}

/// Tells whether a text can be a session's secret. What cannot is never asked for.
pub fn is_secret(text: &str) -> bool {
    let rest = text.strip_prefix(SECRET).unwrap_or_default();
    (1..=200).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Returns the cookie of a session, kept for `seconds`.
pub fn cookie(secure: bool, secret: &str, seconds: i64) -> Option<HeaderValue> {
    let (name, over) = if secure { (SECURE_NAME, "; Secure") } else { (NAME, "") };
    let cookie = format!("{name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{over}");
    let mut value = HeaderValue::try_from(cookie).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns what makes a browser forget the cookie.
pub fn forgotten(secure: bool) -> HeaderValue {
    cookie(secure, "", 0).unwrap_or_else(|| HeaderValue::from_static(""))
}

/// Returns what the forms of a session carry: only who knows its secret can say it, and it says nothing of the secret.
fn token_of(secret: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(b"grapnel form token");
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, cookie.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_session_is_read_from_its_own_cookie_only() {
        let read = |cookies: &[&str], secure| shown(&headers(cookies), secure).map(str::to_owned);
        assert_eq!(read(&["a=b; grapnel=grs_A1; c=d"], false).as_deref(), Some("grs_A1"));
        assert_eq!(read(&["a=b", "__Host-grapnel=grs_A1"], true).as_deref(), Some("grs_A1"));
        assert_eq!(read(&["grapnel=grs_A1"], true), None, "set over HTTP, by anybody on the way");
        for none in [
            "",
            "grapnel",
            "grapnel=",
            "grapnel=grs_",
            "grapnel=gra_A1",
            "grapnel=grs_A 1",
            "xgrapnel=grs_A1",
            "grapnel=grs_%00",
        ] {
            assert_eq!(read(&[none], false), None, "{none}");
        }
    }

    #[test]
    fn of_two_cookies_of_the_name_none_counts() {
        assert_eq!(shown(&headers(&["grapnel=grs_A1; grapnel=grs_B2"]), false), None);
        assert_eq!(shown(&headers(&["grapnel=grs_A1", "grapnel=x"]), false), None);
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_other_sites_and_clear_text() {
        let text = |secure| cookie(secure, "grs_A1", 60).unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(false), "grapnel=grs_A1; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
        assert_eq!(text(true), "__Host-grapnel=grs_A1; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        assert!(forgotten(true).to_str().unwrap().contains("__Host-grapnel=; Path=/; Max-Age=0"));
    }

    #[test]
    fn a_forms_token_is_another_for_another_session_and_says_nothing_of_it() {
        let (one, other) = (token_of("grs_A1"), token_of("grs_A2"));
        assert_ne!(one, other);
        assert_eq!(one.len(), 64);
    }
}
