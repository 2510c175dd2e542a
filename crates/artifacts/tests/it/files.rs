//! What a gateway serves of a bucket, from its own disk.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::join_all;
use grapnel_artifacts::{ArtifactError, CacheConfig, FileError, LocalFile, Manifest, SiteFiles};
use grapnel_domain::id::DeploymentId;
use grapnel_e2e::{S3Fault, S3Server};
use reqwest::Method;

use crate::site::{Output, Stored, deployments};

/// A gateway's view of a bucket with one artifact.
struct Served {
    stored: Stored,
    deployment: DeploymentId,
    manifest: Manifest,
}

impl Served {
    async fn new(files: &[(&str, usize)]) -> Self {
        let (stored, output) = (Stored::bucket().await, Output::new());
        for (n, (path, size)) in files.iter().enumerate() {
            output.write(path, vec![n as u8; *size]);
        }
        let [deployment] = deployments();
        let manifest = stored.publish(deployment, &output).await.unwrap();
        Self { stored, deployment, manifest }
    }

    fn server(&self) -> &S3Server {
        self.stored.server.as_ref().unwrap()
    }

    fn cache(&self) -> PathBuf {
        self.stored.directory.path().join("cache")
    }

    async fn open(&self, bytes: u64) -> SiteFiles {
        self.open_for(bytes, CacheConfig::PATIENCE).await
    }

    async fn open_for(&self, bytes: u64, patience: Duration) -> SiteFiles {
        let config = CacheConfig { directory: self.cache(), bytes, patience };
        SiteFiles::open(Arc::clone(&self.stored.store), config).await.unwrap()
    }

    async fn file(&self, files: &SiteFiles, path: &str) -> Result<LocalFile, FileError> {
        files.file(self.deployment, self.manifest.file(path).unwrap()).await
    }

    fn fetched(&self) -> usize {
        self.server().asked(&Method::GET, "/blobs/")
    }

    fn on_disk(&self) -> Vec<PathBuf> {
        fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_fetched_once_for_many_who_want_it_and_not_again_after_a_restart() {
    let served = Served::new(&[("big.js", 5 << 20)]).await;
    let files = served.open(1 << 30).await;
    for file in join_all((0..50).map(|_| served.file(&files, "big.js"))).await {
        assert_eq!(fs::read(file.unwrap().path()).unwrap(), vec![0; 5 << 20]);
    }
    assert_eq!(served.fetched(), 1);
    drop(files);
    let again = served.open(1 << 30).await;
    served.server().spoil(Method::GET, "/blobs/", S3Fault::Fails);
    assert_eq!(fs::read(served.file(&again, "big.js").await.unwrap().path()).unwrap().len(), 5 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_kept_than_was_said_and_the_least_recently_used_goes_first() {
    let names: Vec<String> = (0..10).map(|n| format!("{n}.bin")).collect();
    let sizes: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 100 << 10)).collect();
    let served = Served::new(&sizes).await;
    let files = served.open(350 << 10).await;
    served.file(&files, "0.bin").await.unwrap();
    for name in &names[1..] {
        served.file(&files, name).await.unwrap();
        // Looked at all the time, so that it is never the least recently used.
        served.file(&files, "0.bin").await.unwrap();
        let bytes: u64 = served.on_disk().iter().map(|path| path.metadata().unwrap().size()).sum();
        assert!(bytes <= 350 << 10, "{bytes} bytes are kept");
    }
    assert_eq!(served.fetched(), 10);
    // A smaller bound holds from the start.
    drop(files);
    let smaller = served.open(150 << 10).await;
    assert_eq!(served.on_disk().len(), 1);
    // What is larger than all of it is served, and not kept.
    drop(smaller);
    let none = served.open(0).await;
    let file = served.file(&none, "5.bin").await.unwrap();
    assert_eq!(fs::read(file.path()).unwrap(), vec![5; 100 << 10]);
    drop(file);
    assert_eq!(served.on_disk(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_being_served_is_not_pulled_away() {
    let served = Served::new(&[("a.bin", 100 << 10), ("b.bin", 100 << 10)]).await;
    let files = served.open(150 << 10).await;
    let first = served.file(&files, "a.bin").await.unwrap();
    served.file(&files, "b.bin").await.unwrap();
    assert_eq!(fs::read(first.path()).unwrap().len(), 100 << 10, "it has been put out, and is still there");
    // Fetched anew, it does not go with the old one.
    let again = served.file(&files, "a.bin").await.unwrap();
    drop(first);
    assert_eq!(fs::read(again.path()).unwrap().len(), 100 << 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_was_published_is_never_served() {
    let served = Served::new(&[("a.bin", 1 << 20)]).await;
    let files = served.open(1 << 30).await;
    for fault in [S3Fault::Garbles, S3Fault::Cuts, S3Fault::Refuses] {
        served.server().spoil(Method::GET, "/blobs/", fault);
        let answer = served.file(&files, "a.bin").await;
        assert!(matches!(answer, Err(FileError::Store(_))), "{fault:?}: {answer:?}");
        assert_eq!(served.on_disk(), Vec::<PathBuf>::new(), "{fault:?}");
    }
    served.server().heal();
    let path = served.file(&files, "a.bin").await.unwrap().path().to_owned();
    drop(files);
    // Changed on disk while nobody ran; and what a fetch left that died.
    fs::write(&path, vec![1; 1 << 20]).unwrap();
    let digest = &served.manifest.file("a.bin").unwrap().digest;
    fs::write(served.cache().join(format!(".{digest}.0.part")), "half").unwrap();
    let files = served.open(1 << 30).await;
    let file = served.file(&files, "a.bin").await.unwrap();
    assert_eq!(fs::read(file.path()).unwrap(), vec![0; 1 << 20]);
    assert_eq!(served.on_disk(), [file.path()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_leaves_does_not_end_the_fetch() {
    let served = Served::new(&[("a.bin", 1 << 20)]).await;
    let files = served.open(1 << 30).await;
    let leaving = tokio::spawn({
        let (files, deployment) = (files.clone(), served.deployment);
        let entry = served.manifest.file("a.bin").unwrap().clone();
        async move { files.file(deployment, &entry).await.map(drop) }
    });
    while served.fetched() == 0 {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    let _ = leaving.await;
    served.file(&files, "a.bin").await.unwrap();
    assert_eq!(served.fetched(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_ever_for_a_silent_server() {
    let served = Served::new(&[("a.bin", 1 << 20)]).await;
    let files = served.open_for(1 << 30, Duration::from_millis(200)).await;
    served.server().spoil(Method::GET, "", S3Fault::Stalls);
    let answer = served.file(&files, "a.bin").await;
    assert!(matches!(answer, Err(FileError::StillFetching)), "{answer:?}");
    let answer = files.manifest(served.deployment).await;
    assert!(matches!(answer, Err(ArtifactError::Bucket(_))), "{answer:?}");
    served.server().heal();
    files.manifest(served.deployment).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_directory_has_is_served_from_there() {
    let (stored, output) = (Stored::directory(), Output::new());
    let [deployment] = deployments();
    let manifest = stored.publish(deployment, &output).await.unwrap();
    let directory = stored.directory.path().join("cache");
    let config =
        CacheConfig { directory: directory.clone(), bytes: 1 << 30, patience: CacheConfig::PATIENCE };
    let files = SiteFiles::open(Arc::clone(&stored.store), config).await.unwrap();
    let file = files.file(deployment, manifest.file("index.html").unwrap()).await.unwrap();
    assert!(file.path().starts_with(stored.directory.path().join("artifacts")));
    assert!(!directory.exists(), "nothing is copied, and nothing is needed for it");
    assert_eq!(fs::read(file.path()).unwrap(), b"<h1>hi</h1>");
}
