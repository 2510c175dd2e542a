//! `make faults`: every case as often as asked for, as a table.

use std::time::Duration;

use grapnel_e2e::faults::{
    Case,
    Database::{self, Postgres, Sqlite},
    Fault, HEAD, Part, Place, Quality,
};

/// A part is killed, or a place is full, as often as asked for.
const OFTEN: [(Fault, Database); 15] = [
    (Fault::Kill(Part::Hooks(0)), Sqlite),
    (Fault::Kill(Part::Hooks(0)), Postgres),
    (Fault::Kill(Part::Gateway(0)), Sqlite),
    (Fault::Kill(Part::Gateway(0)), Postgres),
    (Fault::Kill(Part::Executor(0)), Sqlite),
    (Fault::Kill(Part::Executor(0)), Postgres),
    (Fault::Kill(Part::Engine), Sqlite),
    (Fault::Kill(Part::Engine), Postgres),
    (Fault::Kill(Part::Postgres), Postgres),
    (Fault::KillAll, Sqlite),
    (Fault::KillAll, Postgres),
    (Fault::Full(Place::Database), Sqlite),
    (Fault::Full(Place::Workspaces), Sqlite),
    (Fault::Full(Place::Artifacts), Sqlite),
    (Fault::Full(Place::Journals), Sqlite),
];

/// Returns all cases, each with how often it is done where it is asked for `times`.
fn cases(times: u32) -> Vec<(Case, u32)> {
    let mut cases: Vec<_> =
        OFTEN.into_iter().map(|(fault, database)| (Case::new(fault, database), times)).collect();
    // These last.
    let some = times.div_ceil(5);
    for quality in [Quality::Cut, Quality::Silent, Quality::Slow(Duration::from_millis(300))] {
        cases.push((Case::new(Fault::Line(quality), Sqlite).lasting(1.0..10.0), some));
    }
    for quality in [Quality::Cut, Quality::Silent] {
        cases.push((Case::new(Fault::Line(quality), Postgres).lasting(59.0..60.0), 1));
    }
    for database in [Sqlite, Postgres] {
        cases.push((Case::new(Fault::Clock, database), times));
        cases.push((Case::new(Fault::NoFiles, database), times));
    }
    cases.push((Case::new(Fault::Terminate, Postgres), times));
    cases.push((Case::new(Fault::KillAny, Postgres).under(100, 2_000), times));
    // Beyond the 30 s of a lease, and below them.
    cases.push((Case::new(Fault::Freeze, Postgres).lasting(1.0..45.0), some));
    cases
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let times = arguments.next().map_or(Ok(50), |times| times.parse())?;
    let seed = arguments.next().map_or_else(|| Ok(rand::random()), |seed| seed.parse())?;
    let wanted = arguments.next().unwrap_or_default();
    let mut cases = cases(times);
    cases.retain(|(case, _)| case.to_string().contains(&wanted));
    anyhow::ensure!(!cases.is_empty(), "no case has `{wanted}` in its name");
    println!("seed {seed}\n\n{HEAD}");
    let logs = grapnel_e2e::root().join("target/faults");
    let mut broken = Vec::new();
    for (case, times) in cases {
        let row = case.run(times, seed).await;
        println!("{row}");
        if !row.verdict.holds() {
            let log = logs.join(format!("{}.log", row.case.replace(' ', "-")));
            std::fs::create_dir_all(&logs)?;
            std::fs::write(&log, row.logs)?;
            broken.push(format!("{}: {:#?}\nits processes logged {}", row.case, row.verdict, log.display()));
        }
    }
    if !broken.is_empty() {
        println!("\n{}", broken.join("\n"));
        std::process::exit(1);
    }
    Ok(())
}
