//! What git needs to get at a repository that is not everybody's: credentials, and the keys of hosts.

mod known_hosts;

use std::{fmt, str::FromStr};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{RepositoryUrl, SecretText, repository_url::Transport};

pub use known_hosts::well_known_hosts;

/// Where a credential is shown and nowhere else: a transport, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// How it is reached.
    pub transport: Transport,
    /// The host, as addresses of repositories have it.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text names no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must look like `https://github.com` or `ssh://git.example.org:2222`, without a user or a path")]
pub struct OriginError;

impl Origin {
    /// Returns the origin of a repository; `None` for a path.
    pub fn of(repository: &RepositoryUrl) -> Option<Self> {
        match repository {
            RepositoryUrl::Remote { transport, host, .. } => {
                Some(Self { transport: *transport, host: host.clone(), port: repository.port() })
            }
            RepositoryUrl::Local(_) => None,
        }
    }

    /// Tells whether what is shown there can be read on the way.
    pub fn is_in_clear(&self) -> bool {
        self.transport == Transport::Http
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let url = Url::parse(text).map_err(|_| OriginError)?;
        if !url.username().is_empty() || url.password().is_some() || !url.path().trim_matches('/').is_empty()
        {
            return Err(OriginError);
        }
        // As a repository's address, which has all the rules.
        let repository = RepositoryUrl::parse(&format!("{}/x", text.trim_end_matches('/')));
        repository.ok().as_ref().and_then(Self::of).ok_or(OriginError)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{}://{host}", self.transport.as_str())?;
        if self.port == self.transport.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// What is shown to a git host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSecret {
    /// A user and a token or password, over HTTP.
    Token {
        /// The user.
        user: String,
        /// The token.
        token: SecretText,
    },
    /// A private key in the form of OpenSSH.
    SshKey(SecretText),
}

impl CredentialSecret {
    /// Returns the text that nobody may see.
    pub fn text(&self) -> &SecretText {
        match self {
            Self::Token { token, .. } => token,
            Self::SshKey(key) => key,
        }
    }

    /// Tells whether it is of use over a transport.
    pub fn suits(&self, transport: Transport) -> bool {
        matches!(self, Self::SshKey(_)) == (transport == Transport::Ssh)
    }
}

/// A credential, as an executor gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCredential {
    /// Where it is shown.
    pub origin: Origin,
    /// What is shown.
    pub secret: CredentialSecret,
}

/// The key of an SSH host, as `known_hosts` has it: an algorithm and the key in base64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostKey {
    /// The algorithm, such as `ssh-ed25519`.
    pub algorithm: String,
    /// The key, in base64.
    pub key: String,
}

/// Why a text is no host key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a host key such as `ssh-ed25519 AAAA…`")]
pub struct HostKeyError;

/// The algorithms of host keys that are believed; others are too old or need hardware of the server's.
const HOST_KEY_ALGORITHMS: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

impl HostKey {
    /// Returns the fingerprint as `ssh-keygen -l` shows it: `SHA256:` and the hash in base64.
    pub fn fingerprint(&self) -> String {
        let bytes = STANDARD.decode(&self.key).unwrap_or_default();
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(bytes)))
    }
}

impl FromStr for HostKey {
    type Err = HostKeyError;

    fn from_str(text: &str) -> Result<Self, HostKeyError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(algorithm), Some(key)) = (words.next(), words.next()) else { return Err(HostKeyError) };
        let bytes = STANDARD.decode(key).map_err(|_| HostKeyError)?;
        // The key itself begins with the length and the name of its algorithm (RFC 4253, section 6.6).
        let named = bytes.get(..4).and_then(|length| Some(u32::from_be_bytes(length.try_into().ok()?)));
        let named = named.and_then(|length| bytes.get(4..4 + usize::try_from(length).ok()?));
        if !HOST_KEY_ALGORITHMS.contains(&algorithm) || named != Some(algorithm.as_bytes()) {
            return Err(HostKeyError);
        }
        Ok(Self { algorithm: algorithm.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.key)
    }
}

/// A host with the keys by which it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHost {
    /// The host.
    pub host: String,
    /// Its port for SSH.
    pub port: u16,
    /// Its keys.
    pub keys: Vec<HostKey>,
}

impl KnownHost {
    /// Returns the lines of `known_hosts` that say so; see sshd(8).
    pub fn lines(&self) -> String {
        let host = if self.port == 22 { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) };
        self.keys.iter().map(|key| format!("{host} {key}\n")).collect()
    }
}

/// All that git needs beside an address, for one team's sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceAccess {
    /// Whose sources these are, where a credential is used: what was fetched with it is nobody else's.
    pub owner: Option<crate::id::TeamId>,
    /// The credentials, the one to prefer first.
    pub credentials: Vec<SourceCredential>,
    /// The hosts that the team trusts, beside those that are well known.
    pub known_hosts: Vec<KnownHost>,
}

impl SourceAccess {
    /// Returns the credential for a repository.
    pub fn credential_for(&self, repository: &RepositoryUrl) -> Option<&CredentialSecret> {
        let origin = Origin::of(repository)?;
        let fits = |it: &&SourceCredential| it.origin == origin && it.secret.suits(origin.transport);
        self.credentials.iter().find(fits).map(|it| &it.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_is_a_transport_a_host_and_a_port() {
        for (text, rebuilt) in [
            ("https://github.com", "https://github.com"),
            ("https://GitHub.com:443/", "https://github.com"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("ssh://git.example.org:2222", "ssh://git.example.org:2222"),
            ("ssh://git.example.org:22", "ssh://git.example.org"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(origin(text).to_string(), rebuilt);
            assert_eq!(origin(rebuilt), origin(text));
        }
        for wrong in [
            "",
            "github.com",
            "https://u@github.com",
            "https://github.com/x",
            "ftp://x",
            "https://u:p@x",
            "/srv",
        ] {
            assert_eq!(wrong.parse::<Origin>(), Err(OriginError), "{wrong}");
        }
    }

    #[test]
    fn a_credential_is_shown_to_its_own_origin_and_over_its_own_transport_only() {
        let token = CredentialSecret::Token { user: "u".into(), token: SecretText::new("t") };
        let key = CredentialSecret::SshKey(SecretText::new("k"));
        let of = |text: &str, secret: &CredentialSecret| SourceCredential {
            origin: origin(text),
            secret: secret.clone(),
        };
        let access = SourceAccess {
            credentials: vec![
                of("https://a.org", &token),
                of("ssh://a.org", &key),
                of("https://b.org", &key),
            ],
            ..SourceAccess::default()
        };
        let for_url = |url: &str| access.credential_for(&RepositoryUrl::parse(url).unwrap()).cloned();
        assert_eq!(for_url("https://a.org/x"), Some(token));
        assert_eq!(for_url("git@a.org:x"), Some(key));
        for other in [
            "http://a.org/x",
            "https://a.org:8443/x",
            "https://a.org.evil.org/x",
            "https://b.org/x",
            "/srv/x",
        ] {
            assert_eq!(for_url(other), None, "{other}");
        }
    }

    #[test]
    fn a_host_key_names_its_own_algorithm() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        let read: HostKey = format!("{key} a comment").parse().unwrap();
        assert_eq!(read.to_string(), key);
        for wrong in
            ["", "ssh-ed25519", "ssh-ed25519 !", "ssh-dss AAAA", &key.replace("ssh-ed25519", "ssh-rsa")]
        {
            assert_eq!(wrong.parse::<HostKey>(), Err(HostKeyError), "{wrong}");
        }
        let host = KnownHost { host: "a.org".into(), port: 2222, keys: vec![read] };
        assert_eq!(host.lines(), format!("[a.org]:2222 {key}\n"));
    }
}
