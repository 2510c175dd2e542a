//! `make faults`: every case as often as asked for, as a table.

use grapnel_e2e::faults::{Database, HEAD, Part, killed};

const CASES: [(Part, Database); 7] = [
    (Part::Hooks, Database::Sqlite),
    (Part::Hooks, Database::Postgres),
    (Part::Gateway, Database::Sqlite),
    (Part::Gateway, Database::Postgres),
    (Part::Executor, Database::Sqlite),
    (Part::Executor, Database::Postgres),
    (Part::Postgres, Database::Postgres),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let times = arguments.next().map_or(Ok(50), |times| times.parse())?;
    let seed = arguments.next().map_or_else(|| Ok(rand::random()), |seed| seed.parse())?;
    println!("seed {seed}\n\n{HEAD}");
    let mut broken = Vec::new();
    for (part, database) in CASES {
        let row = killed(part, database, times, seed).await;
        println!("{row}");
        if !row.verdict.holds() {
            broken.push(format!("{}: {:#?}", row.case, row.verdict));
        }
    }
    anyhow::ensure!(broken.is_empty(), "\n{}", broken.join("\n"));
    Ok(())
}
