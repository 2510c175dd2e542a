//! From asking until the container is gone.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::CancelDeploymentRequest;
use grapnel_runtime::Clock;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::Form;
use crate::{
    load::percentile,
    report::{Cell, Goal, Section, Table},
    watching::{self, Events, now_ns},
};

/// How long a container may take to go before that counts as a failure.
const GONE: Duration = Duration::from_secs(60);

/// A command that tells the id of its container, by where the engine keeps the files that it mounts into it, and goes on
/// for as long as it may, whatever it is asked.
const BUILD: &str = "\
trap '' TERM INT; \
grep -o 'containers/[0-9a-f]*' /proc/self/mountinfo | head -n 1; \
while :; do sleep 1; done";

const TEXT: &str = "\
A build that does not end by itself and does not heed signals is asked to end as soon as a watcher has its first line: by
the next request of its hook at the same commit, which takes its place, or by `CancelDeployment`. It is over when the engine
tells that the container was removed.";

/// Who asks.
#[derive(Clone, Copy)]
enum By {
    Hook,
    Caller,
}

/// Measures both ways to end a build.
///
/// # Errors
/// A build does not begin, or its container does not go.
pub async fn measure(form: Form) -> Result<Section> {
    let times = form.pick(5, 50);
    let bench = Bench::start().await?;
    let superseded = bench.repeat(By::Hook, times).await?;
    let canceled = bench.repeat(By::Caller, times).await?;
    let worst = |figures: &[f64]| percentile(figures, 1.0);
    let rows = [("the next request of its hook", &superseded), ("`CancelDeployment`", &canceled)];
    let rows = rows.map(|(name, figures)| {
        vec![
            Cell::from(name),
            Cell::whole(figures.len() as f64),
            Cell::whole(percentile(figures, 0.5)),
            Cell::whole(percentile(figures, 0.99)),
            Cell::whole(worst(figures)),
        ]
    });
    let columns = ["asked by", "times", "median, ms", "99 % within, ms", "worst, ms"];
    Ok(Section {
        name: "cancel",
        title: "The end of a build that was asked for".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![Table {
            caption: String::new(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: rows.to_vec(),
        }],
        plots: Vec::new(),
        goals: vec![
            Goal::at_most(2_000.0, "superseded until gone, 99 % within, ms", percentile(&superseded, 0.99)),
            Goal::at_most(2_000.0, "canceled until gone, 99 % within, ms", percentile(&canceled, 0.99)),
        ],
    })
}

struct Bench {
    grapnel: Grapnel,
    url: String,
    clock: Clock,
}

impl Bench {
    async fn start() -> Result<Self> {
        let setup = Setup::default().embedded().set("RATE_LIMIT_HOOK", "100000");
        let grapnel = Grapnel::start(setup).await;
        let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hello")]);
        let (_, url) = grapnel.project(watching::project("site", &site, BUILD)).await;
        Ok(Self { grapnel, url, clock: Clock::system() })
    }

    /// Ends builds one after the other, and returns the milliseconds that each took to go. One is left, and ended too.
    async fn repeat(&self, by: By, times: usize) -> Result<Vec<f64>> {
        let mut removals = Removals::listen(self.grapnel.executor().0)?;
        let mut client = self.grapnel.client();
        let mut took = Vec::with_capacity(times);
        let mut running = self.begin().await?;
        for _ in 0..times {
            let asked = now_ns(&self.clock);
            let next = match by {
                By::Hook => Some(self.grapnel.trigger(&self.url).await),
                By::Caller => {
                    let request = CancelDeploymentRequest { deployment_id: running.id.clone() };
                    client.cancel_deployment(request).await?;
                    None
                }
            };
            let removed = removals.wait_for(&running.container).await?;
            took.push((removed - asked) as f64 / 1e6);
            // Its end is told too before the next one counts.
            while watching::next(&mut running.events).await?.is_some() {}
            running = match next {
                Some(id) => self.follow(id).await?,
                None => self.begin().await?,
            };
        }
        client.cancel_deployment(CancelDeploymentRequest { deployment_id: running.id }).await?;
        removals.wait_for(&running.container).await?;
        Ok(took)
    }

    async fn begin(&self) -> Result<Running> {
        self.follow(self.grapnel.trigger(&self.url).await).await
    }

    /// Waits until the build says in which container it is.
    async fn follow(&self, id: String) -> Result<Running> {
        let mut events = watching::watch(&mut self.grapnel.client(), &id).await?;
        let told = watching::first_line(&mut events).await?;
        let container = told.trim_start_matches("containers/").to_owned();
        Ok(Running { id, container, events })
    }
}

/// A build that runs.
struct Running {
    id: String,
    container: String,
    events: Events,
}

/// What the engine tells of containers that are removed.
struct Removals {
    lines: Lines<BufReader<ChildStdout>>,
    /// Ended when this is dropped.
    _docker: Child,
}

impl Removals {
    fn listen(executor: &str) -> Result<Self> {
        let own = format!("label=grapnel.executor={executor}");
        let mut docker = Command::new("docker")
            .args(["events", "--filter", &own, "--filter", "event=destroy"])
            .args(["--format", "{{.TimeNano}} {{.ID}}"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(docker.stdout.take().context("it is piped")?).lines();
        Ok(Self { lines, _docker: docker })
    }

    /// Waits until a container is removed, and returns when that was by the engine's clock, which is the machine's.
    async fn wait_for(&mut self, container: &str) -> Result<i64> {
        let heard = async {
            while let Some(line) = self.lines.next_line().await? {
                if let Some(at) = removal_of(container, &line) {
                    return Ok(at);
                }
            }
            anyhow::bail!("the engine's events have ended")
        };
        timeout(GONE, heard).await.context("a container does not go")?
    }
}

/// Reads a line that the engine tells: when which container was removed.
fn removal_of(container: &str, line: &str) -> Option<i64> {
    let (at, id) = line.split_once(' ')?;
    if id == container { at.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_told_of_one_container() {
        assert_eq!(removal_of("ab12", "1764364137123456789 ab12"), Some(1_764_364_137_123_456_789));
        assert_eq!(removal_of("ab12", "1764364137123456789 ab123"), None);
        assert_eq!(removal_of("ab12", "ab12"), None);
    }
}
