//! What only a bucket has to do: send little, share what is there, and live with a server that fails.

use std::{fs, sync::Arc};

use grapnel_artifacts::{ArtifactError, ArtifactStore as _};
use grapnel_e2e::S3Fault;
use grapnel_runtime::CancellationToken;
use reqwest::Method;

use crate::site::{LIMITS, Output, Stored, bucket_of, deployments};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_not_sent_again() {
    let (stored, output) = (Stored::bucket().await, Output::new());
    let server = stored.server.as_ref().unwrap();
    let [first, second, third] = deployments();
    output.write("the-same.html", "<h1>hi</h1>");
    stored.publish(first, &output).await.unwrap();
    assert_eq!(server.asked(&Method::PUT, "/blobs/"), 2, "content that two files share is sent once");
    stored.publish(second, &output).await.unwrap();
    assert_eq!(server.asked(&Method::PUT, "/blobs/"), 2);
    output.write("new.html", "new");
    stored.publish(third, &output).await.unwrap();
    assert_eq!(server.asked(&Method::PUT, "/blobs/"), 3);
    assert_eq!(server.keys("sites/blobs").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_executors_publish_the_same_content_at_once() {
    let (stored, output) = (Stored::bucket().await, Output::new());
    let server = stored.server.as_ref().unwrap();
    let published = deployments::<6>().map(|deployment| {
        let (store, path) = (bucket_of(server, &stored.directory), output.path());
        tokio::spawn(async move {
            store.publish(deployment, &path, LIMITS, &CancellationToken::new()).await.unwrap();
            deployment
        })
    });
    for one in published {
        assert_eq!(stored.content(one.await.unwrap(), "assets/site.css").await, b"h1{}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_shows_nothing_and_a_later_try_works() {
    let output = Output::new();
    output.write("large.bin", vec![7; 20 << 20]);
    let faults = [
        (Method::PUT, "/blobs/", S3Fault::Fails),
        (Method::PUT, "/blobs/", S3Fault::Refuses),
        (Method::PUT, "/blobs/", S3Fault::Cuts),
        (Method::PUT, "partNumber=2", S3Fault::Cuts),
        (Method::PUT, "partNumber=2", S3Fault::Refuses),
        (Method::POST, "uploadId", S3Fault::Refuses),
        (Method::HEAD, "/blobs/", S3Fault::Refuses),
        (Method::GET, "/artifacts/", S3Fault::Refuses),
        (Method::PUT, "/drafts/", S3Fault::Refuses),
        (Method::PUT, "/artifacts/", S3Fault::Refuses),
    ];
    for (method, within, fault) in faults {
        let stored = Stored::bucket().await;
        let server = stored.server.as_ref().unwrap();
        let [deployment] = deployments();
        server.spoil(method.clone(), within, fault);
        let failed = stored.publish(deployment, &output).await;
        assert!(matches!(failed, Err(ArtifactError::Bucket(_))), "{method} {within} {fault:?}: {failed:?}");
        assert_eq!(server.keys("sites/artifacts").len(), 0, "{method} {within} {fault:?}");
        server.heal();
        stored.publish(deployment, &output).await.unwrap();
        assert_eq!(stored.content(deployment, "large.bin").await.len(), 20 << 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_to_a_silent_server_can_be_given_up() {
    let (stored, output) = (Stored::bucket().await, Output::new());
    let server = stored.server.as_ref().unwrap();
    let [deployment] = deployments();
    server.spoil(Method::PUT, "/blobs/", S3Fault::Stalls);
    let given_up = CancellationToken::new();
    let ending = async {
        while server.stalled() == 0 {
            tokio::task::yield_now().await;
        }
        given_up.cancel();
    };
    let path = output.path();
    let (ended, ()) = tokio::join!(stored.store.publish(deployment, &path, LIMITS, &given_up), ending);
    assert!(matches!(ended, Err(ArtifactError::GivenUp)), "{ended:?}");
    assert_eq!(stored.everything(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_spares_what_a_publisher_is_bringing() {
    let (stored, output) = (Stored::bucket().await, Output::new());
    let server = stored.server.as_ref().unwrap();
    let [removed, publishing] = deployments();
    stored.publish(removed, &output).await.unwrap();
    stored.store.remove(removed).await.unwrap();
    // The publisher has found two blobs that nothing names, and hangs over a third.
    output.write("new.html", "new");
    server.spoil(Method::PUT, "/blobs/", S3Fault::Stalls);
    let (store, path) = (Arc::clone(&stored.store), output.path());
    let publisher =
        tokio::spawn(
            async move { store.publish(publishing, &path, LIMITS, &CancellationToken::new()).await },
        );
    while server.stalled() == 0 {
        tokio::task::yield_now().await;
    }
    stored.store.sweep().await.unwrap();
    assert_eq!(server.keys("sites/blobs").len(), 2, "both are spared");
    assert_eq!(server.keys("sites/drafts").len(), 1);
    publisher.abort();
    let _ = publisher.await;
    // It is dead now, and so is its draft.
    bucket_of(server, &stored.directory).with_everybody_dead().sweep().await.unwrap();
    assert_eq!(stored.everything(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_does_not_rely_on_what_a_sweep_is_removing() {
    let (stored, output) = (Stored::bucket().await, Output::new());
    let server = stored.server.as_ref().unwrap();
    let [removed, publishing] = deployments();
    stored.publish(removed, &output).await.unwrap();
    stored.store.remove(removed).await.unwrap();
    // The sweep has looked at everything and hangs in mid-removal.
    let store = Arc::clone(&stored.store);
    let sweep = tokio::spawn({
        // Its clock is asked for first, and that is removed; then come the blobs.
        server.spoil_after(1, Method::POST, "delete", S3Fault::Stalls);
        async move { store.sweep().await }
    });
    while server.stalled() == 0 {
        tokio::task::yield_now().await;
    }
    server.heal();
    let manifest = stored.publish(publishing, &output).await.unwrap();
    assert!(manifest.files.iter().all(|file| file.blob.is_some()), "{manifest:?}");
    sweep.abort();
    let _ = sweep.await;
    // Another sweep brings the dead one's to its end, whatever it had left.
    bucket_of(server, &stored.directory).with_everybody_dead().sweep().await.unwrap();
    assert_eq!(server.keys("sites/doomed"), Vec::<String>::new());
    assert_eq!(server.keys("sites/blobs").len(), 2);
    assert_eq!(stored.content(publishing, "index.html").await, b"<h1>hi</h1>");
    assert_eq!(stored.content(publishing, "assets/site.css").await, b"h1{}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_reads_an_artifact_anew_that_was_removed_and_published_again_meanwhile() {
    let (stored, output) = (Stored::bucket().await, Output::new());
    let server = stored.server.as_ref().unwrap();
    let [old, again] = deployments();
    stored.publish(old, &output).await.unwrap();
    stored.store.remove(old).await.unwrap();
    let first = Output::new();
    fs::remove_dir_all(first.path()).unwrap();
    fs::create_dir(first.path()).unwrap();
    first.write("first.html", "first");
    stored.publish(again, &first).await.unwrap();
    // The sweep has read everything once, and hangs over its word; nobody sees that yet.
    server.spoil(Method::PUT, "/doomed/", S3Fault::Stalls);
    let store = Arc::clone(&stored.store);
    let sweep = tokio::spawn(async move { store.sweep().await });
    while server.stalled() == 0 {
        tokio::task::yield_now().await;
    }
    stored.store.remove(again).await.unwrap();
    // It has what the sweep found to be named by nothing.
    stored.publish(again, &output).await.unwrap();
    server.heal();
    server.go_on();
    sweep.await.unwrap().unwrap();
    assert_eq!(stored.content(again, "index.html").await, b"<h1>hi</h1>");
    assert_eq!(stored.content(again, "assets/site.css").await, b"h1{}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_and_sweeps_at_once_leave_no_artifact_without_its_content() {
    let stored = Stored::bucket().await;
    let server = stored.server.as_ref().unwrap();
    let rounds = deployments::<24>();
    let store = Arc::new(bucket_of(server, &stored.directory));
    let sweeping = tokio::spawn({
        let store = store.clone();
        async move {
            loop {
                store.sweep().await.unwrap();
            }
        }
    });
    let publishing = rounds.chunks(8).enumerate().map(|(n, mine)| {
        let (store, mine) = (store.clone(), mine.to_vec());
        tokio::spawn(async move {
            let output = Output::new();
            for deployment in mine {
                // All have the same content, and most are removed at once: it goes and comes all the time.
                let given_up = CancellationToken::new();
                let published = store.publish(deployment, &output.path(), LIMITS, &given_up).await.unwrap();
                for file in &published.files {
                    use futures_util::TryStreamExt as _;
                    let content = store.read(deployment, file).await.unwrap();
                    let content = content.try_collect::<Vec<_>>().await.unwrap().concat();
                    assert_eq!(content.len() as u64, file.size, "publisher {n}");
                }
                store.remove(deployment).await.unwrap();
            }
        })
    });
    for publisher in publishing.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    sweeping.abort();
    let _ = sweeping.await;
    store.as_ref().clone().with_everybody_dead().sweep().await.unwrap();
    assert_eq!(stored.everything(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_cannot_be_read_ends_a_sweep_before_it_removes_anything() {
    let (stored, output) = (Stored::bucket().await, Output::new());
    let server = stored.server.as_ref().unwrap();
    let [deployment] = deployments();
    stored.publish(deployment, &output).await.unwrap();
    server.spoil(Method::GET, "/artifacts/", S3Fault::Garbles);
    let swept = stored.store.sweep().await;
    assert!(matches!(swept, Err(ArtifactError::Manifest(_))), "{swept:?}");
    assert_eq!(server.keys("sites/blobs").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_says_what_is_wrong_with_a_bucket() {
    let stored = Stored::bucket().await;
    let server = stored.server.as_ref().unwrap();
    for (method, fault, said) in [
        (Method::PUT, S3Fault::Refuses, "the artifact store does not allow what we asked it for"),
        (Method::GET, S3Fault::Garbles, "the artifact store sent for a probe is something else"),
        (Method::POST, S3Fault::Refuses, "the artifact store does not allow what we asked it for"),
    ] {
        // What is removed is named in the body.
        let within = if method == Method::POST { "delete" } else { "/probes/" };
        server.spoil(method, within, fault);
        let error = stored.store.probe().await.unwrap_err();
        assert!(error.to_string().ends_with(said.strip_prefix("the artifact store").unwrap()), "{error}");
    }
}
