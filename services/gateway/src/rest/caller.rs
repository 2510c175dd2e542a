//! Whoever asks, by the key or the session in `Authorization: Bearer …`. Nothing else is looked at: no cookie, so that no
//! page of a site can ask in the name of whoever visits it.

use axum::extract::FromRequestParts;
use form_urlencoded::parse;
use grapnel_domain::{Error, Reason, scope::Scope};
use grapnel_proto::hooks::v1::{GetSessionRequest, Session};
use http::{StatusCode, header, request::Parts};

use crate::{
    caller::Caller as Calls, error::HttpError, hooks_client::answered_to_people as answered,
    server::Interface, status::own_address,
};

/// Whoever asks, known to the hooks service.
pub struct Caller {
    /// The hooks service, asked with what they show.
    pub calls: Calls,
    /// For whom that stands.
    pub session: Session,
    /// How addresses of our own begin, as they see us.
    pub address: String,
}

impl Caller {
    /// Returns the name of the team in addresses: lower-case letters, digits and hyphens.
    pub fn team_slug(&self) -> String {
        slug(&self.session.team_name)
    }

    /// Looks whether they may read, before something is done whose answer they could not see.
    ///
    /// # Errors
    /// `SCOPE_MISSING`
    pub fn may_read(&self) -> Result<(), Error> {
        let reads = |scope: &String| scope == Scope::Read.as_str() || scope == Scope::Admin.as_str();
        if self.session.scopes.iter().any(reads) {
            return Ok(());
        }
        Err(Error::new(Reason::ScopeMissing, "the key lacks the scope `read`, which the answer needs"))
    }

    /// Tells whether a text names the team.
    pub fn is_team(&self, text: &str) -> bool {
        text == self.session.team_id || text == self.team_slug()
    }
}

impl FromRequestParts<Interface> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, interface: &Interface) -> Result<Self, HttpError> {
        let calls = interface.hooks.as_caller(parts.headers.get(header::AUTHORIZATION));
        let answer = answered(calls.sessions().get_session(GetSessionRequest {})).await?;
        let session =
            answer.session.ok_or_else(|| Error::internal("the hooks service answered no session"))?;
        let caller = Self { calls, session, address: own_address(interface, &parts.headers) };
        for (name, value) in parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            if matches!(&*name, "teamId" | "slug") && !value.is_empty() && !caller.is_team(&value) {
                return Err(no_such_team());
            }
        }
        Ok(caller)
    }
}

/// The answer to whoever names another team than that of their key.
pub fn no_such_team() -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, "not_found", "there is no such team, or the key is none of it")
}

fn slug(name: &str) -> String {
    let kept = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let slug: Vec<_> =
        kept.collect::<String>().split('-').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if slug.is_empty() { "team".to_owned() } else { slug.join("-") }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn any_teams_name_has_a_form_for_addresses() {
        for (name, expected) in
            [("default", "default"), ("  Web & Co. ", "web-co"), ("Ærø", "r"), ("…", "team")]
        {
            assert_eq!(slug(name), expected);
        }
    }
}
