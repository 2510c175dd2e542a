//! What every store promises.

use std::{fs, os::unix::fs::symlink, path::Path};

use futures_util::future::join_all;
use grapnel_artifacts::{ArtifactError, Limits, Refusal};
use grapnel_runtime::CancellationToken;

use crate::site::{LIMITS, Output, Stored, deployments};

/// Puts into an output what is refused.
type Prepare = dyn Fn(&Path);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_is_found_by_its_manifest_with_types_and_digests() {
    for stored in Stored::both().await {
        let ([deployment, other], output) = (deployments(), Output::new());
        // Content of all sizes that are sent in different ways.
        output.write("empty.txt", "");
        let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
        output.write("large.bin", &large);
        let published = stored.publish(deployment, &output).await.unwrap();
        let manifest = stored.store.open(deployment).await.unwrap();
        assert_eq!(manifest, published);
        let file = manifest.file("assets/site.css").unwrap();
        assert_eq!((file.size, file.content_type.as_str()), (4, "text/css; charset=utf-8"));
        assert_eq!(file.digest.len(), 64);
        assert_eq!(stored.content(deployment, "assets/site.css").await, b"h1{}");
        assert_eq!(stored.content(deployment, "empty.txt").await, b"");
        assert!(stored.content(deployment, "large.bin").await == large);
        for outside in ["", "assets", "../secret", "/etc/passwd", "assets/../index.html", "index.html/"] {
            assert!(manifest.file(outside).is_none(), "{outside:?}");
        }
        let nothing = stored.store.open(other).await;
        assert!(matches!(nothing, Err(ArtifactError::NotFound(_))), "{nothing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_again_changes_nothing() {
    for stored in Stored::both().await {
        let ([deployment], output) = (deployments(), Output::new());
        let first = stored.publish(deployment, &output).await.unwrap();
        let stands = stored.everything();
        output.write("index.html", "other");
        assert_eq!(stored.publish(deployment, &output).await.unwrap(), first);
        assert_eq!(stored.everything(), stands);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_publishers_of_one_deployment_all_return_the_one_artifact() {
    for stored in Stored::both().await {
        let ([deployment], output) = (deployments(), Output::new());
        let published = join_all((0..8).map(|_| stored.publish(deployment, &output))).await;
        let manifest = stored.store.open(deployment).await.unwrap();
        for one in published {
            assert_eq!(one.unwrap(), manifest);
        }
        assert_eq!(stored.content(deployment, "index.html").await, b"<h1>hi</h1>");
        let left = stored.everything();
        assert!(!left.iter().any(|name| name.contains("drafts") || name.contains("staging")), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_not_there_and_leaves_nothing() {
    for stored in Stored::both().await {
        let ([deployment], output) = (deployments(), Output::new());
        let given_up = CancellationToken::new();
        given_up.cancel();
        let ended = stored.store.publish(deployment, &output.path(), LIMITS, &given_up).await;
        assert!(matches!(ended, Err(ArtifactError::GivenUp)), "{ended:?}");
        assert!(matches!(stored.store.open(deployment).await, Err(ArtifactError::NotFound(_))));
        assert_eq!(stored.everything(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_is_gone_and_what_it_shared_stays() {
    for stored in Stored::both().await {
        let ([first, second], output) = (deployments(), Output::new());
        stored.publish(first, &output).await.unwrap();
        output.write("only-in-the-second.html", "second");
        stored.publish(second, &output).await.unwrap();
        stored.store.remove(second).await.unwrap();
        stored.store.remove(second).await.unwrap();
        stored.store.sweep().await.unwrap();
        assert!(matches!(stored.store.open(second).await, Err(ArtifactError::NotFound(_))));
        assert_eq!(stored.content(first, "index.html").await, b"<h1>hi</h1>");
        stored.store.remove(first).await.unwrap();
        stored.store.sweep().await.unwrap();
        assert_eq!(stored.everything(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_are_listed_in_order_and_page_by_page() {
    for stored in Stored::both().await {
        assert_eq!(stored.store.list(None, 10).await.unwrap(), []);
        let (all, output) = (deployments::<7>(), Output::new());
        for deployment in all.iter().rev() {
            stored.publish(*deployment, &output).await.unwrap();
        }
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = stored.store.list(after, 3).await.unwrap();
            listed.extend(page.iter().map(|published| published.deployment));
            after = listed.last().copied();
            if page.len() < 3 {
                break;
            }
        }
        assert_eq!(listed, all);
        let ages = stored.store.list(None, 100).await.unwrap();
        let now = grapnel_runtime::Clock::system().now();
        assert!(ages.iter().all(|published| (now - published.at).num_seconds().abs() < 120), "{ages:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_to_files_inside_are_copied_and_links_that_lead_out_are_refused() {
    for stored in Stored::both().await {
        let ([deployment, other], output) = (deployments(), Output::new());
        symlink("index.html", output.path().join("home.html")).unwrap();
        let manifest = stored.publish(deployment, &output).await.unwrap();
        assert_eq!(manifest.file("home.html").unwrap().digest, manifest.file("index.html").unwrap().digest);
        for target in ["../secret", "/etc/passwd", "nowhere", "assets", "/proc/self/root/etc/passwd"] {
            let output = Output::new();
            symlink(target, output.path().join("link")).unwrap();
            let error = stored.publish(other, &output).await.unwrap_err();
            assert!(
                matches!(error, ArtifactError::Refused(Refusal::Link(ref name)) if name == "link"),
                "{target}: {error}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_a_link_a_file_or_empty_is_refused() {
    for stored in Stored::both().await {
        let ([deployment], output) = (deployments(), Output::new());
        let (link, empty) = (output.path().join("link"), output.path().join("empty"));
        symlink("/etc", &link).unwrap();
        fs::create_dir(&empty).unwrap();
        for (path, refusal) in [
            (link, Refusal::NoDirectory),
            (output.path().join("index.html"), Refusal::NoDirectory),
            (output.path().join("missing"), Refusal::NoDirectory),
            (empty, Refusal::Empty),
        ] {
            let refused = stored.store.publish(deployment, &path, LIMITS, &CancellationToken::new()).await;
            assert!(
                matches!(&refused, Err(ArtifactError::Refused(found)) if *found == refusal),
                "{refused:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn size_count_and_kind_are_limited_and_nothing_is_left_behind() {
    let limits = Limits { bytes: 1 << 20, files: 100 };
    let sparse = |output: &Path| {
        fs::File::create(output.join("big")).unwrap().set_len(1 << 40).unwrap();
    };
    let many = |output: &Path| (0..200).for_each(|n| fs::write(output.join(n.to_string()), "").unwrap());
    let pipe = |output: &Path| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, output.join("pipe"), kind, mode, 0).unwrap();
    };
    let name = |output: &Path| fs::write(output.join("a\nb"), "").unwrap();
    let cases: [(&Prepare, Refusal); 4] = [
        (&sparse, Refusal::TooLarge(limits.bytes)),
        (&many, Refusal::TooMany(limits.files)),
        (&pipe, Refusal::Special("pipe".into())),
        (&name, Refusal::Name("a\\nb".into())),
    ];
    for stored in Stored::both().await {
        for (prepare, refusal) in &cases {
            let ([deployment], output) = (deployments(), Output::new());
            prepare(&output.path());
            let given_up = CancellationToken::new();
            let refused = stored.store.publish(deployment, &output.path(), limits, &given_up).await;
            assert!(
                matches!(&refused, Err(ArtifactError::Refused(found)) if found == refusal),
                "{refused:?}"
            );
            assert_eq!(stored.everything(), Vec::<String>::new(), "something is left behind");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_publisher_left_is_swept_and_never_seen_and_a_living_one_is_let_be() {
    for stored in Stored::both().await {
        let [deployment] = deployments();
        let room = if stored.server.is_some() { "uploads" } else { "artifacts" };
        let left = stored.directory.path().join(room).join(format!(".{deployment}.0.staging"));
        let lives = stored.directory.path().join(room).join(format!(".{deployment}.1.staging"));
        fs::create_dir_all(left.join("files")).unwrap();
        fs::create_dir_all(&lives).unwrap();
        let locked = fs::File::open(&lives).unwrap();
        rustix::fs::flock(&locked, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert!(matches!(stored.store.open(deployment).await, Err(ArtifactError::NotFound(_))));
        assert_eq!(stored.store.list(None, 10).await.unwrap(), []);
        stored.store.sweep().await.unwrap();
        assert!(!left.exists());
        assert!(lives.exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_works_can_be_tried_and_shows_nothing_of_it() {
    for stored in Stored::both().await {
        stored.store.probe().await.unwrap();
        assert_eq!(stored.everything(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_would_fill_a_gateways_memory_are_refused() {
    let (stored, output) = (Stored::directory(), Output::new());
    let deep = output.path().join(vec!["d".repeat(250); 14].join("/"));
    fs::create_dir_all(&deep).unwrap();
    for n in 0..10_000 {
        fs::write(deep.join(format!("{n}")), "").unwrap();
    }
    let [deployment] = deployments();
    let limits = Limits { bytes: 1 << 20, files: 100_000 };
    let refused = stored.store.publish(deployment, &output.path(), limits, &CancellationToken::new()).await;
    let is_it = |refusal: &Refusal| *refusal == Refusal::NamesTooLong && refusal.is_about_size();
    assert!(matches!(&refused, Err(ArtifactError::Refused(refusal)) if is_it(refusal)), "{refused:?}");
}
