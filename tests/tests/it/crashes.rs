//! Processes that end at each crash point in turn, between every two things that outlive them.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    time::{Duration, Instant},
};

use grapnel_e2e::{
    faults::{Database, Extra, Installation, Load, Part, Shape, verdict},
    root,
};

/// How many hooks are requested the whole time, and with how many seconds between two requests: builds come to their end.
const HOOKS: usize = 4;
const EVERY: Range<f64> = 2.0..8.0;

/// How long a process may take to come to a point: as long as a lease of 30 s, and what leads there.
const REACHED: Duration = Duration::from_secs(90);

/// What a process ends by that ends itself at once.
const SIGABRT: i32 = 6;

/// Returns the names of all crash points in the code below a directory.
fn points_below(directory: &Path, points: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            points_below(&path, points);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for rest in text.split("crash_point(\"").skip(1) {
                let name = rest.split('"').next().unwrap().to_owned();
                assert!(points.insert(name.clone()), "two crash points are called {name}");
            }
        }
    }
}

fn points() -> BTreeSet<String> {
    let mut points = BTreeSet::new();
    for sources in ["services/hooks/src", "services/gateway/src", "executor/src", "crates/artifacts/src"] {
        points_below(&root().join(sources), &mut points);
    }
    assert!(points.len() > 20, "{points:?}");
    points
}

/// Returns which process comes to a point.
fn process_of(point: &str) -> Part {
    match point.split_once('.').unwrap().0 {
        "store" | "outbound" => Part::Hooks(0),
        "site-file" => Part::Gateway(0),
        _ => Part::Executor(0),
    }
}

/// Tells whether artifacts have to be in a bucket for a point to be come to, or must not be.
fn bucket_of(point: &str) -> Option<bool> {
    match point.split_once('.').unwrap().0 {
        "artifact" => Some(false),
        "bucket" | "site-file" => Some(true),
        "cache" if ["cache.sent", "cache.described", "cache.fetched"].contains(&point) => Some(true),
        _ => None,
    }
}

#[test]
fn the_architecture_lists_every_crash_point() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let listed = text.split("## Crash points").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: BTreeSet<_> = listed
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('.') && !word.contains('/'))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, points());
}

async fn ends_at_each(database: Database, bucket: bool) {
    let mut extras = vec![Extra::Hearers];
    extras.extend(bucket.then_some(Extra::Bucket));
    let mut installation = Installation::start(Shape { database, of_each: 1, extras }).await;
    let load = Load::every(EVERY, installation.hooks(HOOKS).await);
    for point in points() {
        if bucket_of(&point).is_some_and(|wanted| wanted != bucket) {
            continue;
        }
        let part = process_of(&point);
        if point == "store.taken-over" {
            // Of a build that goes on alone there is something to take over.
            installation.begins_to_build().await;
        }
        if point == "cache.fetched" {
            installation.forget_caches(part);
        }
        let begun = Instant::now();
        installation.start_again_until(part, &format!("{point}=return"));
        let ended = loop {
            if let Some(ended) = installation.ended(part) {
                break ended;
            }
            assert!(begun.elapsed() < REACHED, "nothing comes to {point}: {}", installation.logs());
            match point.as_str() {
                "store.promoted" => installation.go_back().await,
                "store.deleted" => installation.delete_one().await,
                _ => {}
            }
            // Somebody looks at a site that no gateway has fetched yet.
            if let (Part::Gateway(_), Some(id)) = (part, load.last()) {
                installation.serves(&id).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(ended.signal(), Some(SIGABRT), "it ended otherwise at {point}: {}", installation.logs());
        installation.start_again(part).await;
        if point == "store.promoted" {
            installation.let_go().await;
        }
    }
    installation.answers(0).await;
    let answered = load.stop().await;
    let verdict = verdict::of(&installation, &answered).await;
    assert!(verdict.holds() && verdict.ready > 0, "{verdict:#?}: {}", installation.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_end_at_each_crash_point_over_sqlite_lose_and_double_nothing() {
    ends_at_each(Database::Sqlite, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_end_at_each_crash_point_over_postgresql_lose_and_double_nothing() {
    ends_at_each(Database::Postgres, true).await;
}
