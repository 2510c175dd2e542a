//! The two ends of a gRPC connection between Grapnel's processes and to its clients.

mod line;

use std::{net::SocketAddr, time::Duration};

use grapnel_domain::secret_token::ApiKey;
use http::HeaderMap;
pub use line::{Line, Local};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, Routes},
    transport::{
        Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
        server::TcpIncoming,
    },
};

/// How often an idle connection is tried, and how long the answer may take: a peer that vanished without a word
/// is found within a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// How long connections may finish what they do once the process is stopping.
const DRAIN: Duration = Duration::from_secs(10);

/// The certificates of a process. All in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain that this process shows.
    pub cert: Vec<u8>,
    /// The private key of it.
    pub key: Vec<u8>,
    /// The authority that the other side's chain has to come from.
    pub ca: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls([REDACTED])")
    }
}

/// Who may connect to a listener that has TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Grapnel's own processes, which show a certificate of the same authority.
    Processes,
    /// Anybody, with a certificate of that authority or with none: their keys say who they are.
    Anybody,
}

/// Why one end of a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// The address is none.
    #[error("`{0}` is not the address of a gRPC service, such as http://127.0.0.1:7301")]
    Address(String),
    /// The certificates are unusable.
    #[error("the TLS settings are unusable: {0}")]
    Tls(String),
    /// The address to listen on is not to be had.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Listens on an address; port 0 takes a free one.
///
/// # Errors
/// The address is taken or not this machine's.
pub async fn listen(address: &str) -> Result<(TcpListener, SocketAddr), EndError> {
    let refuse = |cause| EndError::Listen { address: address.to_owned(), cause };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let local = listener.local_addr().map_err(refuse)?;
    Ok((listener, local))
}

/// Serves until `shutdown`, then drains: no new connections, streams are expected to end themselves on the same
/// token, and what has not ended after ten seconds is cut.
///
/// # Errors
/// The TLS settings are unusable, or the listener broke.
pub async fn serve(
    listener: TcpListener,
    tls: Option<(&Tls, Peers)>,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), EndError> {
    let mut server =
        Server::builder().http2_keepalive_interval(Some(KEEPALIVE)).http2_keepalive_timeout(Some(KEEPALIVE));
    if let Some((tls, peers)) = tls {
        let config = ServerTlsConfig::new()
            .identity(Identity::from_pem(&tls.cert, &tls.key))
            .client_ca_root(Certificate::from_pem(&tls.ca))
            .client_auth_optional(peers == Peers::Anybody);
        server = server.tls_config(config).map_err(|error| EndError::Tls(error.to_string()))?;
    }
    let drained = shutdown.clone();
    // Set on the sockets themselves, which tonic leaves as they are where it is given a listener: without it what a stream tells
    // waits for the acknowledgement of what it told before, which the other side delays by 40 ms.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving =
        server.add_routes(routes).serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned());
    let cut = async {
        drained.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = serving => result.map_err(|error| EndError::Tls(error.to_string())),
        () = cut => Ok(()),
    }
}

/// Adds health and reflection to a service's routes. Reflection, in both its versions, shows `public` only.
///
/// # Errors
/// The descriptors are no descriptors.
pub async fn with_health_and_reflection(
    routes: tonic::service::RoutesBuilder,
    descriptors: &'static [u8],
    public: &[&str],
) -> Result<Routes, tonic_reflection::server::Error> {
    with_health_until(routes, descriptors, public, CancellationToken::new()).await
}

/// Does the same, and says by its health, from `stopping` on, that nothing more is taken.
///
/// # Errors
/// As [`with_health_and_reflection`].
pub async fn with_health_until(
    mut routes: tonic::service::RoutesBuilder,
    descriptors: &'static [u8],
    public: &[&str],
    stopping: CancellationToken,
) -> Result<Routes, tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in public {
        reporter.set_service_status(*service, tonic_health::ServingStatus::Serving).await;
    }
    let named: Vec<String> = public.iter().map(|&service| service.to_owned()).collect();
    tokio::spawn(async move {
        stopping.cancelled().await;
        for service in named {
            reporter.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
        }
    });
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        public.iter().fold(builder, |builder, service| builder.with_service_name(*service))
    };
    routes.add_service(health);
    routes.add_service(builder().build_v1()?);
    routes.add_service(builder().build_v1alpha()?);
    Ok(routes.routes())
}

/// Makes a channel that connects when it is first used, and again whenever it was cut.
///
/// # Errors
/// The address is none, or the certificates are unusable.
pub fn channel(url: &str, tls: Option<&Tls>) -> Result<Channel, EndError> {
    channel_to(url, None, tls)
}

/// Makes such a channel to one of the addresses behind a name, which the other's certificate has to be for.
///
/// # Errors
/// As [`channel`].
pub fn channel_to(url: &str, certified_as: Option<&str>, tls: Option<&Tls>) -> Result<Channel, EndError> {
    let config = tls.map(|tls| {
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.ca))
            .identity(Identity::from_pem(&tls.cert, &tls.key));
        match certified_as {
            Some(name) => config.domain_name(name),
            None => config,
        }
    });
    connect_lazily(url, config)
}

/// Makes the channel of a client that shows no certificate. An `https` address is trusted by the authority given
/// (PEM), or by the system's own.
///
/// # Errors
/// The address is none, or the authority is unusable.
pub fn client_channel(url: &str, ca: Option<&[u8]>) -> Result<Channel, EndError> {
    let config = url.starts_with("https://").then(|| match ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().with_native_roots(),
    });
    connect_lazily(url, config)
}

fn connect_lazily(url: &str, tls: Option<ClientTlsConfig>) -> Result<Channel, EndError> {
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|_| EndError::Address(url.to_owned()))?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .tcp_nodelay(true);
    if endpoint.uri().host().is_none() || endpoint.uri().scheme().is_none() {
        return Err(EndError::Address(url.to_owned()));
    }
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).map_err(|error| EndError::Tls(error.to_string()))?;
    }
    Ok(endpoint.connect_lazy())
}

/// Puts a key on every request.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// Takes the key to put on.
    pub fn new(key: &ApiKey) -> Self {
        let mut value = MetadataValue::try_from(format!("Bearer {}", key.expose()))
            .unwrap_or_else(|_| unreachable!("a well-formed key is ASCII"));
        value.set_sensitive(true);
        Self(value)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Returns the key that a request shows, as text; `None` where it shows none.
pub fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Tells whether a request shows exactly this service key, in a time that does not depend on where they differ.
pub fn shows_key(headers: &HeaderMap, expected: &ApiKey) -> bool {
    bearer_of(headers).is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(expected.expose().as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tonic_health::{
        ServingStatus,
        pb::{HealthCheckRequest, health_client::HealthClient},
    };

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn a_key_is_read_from_the_authorization_header_alone() {
        assert_eq!(bearer_of(&headers("Bearer gra_x")), Some("gra_x"));
        assert_eq!(bearer_of(&headers("bearer  gra_x ")), Some("gra_x"));
        assert_eq!(bearer_of(&headers("Basic gra_x")), None);
        assert_eq!(bearer_of(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_named() {
        for wrong in ["", "127.0.0.1:7301", "/path"] {
            assert!(channel(wrong, None).unwrap_err().to_string().contains(wrong));
        }
        assert!(channel("http://127.0.0.1:1", None).is_ok());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let (_held, address) = listen("127.0.0.1:0").await.unwrap();
        let error = listen(&address.to_string()).await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_stream_tells_waits_for_no_acknowledgement_of_what_it_told_before() {
        const ROUNDS: u32 = 1_000;
        let (reporter, health) = tonic_health::server::health_reporter();
        let (listener, address) = listen("127.0.0.1:0").await.unwrap();
        let stopping = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, None, Routes::new(health), stopping.clone()));
        let channel = channel(&format!("http://{address}"), None).unwrap();
        let mut client = HealthClient::new(channel);
        let mut watching = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        watching.message().await.unwrap().unwrap();
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            // Whoever asks and is answered acknowledges late, with the next question.
            client.check(HealthCheckRequest::default()).await.unwrap();
            for serves in [ServingStatus::NotServing, ServingStatus::Serving] {
                reporter.set_service_status("", serves).await;
                watching.message().await.unwrap().unwrap();
            }
        }
        // By 40 ms.
        assert!(begun.elapsed() < ROUNDS * Duration::from_millis(20), "{:?}", begun.elapsed());
        stopping.cancel();
        drop(watching);
        serving.await.unwrap().unwrap();
    }
}
