//! Caches that follow a build to another executor, by a bucket of a real S3 server that fails now and then.

use std::time::{Duration, Instant};

use grapnel_artifacts::Bucket;
use grapnel_domain::{
    BranchName,
    build::BuildSpec,
    event::{BuildEvent, CacheOutcome, Outcome, Step},
};
use grapnel_e2e::{S3Fault, S3Server};
use grapnel_executor::{
    cache::{Build, CacheConfig, NotPurged, SharedConfig},
    engine::{Engine, fake::FakeEngine},
};
use grapnel_runtime::CancellationToken;
use reqwest::Method;

use crate::{
    buckets::bucket_of,
    caches::FIRST,
    site::{REAL_IMAGE, Site},
    support::obedient,
};

fn shared_by(server: &S3Server) -> impl Fn(&mut CacheConfig) {
    let bucket = Bucket::open(&bucket_of(server)).unwrap();
    move |config| {
        config.shared = Some(SharedConfig {
            bucket: bucket.clone(),
            fetch_within: Duration::from_secs(10),
            total_bytes: 1 << 30,
            settles: Duration::ZERO,
        });
    }
}

/// Executors of one installation, which share a bucket and nothing else.
async fn two(server: &S3Server) -> [Site<FakeEngine>; 2] {
    let one = Site::new(obedient()).await.reopen(shared_by(server));
    let mut other = Site::new(obedient()).await.reopen(shared_by(server));
    other.project = one.project;
    [one, other]
}

impl<E: Engine + Clone> Site<E> {
    /// Lets the executor send until the bucket has all that is to be shared.
    async fn send(&self) {
        let stop = CancellationToken::new();
        let sending = tokio::spawn(self.pipeline.caches.clone().send_shared(stop.clone()));
        let begun = Instant::now();
        while self.pipeline.caches.list(None).iter().any(|it| !it.snapshot.sent) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not sent");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        sending.await.unwrap();
    }

    /// Fetches what a build would find.
    async fn fetch(&self, spec: &BuildSpec) -> Option<String> {
        let image = self.engine.image(REAL_IMAGE).await.unwrap().unwrap();
        let owner = self.pipeline.sandbox.user;
        let build = Build { spec, image_name: REAL_IMAGE, image_id: &image.id, owner };
        self.pipeline.caches.fetch(&build).unwrap().ended().await
    }
}

const FILL: &str = "mkdir -p node_modules && head -c 2M /dev/urandom > node_modules/big";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_executor_begins_with_what_the_first_has_left_and_fetches_what_it_lacks_alone() {
    let server = S3Server::start().await;
    let one = Site::real(shared_by(&server)).await;
    let mut other = Site::real(shared_by(&server)).await;
    other.project = one.project;
    one.ready(&one.running(FIRST)).await;
    one.send().await;
    // What is hidden, replaced and renamed.
    let second = "rm node_modules/a/index.js /cache/tool && rm -r node_modules/b && mkdir node_modules/b \
        && echo new > node_modules/b/new && mv node_modules/b/new node_modules/new";
    one.ready(&one.running(second)).await;
    one.send().await;
    let told = other.fetch(&other.spec()).await.unwrap();
    assert!(told.contains("of it came from the bucket in"), "{told}");
    other.settled().await;
    assert_eq!(other.found_by_the_next(), one.found_by_the_next());
    other.nothing_is_orphaned();

    let fetched = server.asked(&Method::GET, "/caches/layers/");
    one.ready(&one.running("echo three > node_modules/three")).await;
    one.send().await;
    let (restored, _) = other.ready(&other.running("cat node_modules/three node_modules/new")).await;
    assert_eq!(restored.outcome, CacheOutcome::Hit);
    assert!(restored.detail.contains("came from the bucket"), "{}", restored.detail);
    assert_eq!(server.asked(&Method::GET, "/caches/layers/") - fetched, 1, "the others are there");

    // What was left here last is newer than what the bucket has.
    let (restored, _) = other.ready(&other.running("true")).await;
    assert_eq!(restored.detail, "the cache of the branch's last READY build");
    other.settled().await;
    other.nothing_is_orphaned();
    one.nothing_is_orphaned();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_last_stands_in_the_bucket_whoever_sends_last() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    one.ready(&one.running("mkdir -p node_modules && echo old > node_modules/old")).await;
    other.ready(&other.running("mkdir -p node_modules && echo new > node_modules/new")).await;
    other.send().await;
    one.send().await;
    let (restored, _) =
        one.ready(&one.running("test -e node_modules/new && test ! -e node_modules/old")).await;
    assert!(restored.detail.contains("came from the bucket"), "{}", restored.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branchs_first_build_begins_with_the_production_branch_of_another_executor() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    one.ready(&one.running(FILL)).await;
    one.send().await;
    let branch = BranchName::parse("feature").unwrap();
    let spec = BuildSpec { branch, production: false, ..other.running("test -e node_modules/big") };
    let (restored, _) = other.ready(&spec).await;
    assert_eq!(restored.outcome, CacheOutcome::Hit);
    assert!(restored.detail.contains("starts from the cache of `main`; 2.0 MiB"), "{}", restored.detail);
    let (restored, _) = other.ready(&BuildSpec { use_cache: false, ..other.running("true") }).await;
    assert_eq!(restored.outcome, CacheOutcome::Off);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_that_begin_together_fetch_a_cache_once() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    one.ready(&one.running(FILL)).await;
    one.send().await;
    let specs: Vec<_> = (0..6).map(|_| other.running("test -e node_modules/big")).collect();
    let all = specs.iter().map(|spec| other.build_beside_others(spec, |_, _| {}));
    for (outcome, events) in futures_util::future::join_all(all).await {
        assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?}");
        assert_eq!(crate::caches::reports(&events)[0].outcome, CacheOutcome::Hit);
    }
    assert_eq!(server.asked(&Method::GET, "/caches/layers/"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_does_without_what_would_take_too_long_or_is_not_what_was_sent() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    one.ready(&one.running(FILL)).await;
    one.send().await;
    let mut site = other.reopen(|config| {
        config.shared.as_mut().unwrap().fetch_within = Duration::from_millis(800);
    });
    for (within, fault, said) in [
        ("/caches/layers/", S3Fault::Stalls, "would have taken longer than 800ms (cache.fetch_within)"),
        ("/caches/layers/", S3Fault::Garbles, "the bucket has a newer one that cannot be fetched"),
        (
            "/caches/snapshots/",
            S3Fault::Refuses,
            "the bucket of shared caches does not allow what we asked it for",
        ),
        ("/caches/snapshots/", S3Fault::Stalls, "the bucket of shared caches does not answer"),
    ] {
        server.spoil(Method::GET, within, fault);
        let (restored, _) = site.ready(&site.running("test ! -e node_modules/big")).await;
        assert_eq!(restored.outcome, CacheOutcome::Miss);
        assert!(restored.detail.contains(said), "{}", restored.detail);
        assert!(restored.took < Duration::from_secs(1), "{restored:?}");
        server.heal();
        server.go_on();
        site.settled().await;
        site.nothing_is_orphaned();
        // The build above has left nothing, and the next one looks again.
        assert_eq!(site.pipeline.caches.list(None), []);
        site = site.reopen(|_| {});
    }
    let (restored, _) = site.ready(&site.running("test -e node_modules/big")).await;
    assert_eq!(restored.outcome, CacheOutcome::Hit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_ended_leaves_no_fetch_behind() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    one.ready(&one.running(FILL)).await;
    one.send().await;
    server.spoil(Method::GET, "/caches/layers/", S3Fault::Stalls);
    let spec = other.running("true");
    let begun = Instant::now();
    let (outcome, _) = other
        .build(&spec, |event, cancel| {
            if matches!(event, BuildEvent::StepStarted { step: Step::Cache, .. }) {
                cancel.cancel();
            }
        })
        .await;
    assert_eq!(outcome, Outcome::Canceled);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    other.nothing_is_left().await;
    other.nothing_is_orphaned();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_reaches_the_bucket_and_what_is_on_its_way_to_it() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    let project = one.project.to_string();
    one.ready(&one.running(FILL)).await;
    let feature =
        BuildSpec { branch: BranchName::parse("feature").unwrap(), production: false, ..one.running(FILL) };
    one.ready(&feature).await;
    one.send().await;
    assert_eq!(server.keys("sites/caches/snapshots").len(), 3);
    assert_eq!(other.pipeline.caches.purge_everywhere(&project, Some("main")).await.unwrap(), (0, 0));
    assert_eq!(server.keys("sites/caches/snapshots").len(), 1, "what branches begin with was main's");
    other.pipeline.caches.purge_everywhere(&project, None).await.unwrap();
    assert_eq!(server.keys("sites/caches/snapshots"), Vec::<String>::new());

    // One that is just being written.
    one.ready(&one.running(FILL)).await;
    server.spoil(Method::PUT, "/caches/snapshots/", S3Fault::Stalls);
    let stop = CancellationToken::new();
    let sending = tokio::spawn(one.pipeline.caches.clone().send_shared(stop.clone()));
    while server.stalled() == 0 {
        tokio::task::yield_now().await;
    }
    let caches = one.pipeline.caches.clone();
    let purging = tokio::spawn(async move { caches.purge_everywhere(&project, None).await.unwrap() });
    while !one.pipeline.caches.list(None).is_empty() {
        tokio::task::yield_now().await;
    }
    server.heal();
    server.go_on();
    assert_eq!(purging.await.unwrap().0, 2);
    stop.cancel();
    sending.await.unwrap();
    assert_eq!(server.keys("sites/caches/snapshots"), Vec::<String>::new());

    server.spoil(Method::GET, "sites", S3Fault::Refuses);
    let refused = one.pipeline.caches.purge_everywhere(&one.project.to_string(), None).await.unwrap_err();
    assert!(matches!(refused, NotPurged::Bucket(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_or_too_much_goes_out_of_the_bucket_and_what_is_named_stays() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    for branch in ["first", "second", "third"] {
        let branch = BranchName::parse(branch).unwrap();
        one.ready(&BuildSpec { branch, production: false, ..one.running(FILL) }).await;
        one.send().await;
        // The bucket tells times in whole seconds.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let there = || ["snapshots", "layers"].map(|room| server.keys(&format!("sites/caches/{room}")).len());
    assert_eq!(there(), [3, 3]);
    one.pipeline.caches.sweep_shared().await.unwrap();
    assert_eq!(there(), [3, 3], "all fit");
    let site = other.reopen(|config| config.shared.as_mut().unwrap().total_bytes = 5 << 20);
    site.pipeline.caches.sweep_shared().await.unwrap();
    assert_eq!(there(), [2, 2], "the one that was left longest ago went");
    let spec =
        BuildSpec { branch: BranchName::parse("third").unwrap(), production: false, ..site.running("true") };
    assert_eq!(site.ready(&spec).await.0.outcome, CacheOutcome::Hit);

    // A description that a later release has written may name any layer.
    let bucket = Bucket::open(&bucket_of(&server)).unwrap();
    let later = bucket.key("caches/snapshots/prj_later", "x.json");
    bucket.write(&later, b"{\"form\":99}".to_vec()).await.unwrap();
    let site = site.reopen(|config| config.shared.as_mut().unwrap().total_bytes = 0);
    site.pipeline.caches.sweep_shared().await.unwrap();
    assert_eq!(there(), [3, 2]);
    bucket.remove(&later).await.unwrap();
    let site = site.reopen(|config| {
        config.max_age = Duration::ZERO;
        config.shared.as_mut().unwrap().settles = Duration::from_secs(3600);
    });
    site.pipeline.caches.sweep_shared().await.unwrap();
    assert_eq!(there(), [0, 2], "somebody may be about to name them");
    let site = site.reopen(|config| config.shared.as_mut().unwrap().settles = Duration::ZERO);
    site.pipeline.caches.sweep_shared().await.unwrap();
    assert_eq!(there(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_sent_is_sent_when_the_executor_starts_again() {
    let server = S3Server::start().await;
    let [one, other] = two(&server).await;
    one.ready(&one.running(FILL)).await;
    server.spoil(Method::PUT, "/caches/", S3Fault::Refuses);
    let stop = CancellationToken::new();
    let sending = tokio::spawn(one.pipeline.caches.clone().send_shared(stop.clone()));
    while server.asked(&Method::PUT, "/caches/") == 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    sending.await.unwrap();
    server.heal();
    assert_eq!(server.keys("sites/caches"), Vec::<String>::new());
    one.settled().await;
    one.nothing_is_orphaned();
    let one = one.reopen(|_| {});
    one.send().await;
    one.nothing_is_orphaned();
    assert_eq!(other.ready(&other.running("test -e node_modules/big")).await.0.outcome, CacheOutcome::Hit);
    // A layer that somebody has removed there is sent again with the next READY build.
    let gone = server.keys("sites/caches/layers").remove(0);
    let bucket = Bucket::open(&bucket_of(&server)).unwrap();
    bucket.remove(&bucket.key("caches/layers", gone.rsplit('/').next().unwrap())).await.unwrap();
    one.ready(&one.running("echo more > node_modules/more")).await;
    one.send().await;
    let all = one.pipeline.caches.list(None).remove(0).snapshot;
    assert_eq!(server.keys("sites/caches/layers").len(), all.layers().count());
}
