//! Builds whose artifacts go to a bucket, on a real S3 server that fails.

use std::sync::Arc;

use grapnel_artifacts::{ArtifactError, BucketConfig, StoreConfig};
use grapnel_domain::{
    event::{BuildEvent, Outcome, Step},
    failure::{FailureCode, Fault},
};
use grapnel_e2e::{S3Fault, S3Server};
use reqwest::Method;

use crate::{
    site::{Site, entries},
    support::obedient,
};

/// Says where a server's bucket is.
pub fn bucket_of(server: &S3Server) -> BucketConfig {
    BucketConfig {
        bucket: S3Server::BUCKET.into(),
        prefix: "sites".into(),
        endpoint: Some(server.endpoint().parse().unwrap()),
        region: "us-east-1".into(),
        access_key_id: S3Server::ACCESS_KEY_ID.into(),
        secret_access_key: S3Server::SECRET_ACCESS_KEY.into(),
        path_style: true,
        ca_bundle: None,
    }
}

/// Returns a site whose artifacts go to a server's bucket.
async fn site_of(server: &S3Server) -> Site {
    let mut site = Site::new(obedient()).await;
    let uploads = site.directory.path().join("uploads");
    site.pipeline.artifacts = StoreConfig::Bucket(Box::new(bucket_of(server)), uploads).open().unwrap();
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_the_store_does_not_take_is_no_fault_of_the_build_and_nothing_stays() {
    let server = S3Server::start().await;
    let site = site_of(&server).await;
    let mut spec = site.spec();
    for within in ["/blobs/", "/artifacts/"] {
        server.spoil(Method::PUT, within, S3Fault::Refuses);
        let (code, message) = site.failure(&spec).await;
        assert_eq!((code, code.fault()), (FailureCode::ArtifactStoreUnavailable, Fault::Infrastructure));
        assert_eq!(message, "the artifact store does not allow what we asked it for");
        site.nothing_is_left().await;
        assert_eq!(entries(&site.directory.path().join("uploads")).len(), 0);
        let there = site.pipeline.artifacts.open(spec.id.deployment).await;
        assert!(matches!(there, Err(ArtifactError::NotFound(_))), "{there:?}");
        spec.id.attempt += 1;
    }
    server.heal();
    let (outcome, _) = site.build(&spec, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
    site.pipeline.artifacts.open(spec.id.deployment).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_ended_while_it_uploads_leaves_no_artifact() {
    let server = Arc::new(S3Server::start().await);
    let site = site_of(&server).await;
    let spec = site.spec();
    server.spoil(Method::PUT, "/blobs/", S3Fault::Stalls);
    let (outcome, _) = site
        .build(&spec, |event, cancel| {
            if matches!(event, BuildEvent::StepStarted { step: Step::Output, .. }) {
                let (server, cancel) = (server.clone(), cancel.clone());
                tokio::spawn(async move {
                    while server.stalled() == 0 {
                        tokio::task::yield_now().await;
                    }
                    cancel.cancel();
                });
            }
        })
        .await;
    assert_eq!(outcome, Outcome::Canceled);
    site.nothing_is_left().await;
    assert_eq!(server.keys("sites"), Vec::<String>::new());
    assert_eq!(entries(&site.directory.path().join("uploads")).len(), 0);
}
