//! Endpoints: addresses that hear of deployments, in the form of Standard Webhooks 1.0.0
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

mod schedule;
mod secret;

use std::{fmt, net::IpAddr, str::FromStr};

use url::{Host, Url};

use crate::{address::is_never_meant, deployment::State};

pub use schedule::{FAILING_FOR, TRIES, is_given_up, next_try};
pub use secret::{DEFAULT_GRACE, EndpointSecret, MAX_LIVE_SECRETS, SecretError};

/// The most endpoints of one project, and the most of a team itself.
pub const ENDPOINTS_LIMIT: u32 = 10;

/// The most characters of a description.
pub const DESCRIPTION_LIMIT: usize = 200;

/// Where an endpoint listens. Whether it may be connected to is decided at every connection, by its address then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointUrl(String);

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointUrlError {
    /// Not an address that can be posted to.
    #[error("must be an https or http address, such as `https://example.org/events`")]
    Malformed,
    /// Longer than any address.
    #[error("must have at most {} bytes", EndpointUrl::LIMIT)]
    TooLong,
    /// It shows a user or password.
    #[error("must not contain a user or a password: events prove themselves by their signature")]
    Credentials,
    /// What stands behind `#` is never sent.
    #[error("must not have a fragment")]
    Fragment,
    /// Nobody's endpoint is there.
    #[error("must not point to a link-local, multicast or unspecified address")]
    NeverMeant,
}

impl EndpointUrl {
    /// The most bytes of an address.
    pub const LIMIT: usize = 2048;

    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EndpointUrl {
    type Err = EndpointUrlError;

    fn from_str(text: &str) -> Result<Self, EndpointUrlError> {
        if text.len() > Self::LIMIT {
            return Err(EndpointUrlError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(EndpointUrlError::Malformed);
        }
        let url = Url::parse(text).map_err(|_| EndpointUrlError::Malformed)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(EndpointUrlError::Malformed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointUrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(EndpointUrlError::Fragment);
        }
        let written_out = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(EndpointUrlError::Malformed),
        };
        if written_out.is_some_and(is_never_meant) {
            return Err(EndpointUrlError::NeverMeant);
        }
        // As it is read, so that nothing is stored that others would read in another way.
        let read = String::from(url);
        if read.len() > Self::LIMIT { Err(EndpointUrlError::TooLong) } else { Ok(Self(read)) }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! words {
    ($(#[doc = $about:literal])* $kind:ident, $what:literal {
        $($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name as it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $kind {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().copied().find(|it| it.as_str() == text);
                found.ok_or_else(|| format!(concat!("`{}` is not ", $what), text))
            }
        }
    };
}

words! {
    /// What an event tells.
    EventType, "a type of events" {
        /// A deployment's version is known; it waits for an executor.
        DeploymentQueued = "deployment.queued",
        /// A deployment's build has begun.
        DeploymentBuilding = "deployment.building",
        /// A deployment's artifact is published.
        DeploymentReady = "deployment.ready",
        /// A deployment has failed.
        DeploymentError = "deployment.error",
        /// A deployment was canceled, or another one took its place.
        DeploymentCanceled = "deployment.canceled",
        /// Somebody wants to see whether events arrive.
        EndpointTest = "endpoint.test",
    }
}

words! {
    /// Where an event stands.
    EventState, "a state of events" {
        /// It is tried, now or later.
        Waiting = "WAITING",
        /// The endpoint has it.
        Delivered = "DELIVERED",
        /// Every try has failed.
        Failed = "FAILED",
        /// Its endpoint was disabled or deleted before it had it.
        Dropped = "DROPPED",
    }
}

words! {
    /// What came of one try.
    TryOutcome, "an outcome of tries" {
        /// A status from 200 to 299.
        Delivered = "DELIVERED",
        /// Another status.
        Refused = "REFUSED",
        /// A status from 300 to 399, which is not followed.
        Redirected = "REDIRECTED",
        /// Status 410: the endpoint wants no more events.
        Gone = "GONE",
        /// The address is private, loopback or link-local, and the operator has not opened it.
        AddressRefused = "ADDRESS_REFUSED",
        /// No connection stands.
        Unreachable = "UNREACHABLE",
        /// The connection stood, and no answer came.
        Silent = "SILENT",
        /// The endpoint's secret cannot be read here, so that nothing was sent.
        Unsigned = "UNSIGNED",
    }
}

words! {
    /// Why an endpoint is disabled.
    DisabledReason, "a reason to disable endpoints" {
        /// Somebody has asked for it.
        User = "USER",
        /// It has answered 410.
        Gone = "GONE",
        /// No try has come through for days.
        Failing = "FAILING",
    }
}

impl EventType {
    /// The types that an endpoint chooses from. A test comes when it is asked for.
    pub const CHOICE: [Self; 5] = [
        Self::DeploymentQueued,
        Self::DeploymentBuilding,
        Self::DeploymentReady,
        Self::DeploymentError,
        Self::DeploymentCanceled,
    ];

    /// Returns what is told when a deployment comes into a state. Each is told once: an attempt that follows a lost one
    /// passes through `QUEUED` and `BUILDING` again, and `first` says that it does not. `PENDING` tells nothing, for
    /// nothing is known yet that whoever triggered does not know.
    pub fn of(state: State, first: bool) -> Option<Self> {
        match state {
            State::Pending => None,
            State::Queued => first.then_some(Self::DeploymentQueued),
            State::Building => first.then_some(Self::DeploymentBuilding),
            State::Ready => Some(Self::DeploymentReady),
            State::Error => Some(Self::DeploymentError),
            State::Canceled => Some(Self::DeploymentCanceled),
        }
    }
}

impl TryOutcome {
    /// Returns what a status comes to.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered,
            300..=399 => Self::Redirected,
            410 => Self::Gone,
            _ => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_can_post_to_or_should_are_refused() {
        use EndpointUrlError::*;
        let long = format!("https://example.org/{}", "x".repeat(2048));
        for (text, error) in [
            ("", Malformed),
            ("example.org/events", Malformed),
            ("ftp://example.org/", Malformed),
            ("file:///etc/passwd", Malformed),
            ("https://", Malformed),
            ("https://example.org/a b", Malformed),
            ("https://example.org/\n", Malformed),
            (&long, TooLong),
            ("https://user@example.org/", Credentials),
            ("https://:password@example.org/", Credentials),
            ("https://example.org/#part", Fragment),
            ("http://169.254.169.254/latest", NeverMeant),
            ("http://0xa9.0xfe.0xa9.0xfe/", NeverMeant),
            ("http://[fe80::1]/", NeverMeant),
            ("http://[::ffff:169.254.169.254]/", NeverMeant),
            ("http://0.0.0.0/", NeverMeant),
        ] {
            assert_eq!(text.parse::<EndpointUrl>(), Err(error), "{text}");
        }
        for (text, read) in [
            ("https://example.org/events?token=1", "https://example.org/events?token=1"),
            ("HTTPS://Example.org:443", "https://example.org/"),
            // Private ones are the operator's to open.
            ("http://127.1:8080/x", "http://127.0.0.1:8080/x"),
        ] {
            assert_eq!(text.parse::<EndpointUrl>().unwrap().as_str(), read);
        }
    }

    #[test]
    fn every_state_but_the_first_is_told_and_a_retry_tells_nothing_again() {
        let told = |first| State::ALL.map(|state| EventType::of(state, first).map_or("-", EventType::as_str));
        assert_eq!(
            told(true),
            [
                "-",
                "deployment.queued",
                "deployment.building",
                "deployment.ready",
                "deployment.error",
                "deployment.canceled"
            ]
        );
        assert_eq!(told(false)[..3], ["-", "-", "-"]);
    }

    #[test]
    fn every_word_reads_back() {
        assert!(EventType::ALL.iter().all(|it| it.as_str().parse() == Ok(*it)));
        assert!(EventState::ALL.iter().all(|it| it.as_str().parse() == Ok(*it)));
        assert!(TryOutcome::ALL.iter().all(|it| it.as_str().parse() == Ok(*it)));
        assert!(DisabledReason::ALL.iter().all(|it| it.as_str().parse() == Ok(*it)));
        assert_eq!("x".parse::<EventState>(), Err("`x` is not a state of events".to_owned()));
    }

    #[test]
    fn statuses_come_to_what_standard_webhooks_says() {
        let outcomes = [200, 204, 301, 400, 404, 410, 429, 503].map(TryOutcome::of_status);
        use TryOutcome::*;
        assert_eq!(outcomes, [Delivered, Delivered, Redirected, Refused, Refused, Gone, Refused, Refused]);
    }
}
