//! Addresses of repositories, taken apart and put together again so that nothing is passed on that was not
//! understood.

use std::fmt;

use url::{Host, Url};

/// The address of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RepositoryUrl {
    /// Over a network.
    Remote {
        /// How git reaches it.
        transport: Transport,
        /// The address, in the form `scheme://[user@]host[:port]/path`.
        url: String,
        /// The host alone: a name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
    },
    /// An absolute path on the executor's machine, which its operator has to allow.
    Local(String),
}

/// How git reaches a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// HTTPS.
    Https,
    /// HTTP without TLS.
    Http,
    /// SSH.
    Ssh,
}

impl Transport {
    /// Returns the scheme of its addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
        }
    }

    /// Returns the port where an address names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
            Self::Ssh => 22,
        }
    }
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing given.
    #[error("must not be empty")]
    Empty,
    /// Longer than any address.
    #[error("must have at most {} bytes", RepositoryUrl::LIMIT)]
    TooLong,
    /// A character that no address has.
    #[error("must not contain white space or control characters")]
    Control,
    /// Would be read as an option, as a whole or in its host.
    #[error("must not begin with `-`, nor its host or user")]
    Option,
    /// Not an address, or not of a kind that is allowed.
    #[error("must be an https, http or ssh address, `user@host:path`, or an absolute path")]
    Scheme,
    /// A password or token stands in it.
    #[error("must not contain a password or token: an address is shown to everybody who sees the project")]
    Credentials,
    /// It has a query or a fragment.
    #[error("must not have a query or a fragment")]
    Query,
    /// The host is a link-local address, where clouds keep their machines' credentials.
    #[error("must not point to a link-local address")]
    LinkLocal,
    /// The path leads upwards.
    #[error("must not contain `..` in its path")]
    Parent,
}

impl RepositoryUrl {
    /// The most bytes an address has.
    pub const LIMIT: usize = 2048;

    /// Reads an address.
    ///
    /// # Errors
    /// The address is none, of a kind that is not allowed, or holds what must not be in it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.len() > Self::LIMIT {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Control);
        }
        if text.starts_with('-') {
            return Err(UrlError::Option);
        }
        if let Some(path) = text.strip_prefix("file://").or_else(|| text.starts_with('/').then_some(text)) {
            return local(path);
        }
        match text.split_once("://") {
            Some(_) => remote(text),
            None => remote(&spelled_out(text)?),
        }
    }

    /// Returns the port of a remote repository: the one that is named, else its transport's.
    pub fn port(&self) -> u16 {
        match self {
            Self::Remote { transport, url, .. } => {
                let named = Url::parse(url).ok().and_then(|url| url.port());
                named.unwrap_or(transport.default_port())
            }
            Self::Local(_) => 0,
        }
    }

    /// Returns the host; `None` for a path.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Remote { host, .. } => Some(host),
            Self::Local(_) => None,
        }
    }
}

/// Turns the short form of SSH addresses, `user@host:path`, into the long one.
fn spelled_out(text: &str) -> Result<String, UrlError> {
    let (authority, path) = text.split_once(':').ok_or(UrlError::Scheme)?;
    // `ext::sh -c …` and other helpers have a second colon at once; a drive letter has no `@`.
    if path.starts_with(':') || !authority.contains('@') || authority.contains('/') {
        return Err(UrlError::Scheme);
    }
    Ok(format!("ssh://{authority}/{}", path.trim_start_matches('/')))
}

fn local(path: &str) -> Result<RepositoryUrl, UrlError> {
    if !path.starts_with('/') {
        return Err(UrlError::Scheme);
    }
    if path.split('/').any(|part| part == "..") {
        return Err(UrlError::Parent);
    }
    Ok(RepositoryUrl::Local(path.to_owned()))
}

fn remote(text: &str) -> Result<RepositoryUrl, UrlError> {
    // The parser would fold `..` away; what git would see has to be what was given.
    let path = text.splitn(4, '/').nth(3).unwrap_or_default();
    if path.split('/').any(|part| part == "..") {
        return Err(UrlError::Parent);
    }
    let url = Url::parse(text).map_err(|_| UrlError::Scheme)?;
    let transport = match url.scheme() {
        "https" => Transport::Https,
        "http" => Transport::Http,
        "ssh" => Transport::Ssh,
        _ => return Err(UrlError::Scheme),
    };
    let user_allowed = transport == Transport::Ssh;
    if url.password().is_some() || (!user_allowed && !url.username().is_empty()) {
        return Err(UrlError::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlError::Query);
    }
    let host = url.host().ok_or(UrlError::Scheme)?.to_owned();
    refuse_host(&host)?;
    let option_like = |part: &str| part.starts_with('-') || part.to_ascii_lowercase().starts_with("%2d");
    if option_like(url.username()) {
        return Err(UrlError::Option);
    }
    if url.path().trim_matches('/').is_empty() {
        return Err(UrlError::Scheme);
    }
    let host = match host {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Ok(RepositoryUrl::Remote { transport, url: url.to_string(), host })
}

fn refuse_host(host: &Host) -> Result<(), UrlError> {
    let link_local = match host {
        Host::Domain(name) => {
            if name.starts_with('-') {
                return Err(UrlError::Option);
            }
            // For ssh the parser leaves numeric hosts as names.
            name.parse().is_ok_and(|address: std::net::Ipv4Addr| address.is_link_local())
        }
        Host::Ipv4(address) => address.is_link_local(),
        Host::Ipv6(address) => {
            address.is_unicast_link_local() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_link_local())
        }
    };
    if link_local { Err(UrlError::LinkLocal) } else { Ok(()) }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote { url, .. } => f.write_str(url),
            Self::Local(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_rebuilt_in_one_form() {
        for (text, rebuilt) in [
            ("https://example.org/team/site.git", "https://example.org/team/site.git"),
            ("HTTPS://Example.ORG:443/team/site", "https://example.org/team/site"),
            ("http://127.0.0.1:8080/site.git", "http://127.0.0.1:8080/site.git"),
            ("git@example.org:team/site.git", "ssh://git@example.org/team/site.git"),
            ("ssh://git@example.org:2222/site.git", "ssh://git@example.org:2222/site.git"),
            ("/srv/git/site.git", "/srv/git/site.git"),
            ("file:///srv/git/site.git", "/srv/git/site.git"),
        ] {
            assert_eq!(RepositoryUrl::parse(text).unwrap().to_string(), rebuilt);
        }
    }

    #[test]
    fn a_port_is_the_one_that_is_named_or_its_transports() {
        for (text, port) in [
            ("https://example.org/x", 443),
            ("http://example.org/x", 80),
            ("git@example.org:x", 22),
            ("ssh://example.org:2222/x", 2222),
            ("http://[::1]:3000/x", 3000),
        ] {
            assert_eq!(RepositoryUrl::parse(text).unwrap().port(), port);
        }
    }

    #[test]
    fn hostile_addresses_are_refused_each_for_its_reason() {
        use UrlError::*;
        for (text, error) in [
            ("", Empty),
            ("ext::sh -c id", Control),
            ("ext::sh%20-c%20id", Scheme),
            ("fd::17", Scheme),
            ("git://example.org/x", Scheme),
            ("ftp://example.org/x", Scheme),
            ("example.org/x", Scheme),
            ("../site", Scheme),
            ("file://relative", Scheme),
            ("/srv/../etc", Parent),
            ("https://example.org/a/../b", Parent),
            ("-oProxyCommand=id", Option),
            ("--upload-pack=id", Option),
            ("ssh://-oProxyCommand=id/x", Option),
            ("ssh://-x@example.org/x", Option),
            ("-x@example.org:y", Option),
            ("https://user:secret@example.org/x", Credentials),
            ("https://token@example.org/x", Credentials),
            ("ssh://git:secret@example.org/x", Credentials),
            ("https://example.org/x\n", Control),
            ("https://example.org/x\ty", Control),
            ("https://example.org/x?a=b", Query),
            ("https://example.org", Scheme),
            ("http://169.254.169.254/latest/meta-data", LinkLocal),
            ("http://2852039166/x", LinkLocal),
            ("http://[fe80::1]/x", LinkLocal),
            ("http://[::ffff:169.254.169.254]/x", LinkLocal),
            ("ssh://git@169.254.169.254/x", LinkLocal),
        ] {
            assert_eq!(RepositoryUrl::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(RepositoryUrl::parse(&format!("https://e.org/{}", "x".repeat(3000))), Err(TooLong));
    }

    proptest! {
        #[test]
        fn a_rebuilt_address_reads_as_itself(text in "(https://|ssh://|git@|/)?[a-z0-9@:/._%-]{0,40}") {
            if let Ok(url) = RepositoryUrl::parse(&text) {
                prop_assert_eq!(RepositoryUrl::parse(&url.to_string()), Ok(url.clone()));
                prop_assert!(!url.to_string().starts_with('-'));
            }
        }

        #[test]
        fn reading_any_text_never_panics(text: String) {
            let _ = RepositoryUrl::parse(&text);
        }
    }
}
