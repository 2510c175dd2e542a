//! How the bucket's server is spoken to: by the one TLS that is here, with deadlines.

use std::time::Duration;

use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{HttpClient, HttpConnector},
};
use secrecy::ExposeSecret as _;

use crate::config::{BucketConfig, OpenError};

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may be silent, before it answers and between two pieces. A piece that we send has to be through
/// in this time.
const SILENCE: Duration = Duration::from_secs(30);

/// How often, and how long, a request is tried again that the server did not answer.
const RETRIES: usize = 4;
const RETRYING: Duration = Duration::from_secs(30);

/// Speaks with a server by a client that was made before.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Returns the bucket. Nobody is asked yet.
pub fn connect(config: &BucketConfig) -> Result<AmazonS3, OpenError> {
    let tls = grapnel_runtime::https::client_config(config.ca_bundle.as_deref())?;
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .build()
        .map_err(OpenError::Client)?;
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        ..BackoffConfig::default()
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(config.access_key_id.expose_secret())
        .with_secret_access_key(config.secret_access_key.expose_secret())
        .with_virtual_hosted_style_request(!config.path_style)
        .with_allow_http(config.is_plain())
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRYING })
        .with_http_connector(Connector(http));
    if let Some(endpoint) = config.endpoint_with_bucket() {
        builder = builder.with_endpoint(endpoint);
    }
    builder.build().map_err(OpenError::Bucket)
}
