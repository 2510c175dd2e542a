//! Where artifacts are, as it is set. Executors and gateways read the same settings.

use std::{path::PathBuf, sync::Arc};

use grapnel_runtime::{Setting, Settings, https::HttpsError, settings::shared};
use secrecy::SecretString;
use url::Url;

use crate::{ArtifactStore, Bucket, BucketStore, DirectoryStore};

/// The table of these settings.
pub const SETTINGS: &[Setting] = &[
    Setting::computed(
        "artifacts.url",
        "file:// and artifacts in the data directory",
        "Where the outputs of READY deployments are kept: `file:///a/directory` that executors and gateways share, or `s3://bucket/prefix` on a server that speaks S3.",
    ),
    Setting::computed(
        "artifacts.endpoint",
        "Amazon's, in artifacts.region",
        "The address of the server that has the bucket of artifacts.url, such as `https://minio.example.com`. Only one that begins with `http://` is spoken to without TLS.",
    ),
    Setting::new("artifacts.region", "us-east-1", "The region of the bucket of artifacts.url."),
    Setting::secret(
        "artifacts.access_key_id",
        "none",
        "The id of the access key to the bucket of artifacts.url.",
    ),
    Setting::secret(
        "artifacts.secret_access_key",
        "none",
        "The secret of the access key to the bucket of artifacts.url.",
    ),
    Setting::new(
        "artifacts.path_style",
        "true",
        "Whether the bucket of artifacts.url stands in the path of its addresses, which every server knows, or else in their host.",
    ),
];

/// Where artifacts are.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// Below a directory.
    Directory(PathBuf),
    /// In a bucket, with the directory where outputs are taken to before they are sent.
    Bucket(Box<BucketConfig>, PathBuf),
}

/// A bucket, and how it is reached.
#[derive(Clone, Debug)]
pub struct BucketConfig {
    /// Its name.
    pub bucket: String,
    /// What all keys begin with; may be empty.
    pub prefix: String,
    /// The server; none is Amazon's.
    pub endpoint: Option<Url>,
    /// The region.
    pub region: String,
    /// The access key's id.
    pub access_key_id: SecretString,
    /// The access key's secret.
    pub secret_access_key: SecretString,
    /// Whether the bucket stands in the path.
    pub path_style: bool,
    /// Authorities beside the system's.
    pub ca_bundle: Option<PathBuf>,
}

/// Why a store cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// No client can be made.
    #[error("no client can be made for the artifact store: {0}")]
    Client(reqwest::Error),
    /// The bucket's settings do not fit together.
    #[error("the artifact store's settings cannot be used: {0}")]
    Bucket(object_store::Error),
    /// The cache's directory.
    #[error("the directory of the sites' cache cannot be used: {0}")]
    Cache(std::io::Error),
}

impl StoreConfig {
    /// Reads the settings; what is wrong is noted in them.
    pub fn read(settings: &mut Settings) -> Option<Self> {
        let data = shared::data_dir(settings);
        let text: Option<String> = settings.get("artifacts.url");
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Some(Self::Directory(data.join("artifacts")));
        };
        let url = match Url::parse(&text) {
            Ok(url) if url.query().is_none() && url.fragment().is_none() && url.username().is_empty() => url,
            _ => return wrong_url(settings),
        };
        match (url.scheme(), url.host_str()) {
            ("file", None) => match url.to_file_path() {
                Ok(path) if path.is_absolute() => Some(Self::Directory(path)),
                _ => wrong_url(settings),
            },
            ("s3", Some(bucket)) if !bucket.is_empty() && url.port().is_none() => {
                let bucket = bucket.to_owned();
                let prefix = url.path().trim_matches('/').to_owned();
                let config = BucketConfig::read(settings, bucket, prefix)?;
                Some(Self::Bucket(Box::new(config), data.join("uploads")))
            }
            _ => wrong_url(settings),
        }
    }

    /// Opens the store. Nobody is asked yet.
    ///
    /// # Errors
    /// No client can be made with these settings.
    pub fn open(&self) -> Result<Arc<dyn ArtifactStore>, OpenError> {
        Ok(match self {
            Self::Directory(directory) => Arc::new(DirectoryStore::new(directory)),
            Self::Bucket(bucket, uploads) => Arc::new(BucketStore::new(bucket, uploads)?),
        })
    }

    /// Opens the bucket that it is in; none where it is in a directory. Nobody is asked yet.
    ///
    /// # Errors
    /// As [`StoreConfig::open`].
    pub fn bucket(&self) -> Result<Option<Bucket>, OpenError> {
        match self {
            Self::Directory(_) => Ok(None),
            Self::Bucket(bucket, _) => Bucket::open(bucket).map(Some),
        }
    }

    /// Says where it is, without secrets.
    pub fn place(&self) -> String {
        match self {
            Self::Directory(directory) => directory.display().to_string(),
            Self::Bucket(config, _) => match &config.endpoint {
                Some(endpoint) => {
                    format!("s3://{} at {}", config.bucket, endpoint.as_str().trim_end_matches('/'))
                }
                None => format!("s3://{} in {}", config.bucket, config.region),
            },
        }
    }
}

impl BucketConfig {
    fn read(settings: &mut Settings, bucket: String, prefix: String) -> Option<Self> {
        let endpoint = match settings.get::<String>("artifacts.endpoint").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => match Url::parse(&text) {
                Ok(url) if is_endpoint(&url) => Some(url),
                _ => {
                    settings.complain("artifacts.endpoint", "must be such as `https://minio.example.com`");
                    None
                }
            },
        };
        let access_key_id = needed(settings, "artifacts.access_key_id");
        let secret_access_key = needed(settings, "artifacts.secret_access_key");
        Some(Self {
            bucket,
            prefix,
            endpoint,
            region: settings.require("artifacts.region", String::new()),
            path_style: settings.bool("artifacts.path_style"),
            ca_bundle: shared::ca_bundle(settings),
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?,
        })
    }

    /// Tells whether it is spoken to without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http")
    }

    /// Returns the endpoint as the client wants it: with the bucket, where that stands in the host.
    pub(crate) fn endpoint_with_bucket(&self) -> Option<String> {
        let mut endpoint = self.endpoint.clone()?;
        if !self.path_style {
            let host = format!("{}.{}", self.bucket, endpoint.host_str()?);
            endpoint.set_host(Some(&host)).ok()?;
        }
        Some(endpoint.as_str().trim_end_matches('/').to_owned())
    }
}

fn is_endpoint(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
}

fn needed(settings: &mut Settings, key: &str) -> Option<SecretString> {
    let secret = settings.secret(key);
    if secret.is_none() {
        settings.complain(key, "is missing: artifacts.url names a bucket, and nobody gets in without a key");
    }
    secret
}

fn wrong_url<T>(settings: &mut Settings) -> Option<T> {
    settings.complain("artifacts.url", "must be `file:///a/directory` or `s3://bucket/prefix`");
    None
}
