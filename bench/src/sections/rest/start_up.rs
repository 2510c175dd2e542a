//! How soon `grapnel up` answers after its start.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use grapnel_e2e::{Grapnel, Repository, Setup};

use super::super::triggers::hooked::hooks;
use crate::{
    load::{median, ms_since, percentile},
    report::{Cell, Goal, Table},
};

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Milliseconds from the start of each process.
#[derive(Debug, Default)]
struct Starts {
    healthy: Vec<f64>,
    triggered: Vec<f64>,
}

/// Starts in empty directories, and in those that were there.
#[derive(Debug, Default)]
pub struct Started {
    empty: Starts,
    existing: Starts,
}

/// Starts it so many times, in an empty directory and again in that.
///
/// # Errors
/// It does not answer.
pub async fn measure(times: usize) -> Result<Started> {
    let mut started = Started::default();
    for _ in 0..times {
        let mut grapnel = Grapnel::prepare(Setup::default().embedded());
        let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hello")]);
        let begun = Instant::now();
        grapnel.spawn();
        healthy(&grapnel, begun).await?;
        started.empty.healthy.push(ms_since(begun));
        let hook = hooks(&grapnel, "site", &site, 1).await?.concat();
        trigger(&grapnel, &hook).await?;
        started.empty.triggered.push(ms_since(begun));
        grapnel.stop();
        let begun = Instant::now();
        grapnel.spawn();
        healthy(&grapnel, begun).await?;
        started.existing.healthy.push(ms_since(begun));
        trigger(&grapnel, &hook).await?;
        started.existing.triggered.push(ms_since(begun));
    }
    Ok(started)
}

/// Waits until it says that it is there. It is asked by hand: a client in between takes longer than it.
async fn healthy(grapnel: &Grapnel, begun: Instant) -> Result<()> {
    let url = grapnel.url("");
    let server = url.trim_start_matches("http://");
    while !answers(server) {
        ensure!(begun.elapsed() < PATIENCE, "it does not start: {}", grapnel.log());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn answers(server: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

async fn trigger(grapnel: &Grapnel, path: &str) -> Result<()> {
    let answer = grapnel_e2e::http_client().post(grapnel.url(path)).send().await?;
    ensure!(answer.status() == 200, "the first trigger is answered {}", answer.status());
    Ok(())
}

impl Started {
    /// Tells the medians, and the slowest.
    pub fn table(&self) -> Table {
        let mut rows = Vec::new();
        for (directory, starts) in
            [("an empty directory", &self.empty), ("one that was there", &self.existing)]
        {
            for (what, times) in [("answers", &starts.healthy), ("has accepted a trigger", &starts.triggered)]
            {
                rows.push(vec![
                    Cell::from(format!("{what}, {directory}")),
                    Cell::whole(median(times)),
                    Cell::whole(percentile(times, 1.0)),
                ]);
            }
        }
        Table {
            caption: format!("Start-up of `grapnel up`, {} times", self.empty.healthy.len()),
            columns: ["what", "median, ms", "slowest, ms"].map(str::to_owned).to_vec(),
            rows,
        }
    }

    /// Holds them against what is to be reached.
    pub fn goals(&self) -> [Goal; 2] {
        [("an empty directory", &self.empty), ("one that was there", &self.existing)].map(
            |(directory, starts)| {
                let what = format!("start-up in {directory} to the first answer, ms");
                Goal::at_most(500.0, what, median(&starts.healthy))
            },
        )
    }
}
