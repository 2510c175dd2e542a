//! A short form of `make faults`.

use grapnel_e2e::faults::{Database, Part, Quality, any_of_many, killed, spoiled};

const TIMES: u32 = 4;

async fn holds(part: Part, database: Database) {
    let seed = rand::random();
    let row = killed(part, database, TIMES, seed).await;
    assert!(row.verdict.holds(), "seed {seed}: {row:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_that_is_killed_loses_and_doubles_nothing() {
    holds(Part::Hooks(0), Database::Sqlite).await;
    holds(Part::Hooks(0), Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_loses_and_doubles_nothing() {
    holds(Part::Gateway(0), Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_killed_loses_and_doubles_nothing() {
    holds(Part::Executor(0), Database::Sqlite).await;
    holds(Part::Executor(0), Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_killed_loses_and_doubles_nothing() {
    holds(Part::Postgres, Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_to_an_executor_that_is_cut_or_silent_loses_and_doubles_nothing() {
    for quality in [Quality::Cut, Quality::Silent] {
        let seed = rand::random();
        let row = spoiled(quality, 0.5..3.0, Database::Sqlite, 3, seed).await;
        assert!(row.verdict.holds(), "seed {seed}: {row:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_each_over_one_postgresql_lose_and_double_nothing() {
    let seed = rand::random();
    let row = any_of_many(12, TIMES, seed).await;
    assert!(row.verdict.holds(), "seed {seed}: {row:#?}");
}
