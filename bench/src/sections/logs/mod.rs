//! Logs: how fast and how soon watchers have them.

mod beside;
mod latency;
mod lines;

use std::time::{Duration, Instant};

use anyhow::Result;
use grapnel_domain::secret_token::ApiKey;
use grapnel_e2e::{Grapnel, Repository, Setup, grapnel::Client};
use grapnel_proto::hooks::v1::hook_service_client::HookServiceClient;
use grapnel_runtime::grpc::{self, Bearer};
use lines::{Seen, command, rate};
use tokio::task::{JoinSet, spawn_blocking};

use super::Form;
use crate::{
    load::{median, percentile},
    report::{Cell, Goal, Section, Table},
    usage::Usage,
    watching::{self, Events, printed},
};

/// How many lines a build prints that is held against Docker's own log.
const FEW: usize = 100_000;

/// How many streams go over one connection.
const STREAMS: usize = 100;

const TEXT: &str = "\
A build prints numbered lines of a hundred bytes as fast as it can, and watchers over gRPC hold each against the one before:
all arrive once, in order. Lines a second are those from the first to the last at a watcher. Beside it, the same command in
a container that is isolated and limited in the same way: its log kept by the engine and followed by `docker logs -f`, which
is what reads what was stored, and passed on by `docker run` alone, which stores nothing. Watchers and readers run on the
same cores as what they watch. For latency a build prints the time every 50 ms.";

/// Measures rates and delays.
///
/// # Errors
/// A line is missing, comes twice or out of order.
pub async fn measure(form: Form) -> Result<Section> {
    let bench = Bench::start().await?;
    let mut told = Vec::new();
    for (lines, rounds) in form.pick(&[(FEW, 1)][..], &[(FEW, 5), (10 * FEW, 2)]) {
        told.push(in_turn(&bench, *lines, *rounds).await?);
    }
    let crowd = bench.crowd(1_000, form.pick(2_000, 20_000)).await?;
    let ticks = form.pick(40, 400);
    let idle = latency::measure(&bench, ticks, false).await?;
    let crowded = latency::measure(&bench, ticks, true).await?;
    let goals = vec![
        Goal::at_least(
            1.0,
            "100,000 lines, times the rate of `docker logs -f`",
            told.first().map_or(0.0, Rates::ratio),
        ),
        Goal::at_most(300.0, "a watcher has a line, 99 % within, ms", percentile(&idle, 0.99)),
        Goal::at_most(300.0, "the same while another build prints at full speed", percentile(&crowded, 0.99)),
    ];
    Ok(Section {
        name: "logs",
        title: "Logs".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![
            rates(&told),
            watchers(&crowd),
            delays(&[("nothing", &idle), ("another build prints at full speed", &crowded)]),
        ],
        plots: Vec::new(),
        goals,
    })
}

/// Lines a second in each round, in turn.
struct Rates {
    lines: usize,
    ours: Vec<f64>,
    docker_logs: Vec<f64>,
    docker_run: Vec<f64>,
}

impl Rates {
    fn ratio(&self) -> f64 {
        ratio(&self.ours, &self.docker_logs)
    }
}

/// Each round has a ratio of its own: a machine that is slower for a while is so for both.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(&ours.iter().zip(theirs).map(|(own, other)| own / other).collect::<Vec<_>>())
}

async fn in_turn(bench: &Bench, lines: usize, rounds: usize) -> Result<Rates> {
    let mut rates = Rates { lines, ours: Vec::new(), docker_logs: Vec::new(), docker_run: Vec::new() };
    let rate_of = |(first, last): (Instant, Instant)| rate(lines, last - first);
    for _ in 0..rounds {
        rates.ours.push(rate_of(bench.print(lines).await?));
        rates.docker_logs.push(rate_of(spawn_blocking(move || beside::docker_logs(lines)).await??));
        rates.docker_run.push(rate_of(spawn_blocking(move || beside::docker_run(lines)).await??));
    }
    Ok(rates)
}

fn rates(told: &[Rates]) -> Table {
    let rows = told.iter().map(|it| {
        vec![
            Cell::from(format!("{} lines, {} MB", it.lines, it.lines / 10_000)),
            Cell::whole(median(&it.ours)),
            Cell::whole(median(&it.docker_logs)),
            Cell::figure(it.ratio(), 2),
            Cell::whole(median(&it.docker_run)),
            Cell::figure(ratio(&it.ours, &it.docker_run), 2),
        ]
    });
    let columns = ["a build prints", "grapnel, lines/s", "docker logs -f", "ratio", "docker run", "ratio"];
    Table {
        caption: "One watcher".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// What came of many who watch one build.
struct Crowd {
    watchers: usize,
    lines: usize,
    /// From the first line that anybody saw to the last that the last one did.
    took: Duration,
    cpu: Duration,
    resident_mib: f64,
}

fn watchers(crowd: &Crowd) -> Table {
    let Crowd { watchers, lines, took, cpu, resident_mib } = crowd;
    let told = rate(watchers * lines, *took);
    let row = vec![
        Cell::from(format!("{watchers} watchers, {lines} lines")),
        Cell::whole(rate(*lines, *took)),
        Cell::whole(told),
        Cell::figure(took.as_secs_f64(), 1),
        Cell::figure(cpu.as_secs_f64(), 1),
        Cell::whole(*resident_mib),
    ];
    let columns =
        ["who", "lines/s at each", "lines/s at all", "seconds", "grapnel's CPU, seconds", "its memory, MiB"];
    Table { caption: "Many".to_owned(), columns: columns.map(str::to_owned).to_vec(), rows: vec![row] }
}

fn delays(told: &[(&str, &Vec<f64>)]) -> Table {
    let rows = told.iter().map(|(what, delays)| {
        let figures = [0.5, 0.99, 1.0].map(|share| Cell::figure(percentile(delays, share), 1));
        std::iter::once(Cell::from(*what)).chain(figures).collect()
    });
    let columns = ["beside it", "median, ms", "99 % within, ms", "worst, ms"];
    Table {
        caption: "From a line's being printed until a watcher has it".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// An installation whose builds print.
struct Bench {
    grapnel: Grapnel,
    site: Repository,
}

impl Bench {
    async fn start() -> Result<Self> {
        let setup = Setup::default()
            .embedded()
            .set("BUILD_LOG", "1GiB")
            .set("EXECUTOR_SLOTS", "2")
            .set("RATE_LIMIT_HOOK", "100000");
        let grapnel = Grapnel::start(setup).await;
        let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hello")]);
        let bench = Self { grapnel, site };
        // The first build warms up what others find.
        bench.drain(bench.begin("warm", "echo warm").await?).await?;
        Ok(bench)
    }

    /// Deploys a project of its own, and begins to watch.
    async fn begin(&self, name: &str, build: &str) -> Result<Events> {
        let (_, events) = self.deploy(name, build).await?;
        Ok(events)
    }

    async fn deploy(&self, name: &str, build: &str) -> Result<(String, Events)> {
        let name = format!("{name}-{}", rand::random::<u32>());
        let (_, url) = self.grapnel.project(watching::project(&name, &self.site, build)).await;
        let id = self.grapnel.trigger(&url).await;
        let events = watching::watch(&mut self.grapnel.client(), &id).await?;
        Ok((id, events))
    }

    /// Passes over the rest of a deployment, which is to be READY.
    async fn drain(&self, mut events: Events) -> Result<()> {
        watching::until_ready(&mut events).await
    }

    async fn print(&self, lines: usize) -> Result<(Instant, Instant)> {
        hear(self.begin("lines", &command(lines, 0)).await?, lines).await
    }

    /// Has a build watched by many, over a few connections.
    async fn crowd(&self, watchers: usize, lines: usize) -> Result<Crowd> {
        // Nobody is to come too late.
        let (id, events) = self.deploy("crowd", &command(lines, 3)).await?;
        let mut hearing = JoinSet::new();
        hearing.spawn(hear(events, lines));
        let mut client = self.connect()?;
        for watcher in 1..watchers {
            if watcher % STREAMS == 0 {
                client = self.connect()?;
            }
            hearing.spawn(hear(watching::watch(&mut client, &id).await?, lines));
        }
        let before = Usage::of(self.grapnel.pid())?;
        let (mut first, mut last) = (None::<Instant>, None::<Instant>);
        while let Some(heard) = hearing.join_next().await {
            let (begun, over) = heard??;
            first = Some(first.map_or(begun, |first| first.min(begun)));
            last = Some(last.map_or(over, |last| last.max(over)));
        }
        let after = Usage::of(self.grapnel.pid())?;
        let took = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
        Ok(Crowd { watchers, lines, took, cpu: after.cpu - before.cpu, resident_mib: after.resident_mib })
    }

    fn connect(&self) -> Result<Client> {
        let channel = grpc::channel(&format!("http://{}", self.grapnel.grpc()), None)?;
        Ok(HookServiceClient::with_interceptor(channel, Bearer::new(&ApiKey::parse(&self.grapnel.key())?)))
    }
}

/// Watches a build that prints numbered lines to its end, and returns when the first and the last one came.
async fn hear(mut events: Events, lines: usize) -> Result<(Instant, Instant)> {
    let mut seen = Seen::default();
    while let Some(event) = watching::next(&mut events).await? {
        for line in printed(&event) {
            seen.take(&line.text)?;
        }
    }
    seen.all(lines)
}
