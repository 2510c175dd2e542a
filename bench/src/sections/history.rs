//! Durable triggers by how much is stored already: the curve has to be flat.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Form,
    triggers::{
        USUAL,
        hooked::{Hooked, Loaded},
    },
};
use crate::{
    database::{Databases, Kind},
    load::median,
    process::beside,
    report::{Cell, Curve, Goal, Plot, Section, Table},
};

/// What more than that is to be like.
const LEAST: u64 = 10;

/// Below this a load changes how much is stored: each begins at a copy.
const COPIED: u64 = 100_000;

const TEXT: &str = "\
The load of the section above at 64 connections, over databases with 100,000 hooks more (10,000 in the short form) and so many
deployments, each with its events and its row of the ledger. Those with few deployments are put back as they were before each
round, which would else add more than they had; the rounds go over all of them in turn. The ratio is the median of the rounds'
own.";

/// Grapnel over so many deployments.
struct Filled {
    deployments: u64,
    /// The database's name, and its copy's.
    name: String,
    copy: Option<String>,
    hooked: Hooked,
    loads: Vec<Loaded>,
}

/// Measures both databases in turn.
///
/// # Errors
/// They cannot be filled, or what was answered is not stored.
pub async fn measure(form: Form) -> Result<Section> {
    let sizes = form.pick(&[LEAST, 10_000][..], &[LEAST, 10_000, 1_000_000]);
    let lasting = Duration::from_secs(form.pick(1, 3));
    // Beside the hundred that are requested.
    let hooks = form.pick(10_000, 100_000);
    let databases = Databases::start().await?;
    let mut filled = Vec::new();
    for kind in Kind::ALL {
        for deployments in sizes {
            filled.push(Filled::make(&databases, kind, *deployments, hooks).await?);
        }
    }
    for _ in 0..form.pick(1, 5) {
        for one in &mut filled {
            one.load(&databases, lasting).await?;
        }
    }
    Ok(section(&filled, sizes))
}

impl Filled {
    async fn make(databases: &Databases, kind: Kind, deployments: u64, hooks: u64) -> Result<Self> {
        let name = format!("history_{deployments}");
        let mut hooked = Hooked::make(databases.make(kind, &name)?).await?;
        hooked.stop();
        let database = hooked.database().clone();
        let already = database.stored()?;
        let mut fill = Command::new(beside("fill")?);
        fill.args([database.url(), hooks.to_string(), deployments.to_string()]);
        let output = fill.output()?;
        ensure!(output.status.success(), "fill failed: {}", String::from_utf8_lossy(&output.stderr));
        let stored = database.stored()?;
        ensure!(stored.hooks == already.hooks + hooks, "there are {} hooks", stored.hooks);
        ensure!(stored.deployments == deployments, "there are {} deployments", stored.deployments);
        database.settle()?;
        let copy = (deployments < COPIED).then(|| format!("{name}_copy"));
        if let Some(copy) = &copy {
            databases.copy(kind, &name, copy)?;
        } else {
            hooked.start_again().await?;
        }
        Ok(Self { deployments, name, copy, hooked, loads: Vec::new() })
    }

    async fn load(&mut self, databases: &Databases, lasting: Duration) -> Result<()> {
        if let Some(copy) = &self.copy {
            databases.copy(self.kind(), copy, &self.name)?;
            self.hooked.start_again().await?;
        }
        self.loads.push(self.hooked.load(USUAL, lasting).await?);
        if self.copy.is_some() {
            self.hooked.stop();
        }
        Ok(())
    }

    fn kind(&self) -> Kind {
        self.hooked.database().kind()
    }

    fn median(&self, figure: impl Fn(&Loaded) -> f64) -> f64 {
        median(&self.loads.iter().map(figure).collect::<Vec<_>>())
    }

    /// The median of its rate by another's of the same round.
    fn beside(&self, other: &Self) -> f64 {
        let pairs = self.loads.iter().zip(&other.loads);
        median(&pairs.map(|(one, other)| one.answered.rate / other.answered.rate).collect::<Vec<_>>())
    }
}

fn section(filled: &[Filled], sizes: &[u64]) -> Section {
    let (mut rows, mut curves, mut goals) = (Vec::new(), Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let of_kind: Vec<_> = filled.iter().filter(|one| one.kind() == kind).collect();
        let Some(least) = of_kind.first() else { continue };
        for one in &of_kind {
            rows.push(vec![
                Cell::from(format!("{kind}, {} deployments", one.deployments)),
                Cell::whole(one.median(|load| load.answered.rate)),
                Cell::figure(one.median(|load| load.answered.p50), 2),
                Cell::figure(one.median(|load| load.answered.p99), 2),
                Cell::figure(one.median(|load| load.resident_mib), 1),
                Cell::figure(one.beside(least), 2),
            ]);
        }
        let point = |one: &&Filled| (one.deployments as f64, one.median(|load| load.answered.rate));
        curves.push(Curve { name: format!("grapnel, {kind}"), points: of_kind.iter().map(point).collect() });
        if let (Some(most), Some(size)) = (of_kind.last(), sizes.last()) {
            let what = format!("triggers on {kind} with {size} deployments stored, times those with {LEAST}");
            goals.push(Goal::at_least(0.8, what, most.beside(least)));
        }
    }
    let columns =
        ["over", "requests/s", "half within, ms", "99 of 100 within, ms", "resident MiB", "times the first"];
    Section {
        name: "history",
        title: "Triggers with much stored".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![Table { caption: String::new(), columns: columns.map(str::to_owned).to_vec(), rows }],
        plots: vec![Plot {
            file: "history".to_owned(),
            title: "Durable triggers at 64 connections, by what is stored".to_owned(),
            x: "deployments stored".to_owned(),
            y: "requests/s".to_owned(),
            curves,
        }],
        goals,
    }
}
