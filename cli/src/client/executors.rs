//! `grapnel executor list` and `grapnel executor drain`.

use std::{process::ExitCode, time::Duration};

use grapnel_proto::hooks::v1::{
    DrainExecutorRequest, Executor, ExecutorState, ListExecutorsRequest, ListExecutorsResponse,
};

use super::Client;
use crate::{
    args::ExecutorCommand,
    exit::Failure,
    output::{Printer, printable},
};

/// How often to look whether an executor is gone.
const LOOK: Duration = Duration::from_secs(1);

impl Client {
    pub(super) async fn executor(&mut self, command: ExecutorCommand) -> Result<ExitCode, Failure> {
        match command {
            ExecutorCommand::List => {
                let answer = self.list_executors().await?;
                self.printer.message("grapnel.hooks.v1.ListExecutorsResponse", &answer, |printer| {
                    executors(printer, &answer.executors)
                })?;
            }
            ExecutorCommand::Drain { name, wait } => {
                let request = DrainExecutorRequest { name: name.clone() };
                let answer = self.answer(self.fleet.clone().drain_executor(request)).await?;
                if wait {
                    self.until_gone(&name).await?;
                }
                self.printer.message("grapnel.hooks.v1.DrainExecutorResponse", &answer, |_| {
                    let executor = answer.executor.clone().unwrap_or_default();
                    drained(&executor, wait)
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn list_executors(&self) -> Result<ListExecutorsResponse, Failure> {
        self.answer(self.fleet.clone().list_executors(ListExecutorsRequest {})).await
    }

    /// Waits until nothing answers to a name any more.
    async fn until_gone(&self, name: &str) -> Result<(), Failure> {
        while self.list_executors().await?.executors.iter().any(|executor| executor.name == name) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

fn executors(printer: &Printer, executors: &[Executor]) -> String {
    let rows = executors.iter().map(|it| {
        vec![
            if it.name.is_empty() { "-".to_owned() } else { it.name.clone() },
            it.address.clone(),
            state(it.state()).to_owned(),
            format!("{} of {}", it.running, it.slots),
            it.version.clone(),
        ]
    });
    printer.table(
        &["NAME", "ADDRESS", "STATE", "RUNNING", "VERSION"],
        rows,
        "no executor is configured; GRAPNEL_EXECUTORS of the hooks service names them",
    )
}

fn state(state: ExecutorState) -> &'static str {
    match state {
        ExecutorState::Ready => "ready",
        ExecutorState::Draining => "draining",
        ExecutorState::Away => "away",
        ExecutorState::Unspecified => "unknown",
    }
}

fn drained(executor: &Executor, gone: bool) -> String {
    let name = printable(&executor.name);
    match (gone, executor.running) {
        (true, _) => format!("{name} has finished and is gone"),
        (false, 0) => format!("{name} takes nothing new; nothing runs on it, so it ends now"),
        (false, 1) => format!("{name} takes nothing new; it ends when the build that runs on it has ended"),
        (false, running) => {
            format!("{name} takes nothing new; it ends when the {running} builds that run on it have ended")
        }
    }
}
