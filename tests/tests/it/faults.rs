//! A short form of `make faults`.

use grapnel_e2e::faults::{
    Case,
    Database::{Postgres, Sqlite},
    Fault, Part, Place, Quality,
};

async fn holds(case: Case, times: u32) {
    let seed = rand::random();
    let row = case.run(times, seed).await;
    assert!(row.verdict.holds(), "seed {seed}: {row:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_that_is_killed_loses_and_doubles_nothing() {
    holds(Case::new(Fault::Kill(Part::Hooks(0)), Sqlite), 4).await;
    holds(Case::new(Fault::Kill(Part::Hooks(0)), Postgres), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_loses_and_doubles_nothing() {
    holds(Case::new(Fault::Kill(Part::Gateway(0)), Sqlite), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_killed_loses_and_doubles_nothing() {
    holds(Case::new(Fault::Kill(Part::Executor(0)), Sqlite), 4).await;
    holds(Case::new(Fault::Kill(Part::Executor(0)), Postgres), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_killed_loses_and_doubles_nothing() {
    holds(Case::new(Fault::Kill(Part::Engine), Sqlite), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_killed_loses_and_doubles_nothing() {
    holds(Case::new(Fault::Kill(Part::Postgres), Postgres), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_killed_at_once_loses_and_doubles_nothing() {
    holds(Case::new(Fault::KillAll, Postgres), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stops_and_goes_on_loses_and_doubles_nothing() {
    holds(Case::new(Fault::Freeze, Postgres).lasting(1.0..4.0), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_to_an_executor_that_is_cut_or_silent_loses_and_doubles_nothing() {
    for quality in [Quality::Cut, Quality::Silent] {
        holds(Case::new(Fault::Line(quality), Sqlite).lasting(0.5..3.0), 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_a_disk_that_is_full_loses_and_doubles_nothing() {
    for place in [Place::Database, Place::Workspaces, Place::Artifacts, Place::Journals] {
        holds(Case::new(Fault::Full(place), Sqlite), 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_loses_and_doubles_nothing() {
    holds(Case::new(Fault::Clock, Sqlite), 4).await;
    holds(Case::new(Fault::Clock, Postgres), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f24_a_process_without_file_descriptors_loses_and_doubles_nothing() {
    holds(Case::new(Fault::NoFiles, Sqlite), 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_processes_that_are_told_to_stop_lose_and_double_nothing() {
    holds(Case::new(Fault::Terminate, Postgres), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_each_over_one_postgresql_lose_and_double_nothing() {
    holds(Case::new(Fault::KillAny, Postgres).under(12, 0), 4).await;
}
