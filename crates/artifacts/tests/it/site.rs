//! An output, and the stores that it is published to.

use std::{fs, path::PathBuf, sync::Arc};

use grapnel_artifacts::{
    ArtifactError, ArtifactStore, BucketConfig, BucketStore, DirectoryStore, Limits, Manifest,
};
use grapnel_domain::id::DeploymentId;
use grapnel_e2e::S3Server;
use grapnel_runtime::{CancellationToken, Clock};
use tempfile::TempDir;

/// What outputs of tests may have.
pub const LIMITS: Limits = Limits { bytes: 32 << 20, files: 100 };

/// A build's output, with a secret beside it.
pub struct Output {
    directory: TempDir,
}

impl Output {
    pub fn new() -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(this.path().join("assets")).unwrap();
        this.write("index.html", "<h1>hi</h1>");
        this.write("assets/site.css", "h1{}");
        fs::write(this.directory.path().join("secret"), "outside").unwrap();
        this
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("dist")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(path), content).unwrap();
    }
}

/// A store of a test's own.
pub struct Stored {
    pub store: Arc<dyn ArtifactStore>,
    pub directory: TempDir,
    /// Where it is a bucket.
    pub server: Option<S3Server>,
}

impl Stored {
    pub fn directory() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(DirectoryStore::new(directory.path().join("artifacts")));
        Self { store, directory, server: None }
    }

    pub async fn bucket() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = S3Server::start().await;
        let store = Arc::new(bucket_of(&server, &directory));
        Self { store, directory, server: Some(server) }
    }

    /// Returns both kinds.
    pub async fn both() -> [Self; 2] {
        [Self::directory(), Self::bucket().await]
    }

    pub async fn publish(
        &self,
        deployment: DeploymentId,
        output: &Output,
    ) -> Result<Manifest, ArtifactError> {
        self.store.publish(deployment, &output.path(), LIMITS, &CancellationToken::new()).await
    }

    /// Reads a file of an artifact.
    pub async fn content(&self, deployment: DeploymentId, path: &str) -> Vec<u8> {
        use futures_util::TryStreamExt as _;
        let manifest = self.store.open(deployment).await.unwrap();
        let content = self.store.read(deployment, manifest.file(path).unwrap()).await.unwrap();
        content.try_collect::<Vec<_>>().await.unwrap().concat()
    }

    /// Returns what stands anywhere in the store.
    pub fn everything(&self) -> Vec<String> {
        match &self.server {
            Some(server) => [server.keys("sites"), names(&self.directory.path().join("uploads"))].concat(),
            None => names(&self.directory.path().join("artifacts")),
        }
    }
}

/// Returns a store in a server's bucket.
pub fn bucket_of(server: &S3Server, directory: &TempDir) -> BucketStore {
    let config = BucketConfig {
        bucket: S3Server::BUCKET.into(),
        prefix: "sites".into(),
        endpoint: Some(server.endpoint().parse().unwrap()),
        region: "us-east-1".into(),
        access_key_id: S3Server::ACCESS_KEY_ID.into(),
        secret_access_key: S3Server::SECRET_ACCESS_KEY.into(),
        path_style: true,
        ca_bundle: None,
    };
    BucketStore::new(&config, directory.path().join("uploads")).unwrap()
}

/// Makes ids that sort in the order of their making.
pub fn deployments<const N: usize>() -> [DeploymentId; N] {
    let clock = Clock::system();
    [(); N].map(|()| clock.new_id())
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
