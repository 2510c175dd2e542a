//! What it costs where nothing happens, and how soon it is there.

mod start_up;

use std::{fs, time::Duration};

use anyhow::Result;
use grapnel_e2e::{
    Grapnel, Setup,
    faults::{Database, Installation, Part, Shape},
    grapnel::binary,
};

use super::Form;
use crate::{
    report::{Cell, Goal, Section, Table},
    usage::Usage,
};

const TEXT: &str = "\
`grapnel up` over SQLite, and the three services as processes of their own, all of them left alone for a while after their start:
resident memory at the end, the share of one core that was used meanwhile, and open files. Start-up is from the start of the
process to the first answer 200 of `/healthz`, asked for every millisecond, and to the first trigger that is accepted: of the
hook that is there, or in an empty directory of one that is made first, with its project, over gRPC.";

/// Measures both.
///
/// # Errors
/// A process ends.
pub async fn measure(form: Form) -> Result<Section> {
    let idle = idle(form).await?;
    let started = start_up::measure(form.pick(2, 15)).await?;
    let up = idle.first().map(|(_, usage)| *usage);
    let binary = fs::metadata(binary())?.len() as f64 / f64::from(1 << 20);
    let mut goals: Vec<_> = up.iter().flat_map(goals).collect();
    goals.extend(started.goals());
    Ok(Section {
        name: "rest",
        title: "At rest".to_owned(),
        text: format!("{TEXT}\n\nThe binary has {binary:.1} MiB."),
        tables: vec![table(&idle), started.table()],
        plots: Vec::new(),
        goals,
    })
}

/// What a process that is left alone uses.
#[derive(Clone, Copy, Debug)]
struct Idle {
    resident_mib: f64,
    /// Of one core, in percent.
    percent: f64,
    open_files: usize,
}

async fn idle(form: Form) -> Result<Vec<(&'static str, Idle)>> {
    let up = Grapnel::start(Setup::default().embedded()).await;
    let shape = Shape { database: Database::Sqlite, of_each: 1, extras: Vec::new() };
    let apart = Installation::start(shape).await;
    let processes = [
        ("up", up.pid()),
        ("hooks", apart.pid(Part::Hooks(0))),
        ("gateway", apart.pid(Part::Gateway(0))),
        ("executor", apart.pid(Part::Executor(0))),
    ];
    // The network of builds is tried once after the start.
    tokio::time::sleep(Duration::from_secs(form.pick(3, 15))).await;
    let lasting = Duration::from_secs(form.pick(10, 60));
    let before = processes.iter().map(|(_, pid)| Usage::of(*pid)).collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(lasting).await;
    let used = |((name, pid), before): (&(&'static str, u32), &Usage)| {
        let after = Usage::of(*pid)?;
        let percent = (after.cpu - before.cpu).as_secs_f64() / lasting.as_secs_f64() * 100.0;
        Ok((*name, Idle { resident_mib: after.resident_mib, percent, open_files: after.open_files }))
    };
    processes.iter().zip(&before).map(used).collect()
}

fn table(idle: &[(&'static str, Idle)]) -> Table {
    let row = |(name, idle): &(&'static str, Idle)| {
        vec![
            Cell::from(format!("grapnel {name}")),
            Cell::figure(idle.resident_mib, 1),
            Cell::figure(idle.percent, 2),
            Cell::whole(idle.open_files as f64),
        ]
    };
    Table {
        caption: "Idle".to_owned(),
        columns: ["process", "resident MiB", "% of a core", "open files"].map(str::to_owned).to_vec(),
        rows: idle.iter().map(row).collect(),
    }
}

fn goals(up: &Idle) -> [Goal; 2] {
    [
        Goal::at_most(60.0, "`grapnel up` at rest, resident MiB", up.resident_mib),
        Goal::at_most(0.5, "`grapnel up` at rest, % of a core", up.percent),
    ]
}
