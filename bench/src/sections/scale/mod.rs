//! Builds a minute by the number of executors.

mod installation;

use std::time::Duration;

use anyhow::{Context as _, Result};
use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{Deployment, GetDeploymentRequest, TriggerDeploymentRequest},
};
use installation::Installation;
use prost_types::Timestamp;
use tokio::time::timeout;

use super::Form;
use crate::{
    load::median,
    report::{Cell, Curve, Goal, Plot, Section, Table},
    watching,
};

/// How many builds an executor runs at once.
const SLOTS: usize = 2;

/// Of how many projects they are.
const PROJECTS: usize = 4;

/// How long builds may take altogether.
const PATIENCE: Duration = Duration::from_secs(600);

const TEXT: &str = "\
Builds that sleep, of four projects, all asked for at once, of one hooks service over one PostgreSQL, on 1, 2 and 4 executor
processes with two slots each. All share one container engine and the same cores: to start and to remove a container costs
some tenths of a second of CPU, so builds sleep for long enough that this is not what limits them.";

/// What came of so many executors.
struct Told {
    executors: usize,
    builds: usize,
    a_minute: f64,
    /// How long a slot is taken up by a build beside its sleeping, and by what lies between two builds, in milliseconds.
    beside_sleeping: f64,
    /// From QUEUED until BUILDING, of as many builds as there are slots, those that waited least; in milliseconds.
    first_wait: f64,
    /// The same, of all.
    wait: f64,
}

/// Measures several numbers of executors.
///
/// # Errors
/// A build fails.
pub async fn measure(form: Form) -> Result<Section> {
    let counts: &[usize] = form.pick(&[1, 2], &[1, 2, 4]);
    let sleep = form.pick(2, 3);
    // Builds of each slot.
    let rounds = form.pick(2, 15);
    let mut told = Vec::new();
    for executors in counts {
        told.push(run(*executors, sleep, rounds).await?);
    }
    let one = told.first().map_or(1.0, |it| it.a_minute);
    let ideal = |executors: usize| executors as f64 * SLOTS as f64 * 60.0 / sleep as f64;
    let rows = told.iter().map(|it| {
        vec![
            Cell::from(it.executors.to_string()),
            Cell::whole(it.builds as f64),
            Cell::figure(it.a_minute, 1),
            Cell::figure(it.a_minute / one, 2),
            Cell::whole(it.first_wait),
            Cell::figure(it.wait / 1e3, 1),
            Cell::whole(it.beside_sleeping),
        ]
    });
    let columns = [
        "executors",
        "builds",
        "builds a minute",
        "times one executor's",
        "QUEUED to BUILDING where a slot was free, ms",
        "of all, median, s",
        "a slot's time beside sleeping, a build, ms",
    ];
    let points = |figure: &dyn Fn(&Told) -> f64| {
        told.iter().map(|it| (it.executors as f64, figure(it))).collect::<Vec<_>>()
    };
    // A few short builds say little of it.
    let goals = told.iter().skip(1).filter(|_| form == Form::Full).map(|it| {
        let wanted = 0.9 * it.executors as f64;
        Goal::at_least(
            wanted,
            format!("builds a minute on {} executors, times one's", it.executors),
            it.a_minute / one,
        )
    });
    Ok(Section {
        name: "scale",
        title: format!("More executors, builds that sleep {sleep} s"),
        text: TEXT.to_owned(),
        goals: goals.collect(),
        plots: vec![Plot {
            file: "scale".to_owned(),
            title: format!("Builds that sleep {sleep} s, two slots an executor"),
            x: "executors".to_owned(),
            y: "builds a minute".to_owned(),
            curves: vec![
                Curve { name: "grapnel".to_owned(), points: points(&|it| it.a_minute) },
                Curve {
                    name: "one executor's, times their number".to_owned(),
                    points: points(&|it| one * it.executors as f64),
                },
                Curve { name: "nothing but sleeping".to_owned(), points: points(&|it| ideal(it.executors)) },
            ],
        }],
        tables: vec![Table {
            caption: String::new(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }],
    })
}

/// Fills all slots again and again, and measures how fast that goes.
async fn run(executors: usize, sleep: u64, rounds: usize) -> Result<Told> {
    let installation = Installation::start(executors, SLOTS).await?;
    installation.create_projects(PROJECTS, &format!("sleep {sleep}")).await?;
    // The first builds warm up what the others find, on each executor.
    let warm = trigger(&installation, executors * SLOTS).await?;
    wait_for(&installation, &warm).await?;
    let ids = trigger(&installation, executors * SLOTS * rounds).await?;
    let builds = wait_for(&installation, &ids).await?;
    told(executors, sleep, &builds)
}

/// Asks for so many builds, of all projects in turn. None takes the place of another: no hook asks for them.
async fn trigger(installation: &Installation, count: usize) -> Result<Vec<String>> {
    let mut client = installation.client()?;
    let mut ids = Vec::new();
    for at in 0..count {
        let request = TriggerDeploymentRequest { project: project_name(at % PROJECTS), ..Default::default() };
        let triggered = client.trigger_deployment(request).await?.into_inner();
        ids.push(triggered.deployment.context("a deployment is answered")?.id);
    }
    Ok(ids)
}

fn project_name(number: usize) -> String {
    format!("site-{number}")
}

/// Waits until all are READY, and reads them.
async fn wait_for(installation: &Installation, ids: &[String]) -> Result<Vec<Deployment>> {
    let mut builds = Vec::new();
    let mut client = installation.client()?;
    for id in ids {
        let mut events = watching::watch(&mut client, id).await?;
        timeout(PATIENCE, watching::until_ready(&mut events)).await.context("a build does not end")??;
        let request = GetDeploymentRequest { deployment_id: id.clone() };
        builds.push(client.get_deployment(request).await?.into_inner().deployment.context("it is answered")?);
    }
    Ok(builds)
}

fn told(executors: usize, sleep: u64, builds: &[Deployment]) -> Result<Told> {
    let slots = executors * SLOTS;
    let times = |time: fn(&Deployment) -> Option<Timestamp>| -> Result<Vec<f64>> {
        builds.iter().map(|it| ms_of(time(it)).context("a build has no such time")).collect()
    };
    let (queued, building, finished) =
        (times(|it| it.queued_at)?, times(|it| it.building_at)?, times(|it| it.finished_at)?);
    let begun = building.iter().copied().fold(f64::INFINITY, f64::min);
    let over = finished.iter().copied().fold(0.0, f64::max);
    let waits: Vec<_> = queued.iter().zip(&building).map(|(queued, building)| building - queued).collect();
    let mut first = waits.clone();
    first.sort_by(f64::total_cmp);
    first.truncate(slots);
    Ok(Told {
        executors,
        builds: builds.len(),
        a_minute: builds.len() as f64 / (over - begun) * 60_000.0,
        beside_sleeping: (over - begun) * slots as f64 / builds.len() as f64 - sleep as f64 * 1e3,
        first_wait: median(&first),
        wait: median(&waits),
    })
}

fn ms_of(time: Option<Timestamp>) -> Option<f64> {
    datetime(time.as_ref()).map(|at| at.timestamp_micros() as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_a_minute_are_those_between_the_first_start_and_the_last_end() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let build = |queued, building, finished| Deployment {
            queued_at: at(queued),
            building_at: at(building),
            finished_at: at(finished),
            ..Default::default()
        };
        // Two slots, three builds each of five seconds, of which four are slept.
        let builds: Vec<_> = (0..6).map(|n| build(100, 100 + n / 2 * 5, 105 + n / 2 * 5)).collect();
        let told = told(1, 4, &builds).unwrap();
        assert_eq!((told.builds, told.a_minute, told.beside_sleeping), (6, 24.0, 1_000.0));
        assert_eq!((told.first_wait, told.wait), (0.0, 5_000.0));
        assert!(super::told(1, 4, &[Deployment::default()]).is_err(), "it has not ended");
    }
}
