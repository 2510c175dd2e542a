//! A build beside a script that does the same by hand.
//!
//! Ours begins with the request to the hook's URL and is seen by a watcher that begins once that is answered. The script
//! (`bench/by-hand`) begins when it is started, and whoever reads its output sees the line as soon as it is printed.

mod by_hand;
mod steps;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use by_hand::ByHand;
use grapnel_e2e::{Grapnel, Repository, Setup, told};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest, deployment_event::Event};
use grapnel_runtime::Clock;
use steps::{STEPS, Steps};

use super::Form;
use crate::{
    load::{median, ms_since},
    report::{Cell, Goal, Section, Table},
    watching::{self, now_ns},
};

/// The first line that a build command prints here.
const MARKER: &str = "the build command runs";

/// How long the machine is left alone before something else is measured: what a build leaves is removed meanwhile.
const PAUSE: Duration = Duration::from_millis(400);

const TEXT: &str = "\
From the request of a hook's URL until a watcher has the first line that the build command prints, and until it is told
READY; medians, in turn with a shell script that does the same by hand: `git fetch` into a bare mirror, `git worktree add`,
`docker run` of the same image with the same user, limits, isolation and mounts, `cp -a` of the output, the work tree
removed. Its first line is seen by who reads its output; it is READY when it has ended. The script keeps `node_modules` and
npm's own cache in directories that it mounts, and runs `npm install` each time; Grapnel leaves it out where the files that npm
goes by are what they were.";

/// What is built.
struct Kind {
    name: &'static str,
    project: &'static str,
    /// What follows a hook's URL.
    query: &'static str,
    /// Whether somebody has changed the site's content before each build.
    edited: bool,
    rounds: usize,
}

/// When the first line came and when it was over, in milliseconds, and the steps between where they are told.
struct Round {
    first: f64,
    ready: f64,
    steps: Steps,
}

/// Measures builds of several kinds.
///
/// # Errors
/// A build fails.
pub async fn measure(form: Form) -> Result<Section> {
    let kind = |name, project, query, edited, rounds| Kind { name, project, query, edited, rounds };
    let mut kinds = vec![
        kind("nothing", "nothing", "", false, form.pick(5, 15)),
        kind("2 s", "sleep", "", false, form.pick(1, 5)),
        kind("Vite, an editor's commit", "vite", "", true, form.pick(1, 5)),
    ];
    if form == Form::Full {
        kinds.push(kind("Vite, the same commit", "vite", "", false, 5));
        kinds.push(kind("Vite, without cache", "vite", "?buildCache=false", false, 5));
    }
    let mut bench = Bench::start().await?;
    let mut told = Vec::new();
    for kind in &kinds {
        told.push(bench.measure(kind).await?);
    }
    let rows = kinds.iter().zip(&told).map(|(kind, told)| row(kind, told)).collect();
    let mut goals = Vec::new();
    for (kind, (ours, theirs)) in kinds.iter().zip(&told) {
        let first = ratio(ours, theirs, |it| it.first);
        goals.push(Goal::at_most(1.2, format!("first output ({}), times the script's", kind.name), first));
    }
    if let Some((ours, theirs)) = told.first() {
        let ready = ratio(ours, theirs, |it| it.ready);
        goals.push(Goal::at_most(1.2, "a build that does nothing to READY, times the script's", ready));
    }
    let columns = ["build", "first output, ms", "script's", "ratio", "READY, ms", "script's", "ratio"];
    Ok(Section {
        name: "builds",
        title: "A build, from the request of its hook".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![
            Table { caption: "Medians".to_owned(), columns: columns.map(str::to_owned).to_vec(), rows },
            where_the_time_goes(&kinds, &told),
        ],
        plots: Vec::new(),
        goals,
    })
}

fn middle(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    median(&rounds.iter().map(figure).collect::<Vec<_>>())
}

/// Each round has a ratio of its own: a machine that is slower for a while is so for both.
fn ratio(ours: &[Round], theirs: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    let ratios: Vec<_> = ours.iter().zip(theirs).map(|(own, other)| figure(own) / figure(other)).collect();
    median(&ratios)
}

fn row(kind: &Kind, (ours, theirs): &(Vec<Round>, Vec<Round>)) -> Vec<Cell> {
    let mut row = vec![Cell::from(kind.name)];
    for figure in [|it: &Round| it.first, |it: &Round| it.ready] {
        let (own, other) = (middle(ours, figure), middle(theirs, figure));
        let times = ratio(ours, theirs, figure);
        row.extend([Cell::whole(own), Cell::whole(other), Cell::figure(times, 2)]);
    }
    row
}

/// Each step's end, in milliseconds after the request, by the events that Grapnel tells of a build.
fn where_the_time_goes(kinds: &[Kind], told: &[(Vec<Round>, Vec<Round>)]) -> Table {
    let rows = STEPS.iter().enumerate().map(|(at, step)| {
        let figures = told.iter().map(|(ours, _)| {
            let times: Vec<_> = ours.iter().filter_map(|round| round.steps.after(at)).collect();
            if times.is_empty() { Cell::Nothing } else { Cell::whole(median(&times)) }
        });
        std::iter::once(Cell::from(*step)).chain(figures).collect()
    });
    let names = kinds.iter().map(|kind| kind.name.to_owned());
    Table {
        caption: "Where the time goes: what has happened so many milliseconds after the request, medians"
            .to_owned(),
        rows: rows.collect(),
        columns: std::iter::once("what".to_owned()).chain(names).collect(),
    }
}

/// An installation and a script, over the same repositories.
struct Bench {
    grapnel: Grapnel,
    clock: Clock,
    /// By name: the repository, the hook's URL and the script's own things.
    projects: Vec<(&'static str, Repository, String, ByHand)>,
    edition: u32,
    /// The projects that have been built.
    warm: HashSet<&'static str>,
}

impl Bench {
    async fn start() -> Result<Self> {
        let grapnel = Grapnel::start(
            Setup::default()
                .embedded()
                .set("RATE_LIMIT_HOOK", "100000")
                .set("CA_BUNDLE", &told("GRAPNEL_TEST_CA_BUNDLE")),
        )
        .await;
        let page = [("index.html", "hello")];
        let repositories = grapnel.repositories();
        let nothing = Repository::with(&repositories.join("nothing"), &page);
        let sleep = Repository::with(&repositories.join("sleep"), &page);
        let vite = Repository::from_example(&repositories.join("vite"), "vite-site");
        let mut projects = Vec::new();
        for (name, repository, installs, build, output) in [
            ("nothing", nothing, false, format!("echo {MARKER}"), "."),
            ("sleep", sleep, false, format!("echo {MARKER}; sleep 2"), "."),
            ("vite", vite, true, format!("echo {MARKER}; npm run build"), "dist"),
        ] {
            let request = CreateProjectRequest {
                name: name.to_owned(),
                repository_url: repository.path(),
                settings: Some(BuildSettings {
                    // Where it is left to Grapnel, an install that would do nothing is left out.
                    install_command: (!installs).then(String::new),
                    build_command: Some(build.clone()),
                    output_directory: Some(output.to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let (_, url) = grapnel.project(request).await;
            let command = if installs { format!("npm install && {{ {build}; }}") } else { build };
            let by_hand = ByHand::new(&repository, command, output)?;
            projects.push((name, repository, url, by_hand));
        }
        Ok(Self { grapnel, clock: Clock::system(), projects, edition: 0, warm: HashSet::new() })
    }

    /// Builds in turn; a project's first one, which warms up, is not counted.
    async fn measure(&mut self, kind: &Kind) -> Result<(Vec<Round>, Vec<Round>)> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let is_new = self.warm.insert(kind.project);
        for round in usize::from(!is_new)..=kind.rounds {
            self.edit(kind)?;
            let own = self.build(kind).await?;
            tokio::time::sleep(PAUSE).await;
            self.edit(kind)?;
            let other = self.run_script(kind).await?;
            tokio::time::sleep(PAUSE).await;
            if round > 0 {
                ours.push(own);
                theirs.push(other);
            }
        }
        Ok((ours, theirs))
    }

    fn project(&self, kind: &Kind) -> Result<&(&'static str, Repository, String, ByHand)> {
        self.projects.iter().find(|(name, ..)| *name == kind.project).context("there is no such project")
    }

    /// Commits as an editor does: the content changes, the dependencies do not.
    fn edit(&mut self, kind: &Kind) -> Result<()> {
        if kind.edited {
            self.edition += 1;
            let (_, repository, ..) = self.project(kind)?;
            repository.write("content/edition.json", &format!("{{\"title\": \"Edition {}\"}}", self.edition));
            repository.commit("Edit");
        }
        Ok(())
    }

    async fn build(&self, kind: &Kind) -> Result<Round> {
        let (_, _, url, _) = self.project(kind)?;
        let mut client = self.grapnel.client();
        let mut steps = Steps::asked(now_ns(&self.clock));
        let begun = Instant::now();
        let id = self.grapnel.trigger(&format!("{url}{}", kind.query)).await;
        steps.answered(ms_since(begun));
        let mut events = watching::watch(&mut client, &id).await?;
        let mut first = None;
        while let Some(message) = events.message().await? {
            let event = message.event.context("an event is missing")?;
            let at = event.at.context("an event has no time")?;
            let event = event.event.context("an event is none")?;
            steps.take(&at, &event);
            if watching::printed(&event).any(|line| line.text == MARKER) {
                let seen = first.get_or_insert_with(|| ms_since(begun));
                steps.seen(*seen);
            }
            if is_ready(&event) {
                let ready = ms_since(begun);
                let first = first.context("the build printed nothing")?;
                return Ok(Round { first, ready, steps });
            }
        }
        let log = self.grapnel.log();
        anyhow::bail!("a build is not READY: {log}")
    }

    async fn run_script(&self, kind: &Kind) -> Result<Round> {
        let (_, _, _, by_hand) = self.project(kind)?;
        let cached = kind.query.is_empty();
        let (first, ready) = by_hand.deploy(cached).await?;
        ensure!(first <= ready, "the end comes last");
        Ok(Round { first, ready, steps: Steps::default() })
    }
}

fn is_ready(event: &Event) -> bool {
    use grapnel_proto::hooks::v1::DeploymentState;
    matches!(event, Event::StateChanged(change) if change.state() == DeploymentState::Ready)
}
