//! Requests to addresses that somebody named from outside: a git host's interface, an endpoint of events.
//!
//! Nobody is led to what is ours. A name is resolved here, each of its addresses is looked at, and only those that may be
//! connected to are; an address that is written out is looked at before. Redirects are answers like any other, no
//! proxy of the environment is used, and of an answer's body only its beginning is read.

use std::{
    error::Error as StdError,
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use grapnel_domain::address::{is_never_meant, is_private};
use grapnel_runtime::https::{self, HttpsError};
use ipnet::IpNet;
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};
use tokio::net::lookup_host;
use url::{Host, Url};

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a whole exchange may take. Standard Webhooks advises 15 to 30 seconds.
const EXCHANGE: Duration = Duration::from_secs(15);

/// How much of an answer's body is read, in bytes.
const BODY: usize = 4096;

/// Who may be connected to.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Private and loopback networks that the operator opens.
    pub allowed: Vec<IpNet>,
}

impl Reach {
    /// Tells whether an address may be connected to. What is never meant cannot be opened either.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let opened = self.allowed.iter().any(|network| network.contains(&address));
        !is_never_meant(address) && (opened || !is_private(address))
    }
}

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody can be believed.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The client itself.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// What somebody answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long to leave them alone, where they say so.
    pub retry_after: Option<Duration>,
    /// What stands above the body.
    pub headers: HeaderMap,
    /// The beginning of the body; what is no text is replaced.
    pub body: String,
    /// How long it took.
    pub took: Duration,
}

impl Answer {
    /// Tells whether it is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It leads to an address that nobody is led to.
    #[error("{0} is a private, loopback or link-local address: the operator can open it with outbound.allow")]
    Refused(String),
    /// No connection stands: nobody has heard anything.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The connection stood, and broke or stayed silent: they may have heard.
    #[error("it did not answer: {0}")]
    Silent(String),
}

/// Sends requests. Clones share connections.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    reach: Reach,
}

impl HttpClient {
    /// Makes a client that trusts the system's authorities, and those of `ca_bundle`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn new(reach: Reach, ca_bundle: Option<&Path>) -> Result<Self, ClientError> {
        let tls = https::client_config(ca_bundle)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Resolver(reach.clone()))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("Grapnel/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(EXCHANGE)
            .build()
            .map_err(|error| ClientError::Client(error.to_string()))?;
        Ok(Self { client, reach })
    }

    /// Posts a body and returns what was answered, whatever its status. `now` is what a date in `Retry-After` is
    /// counted from.
    ///
    /// # Errors
    /// See [`NoAnswer`]. Dropping the future ends the exchange, and they may have heard.
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
        now: DateTime<Utc>,
    ) -> Result<Answer, NoAnswer> {
        let written_out = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = written_out.filter(|address| !self.reach.allows(*address)) {
            return Err(NoAnswer::Refused(address.to_string()));
        }
        let begun = Instant::now();
        let request = self.client.post(url.clone()).headers(headers).body(body);
        let mut response = request.send().await.map_err(|error| no_answer(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), now);
        let headers = response.headers().clone();
        let mut kept = Vec::new();
        // An answer's status is all that counts, also where its body breaks off.
        while kept.len() < BODY
            && let Ok(Some(chunk)) = response.chunk().await
        {
            kept.extend_from_slice(&chunk[..chunk.len().min(BODY - kept.len())]);
        }
        let body = String::from_utf8_lossy(&kept).into_owned();
        Ok(Answer { status, retry_after, headers, body, took: begun.elapsed() })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// Resolves names to those of their addresses that may be connected to.
struct Resolver(Reach);

/// All addresses of a name are refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct AllRefused(String);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().copied();
            let allowed: Vec<_> = found.into_iter().filter(|found| reach.allows(found.ip())).collect();
            match first {
                Some(first) if allowed.is_empty() => {
                    Err(AllRefused(format!("{} ({})", name.as_str(), first.ip())).into())
                }
                Some(_) => Ok(Box::new(allowed.into_iter()) as Addrs),
                None => Err(io::Error::other("the name has no address").into()),
            }
        })
    }
}

fn no_answer(error: &reqwest::Error) -> NoAnswer {
    let mut cause: Option<&dyn StdError> = Some(error);
    let mut innermost = error.to_string();
    while let Some(error) = cause {
        if let Some(AllRefused(address)) = error.downcast_ref() {
            return NoAnswer::Refused(address.clone());
        }
        innermost = error.to_string();
        cause = error.source();
    }
    if error.is_connect() {
        NoAnswer::Unreachable(innermost)
    } else if error.is_timeout() {
        NoAnswer::Silent(format!("no answer within {} s", EXCHANGE.as_secs()))
    } else {
        NoAnswer::Silent(innermost)
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    (at.to_utc() - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    /// Answers everybody the same, and says where.
    async fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    async fn post(client: &HttpClient, url: &str) -> Result<Answer, NoAnswer> {
        client.post(&url.parse().unwrap(), HeaderMap::new(), b"{}".to_vec(), now()).await
    }

    #[tokio::test]
    async fn what_is_ours_is_refused_by_name_and_by_address_until_the_operator_opens_it() {
        let address = answering("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        let port = address.port();
        let closed = HttpClient::new(Reach::default(), None).unwrap();
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"] {
            let refused = post(&closed, &format!("http://{host}:{port}/")).await;
            assert!(matches!(refused, Err(NoAnswer::Refused(_))), "{host}: {refused:?}");
        }
        let open = Reach { allowed: vec!["127.0.0.0/8".parse().unwrap(), "169.254.0.0/16".parse().unwrap()] };
        let open = HttpClient::new(open, None).unwrap();
        assert_eq!(post(&open, &format!("http://localhost:{port}/")).await.unwrap().status, 204);
        let metadata = post(&open, "http://169.254.169.254/").await;
        assert_eq!(metadata, Err(NoAnswer::Refused("169.254.169.254".into())), "nobody can open that");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let address =
            answering("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
                .await;
        let open = HttpClient::new(Reach { allowed: vec!["127.0.0.0/8".parse().unwrap()] }, None).unwrap();
        let answer = post(&open, &format!("http://{address}/")).await.unwrap();
        assert_eq!((answer.status, answer.retry_after), (302, Some(Duration::from_secs(7))));
    }

    #[tokio::test]
    async fn who_was_not_heard_and_who_may_have_been_are_told_apart() {
        let open = HttpClient::new(Reach { allowed: vec!["127.0.0.0/8".parse().unwrap()] }, None).unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let nobody = post(&open, &format!("http://{gone}/")).await;
        assert!(matches!(nobody, Err(NoAnswer::Unreachable(_))), "{nobody:?}");
        let breaks = answering("").await;
        let broke = post(&open, &format!("http://{breaks}/")).await;
        assert!(matches!(broke, Err(NoAnswer::Silent(_))), "{broke:?}");
    }

    #[test]
    fn how_long_to_wait_is_read_in_seconds_and_as_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now())
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Wed, 31 Dec 2025 00:01:00 GMT"), None);
        assert_eq!(read("soon"), None);
    }
}
