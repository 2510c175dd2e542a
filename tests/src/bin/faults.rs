//! `make faults`: every case as often as asked for, as a table.

use std::time::Duration;

use grapnel_e2e::faults::{Database, HEAD, Part, Quality, Row, any_of_many, killed, spoiled};

const CASES: [(Part, Database); 7] = [
    (Part::Hooks(0), Database::Sqlite),
    (Part::Hooks(0), Database::Postgres),
    (Part::Gateway(0), Database::Sqlite),
    (Part::Gateway(0), Database::Postgres),
    (Part::Executor(0), Database::Sqlite),
    (Part::Executor(0), Database::Postgres),
    (Part::Postgres, Database::Postgres),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let times = arguments.next().map_or(Ok(50), |times| times.parse())?;
    let seed = arguments.next().map_or_else(|| Ok(rand::random()), |seed| seed.parse())?;
    println!("seed {seed}\n\n{HEAD}");
    let mut broken = Vec::new();
    let mut told = |row: Row| {
        println!("{row}");
        if !row.verdict.holds() {
            broken.push(format!("{}: {:#?}", row.case, row.verdict));
        }
    };
    for (part, database) in CASES {
        told(killed(part, database, times, seed).await);
    }
    for quality in [Quality::Cut, Quality::Silent, Quality::Slow(Duration::from_millis(300))] {
        told(spoiled(quality, 1.0..10.0, Database::Sqlite, times.div_ceil(5), seed).await);
    }
    told(spoiled(Quality::Silent, 59.0..60.0, Database::Postgres, 1, seed).await);
    told(any_of_many(100, times, seed).await);
    anyhow::ensure!(broken.is_empty(), "\n{}", broken.join("\n"));
    Ok(())
}
