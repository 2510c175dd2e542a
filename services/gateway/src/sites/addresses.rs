//! From the host of a request to the deployment that is served there.

use std::{borrow::Cow, net::Ipv4Addr, sync::Arc, time::Duration};

use grapnel_domain::{Error, id::DeploymentId};
use http::{HeaderMap, Uri, header};
use moka::future::Cache;

use crate::hooks_client::HooksClient;

/// How long an answer is believed: after that a promotion, a rollback or a removal is seen. No answer is believed
/// for longer, since a deployment's own address ends as well: with its files.
const BELIEVED: Duration = Duration::from_secs(1);

/// How many answers are kept.
const ADDRESSES: u64 = 10_000;

/// How long a label of a host name may be (RFC 1035, section 2.3.4).
const LABEL: usize = 63;

/// How long a host name may be, with a port.
const HOST: usize = 253 + ":65535".len();

/// Which deployment each address serves, as the hooks service last said.
#[derive(Clone)]
pub struct Addresses {
    hooks: HooksClient,
    known: Cache<String, DeploymentId>,
}

impl Addresses {
    /// Asks the hooks service.
    pub fn new(hooks: HooksClient) -> Self {
        Self { hooks, known: Cache::builder().max_capacity(ADDRESSES).time_to_live(BELIEVED).build() }
    }

    /// Returns the deployment behind a label. Who asks for the same one at the same time shares one question.
    ///
    /// # Errors
    /// `SITE_NOT_FOUND`, `ARTIFACT_REMOVED`, `HOOKS_UNAVAILABLE`.
    pub async fn deployment(&self, label: &str) -> Result<DeploymentId, Error> {
        if let Some(known) = self.known.get(label).await {
            return Ok(known);
        }
        let ask = async {
            let found = self.hooks.resolve_site(label.to_owned()).await?;
            found.deployment_id.parse().map_err(|_| Error::internal("an id that is none"))
        };
        let answer = self.known.try_get_with_by_ref(label, ask).await;
        answer.map_err(|error: Arc<Error>| Error::new(error.reason, error.message.clone()).because(error))
    }
}

/// Says that a request names no host, or not one.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAHost;

/// Returns the host that a request is for, in lower case, without port and without the dot at its end. The request's target
/// comes before the header (RFC 9112, section 3.2.2).
///
/// # Errors
/// There is none, more than one, or one that no host can be called.
pub fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Result<Cow<'a, str>, NotAHost> {
    let given = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut all = headers.get_all(header::HOST).iter();
            match (all.next(), all.next()) {
                (Some(only), None) => only.to_str().map_err(|_| NotAHost)?,
                _ => return Err(NotAHost),
            }
        }
    };
    let (name, port) = match given.rsplit_once(':') {
        // The colons of an IPv6 address are followed by its bracket.
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (given, ""),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_literal = name.len() > 2 && name.starts_with('[') && name.ends_with(']');
    let sound = given.len() <= HOST
        && !name.is_empty()
        && (is_literal || name.bytes().all(is_name))
        && port.bytes().all(|byte| byte.is_ascii_digit());
    if !sound {
        return Err(NotAHost);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    Ok(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    })
}

/// Returns the label that names the site: the first one of a host that has more.
pub fn label(host: &str) -> Option<&str> {
    let (label, rest) = host.split_once('.')?;
    let is_plain = |part: &str| {
        !part.is_empty() && part.len() <= LABEL && !part.starts_with('-') && !part.ends_with('-')
    };
    (is_plain(label) && !label.starts_with('[') && rest.split('.').all(is_plain) && !is_address(host))
        .then_some(label)
}

/// Tells whether a host is an IPv4 address, in any spelling that clients know: its last part is a number.
fn is_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal =
        last.strip_prefix("0x").is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
    host.parse::<Ipv4Addr>().is_ok() || hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hosts: &[&str]) -> Result<Option<String>, NotAHost> {
        let mut all = HeaderMap::new();
        for host in hosts {
            all.append(header::HOST, host.parse().unwrap());
        }
        let uri = Uri::from_static("/");
        let host = host(&all, &uri)?;
        Ok(label(&host).map(str::to_owned))
    }

    #[test]
    fn the_first_label_of_the_host_names_the_site() {
        for (host, expected) in [
            ("my-site.localhost:7380", "my-site"),
            ("My-Site.LocalHost", "my-site"),
            ("dpl_x.localhost.", "dpl_x"),
            ("dpl_x.localhost.:80", "dpl_x"),
            ("site--main.sites.example.org:", "site--main"),
        ] {
            assert_eq!(of(&[host]), Ok(Some(expected.to_owned())), "{host}");
        }
    }

    #[test]
    fn a_host_without_a_site_is_none_and_an_ip_address_is_no_label() {
        let long = format!("{}.localhost", "a".repeat(64));
        for host in [
            "localhost",
            "localhost:7380",
            ".localhost",
            "a.",
            "a..localhost",
            "-a.localhost",
            "a-.localhost",
            "127.0.0.1:7380",
            "10.1",
            "127.0.0.0x1",
            "1.2.3.4.",
            "[::1]",
            "[::1]:7380",
            "[::ffff:1.2.3.4]:80",
            &long,
        ] {
            assert_eq!(of(&[host]), Ok(None), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a.".repeat(200);
        for host in [
            "",
            ":80",
            "a@b.localhost",
            "a.localhost:80:80",
            "a.localhost:x",
            "a/b.localhost",
            "a\\b.localhost",
            "a b.localhost",
            "a,b.localhost",
            "a%2eb.localhost",
            "<b>.localhost",
            &long,
        ] {
            assert_eq!(of(&[host]), Err(NotAHost), "{host}");
        }
        assert_eq!(of(&[]), Err(NotAHost));
        assert_eq!(of(&["a.localhost", "b.localhost"]), Err(NotAHost));
        let bytes =
            HeaderMap::from_iter([(header::HOST, http::HeaderValue::from_bytes(b"\xff.localhost").unwrap())]);
        assert_eq!(host(&bytes, &Uri::from_static("/")), Err(NotAHost));
    }

    #[test]
    fn the_target_of_a_request_comes_before_its_header() {
        let headers = HeaderMap::from_iter([(header::HOST, "other.localhost".parse().unwrap())]);
        let named = Uri::from_static("http://site.localhost:80/a");
        assert_eq!(host(&headers, &named).as_deref(), Ok("site.localhost"));
        let with_name = Uri::from_static("http://user@site.localhost/a");
        assert_eq!(host(&headers, &with_name), Err(NotAHost));
    }
}
