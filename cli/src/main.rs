//! The one Grapnel binary: the services and the client commands.

mod advice;
mod args;
mod backup;
mod client;
mod db;
mod doctor;
mod env_file;
mod exit;
mod manual;
mod out;
mod output;
mod serve;
mod terminal;

use std::process::ExitCode;

use args::{Command, Format};
use exit::Failure;

/// A burst of triggers is many small allocations on several threads. Without huge pages, of which an installation at rest would
/// keep half of each; and for Rust alone: what stands in for the clock, as our tests have it, asks for memory before there is any.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    grapnel_runtime::arm_crash_points();
    let matches = args::command().get_matches();
    match args::parse(&matches) {
        Ok(cli) => {
            let format = cli.output;
            run(cli, &matches).unwrap_or_else(|failure| failure.tell(format))
        }
        Err(failure) => failure.tell(Format::Table),
    }
}

fn run(cli: args::Cli, matches: &clap::ArgMatches) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Up | Command::Hooks | Command::Gateway | Command::Executor { command: None } => {
            serve::run(&cli, matches)
        }
        Command::Doctor => doctor::run(&cli),
        Command::Backup { .. } | Command::Restore { .. } => backup::run(&cli, matches),
        Command::Db { command } => db::run(&cli, command, matches),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::pages(out.as_deref()),
        Command::Settings => {
            out::text(&serve::env_example())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Key { command: args::KeyCommand::Generate } => client::generate_key(),
        command => client::run(&cli.client, cli.output, command, matches),
    }
}
