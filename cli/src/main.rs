//! The one Grapnel binary: the services and the client commands.

mod args;
mod backup;
mod client;
mod db;
mod doctor;
mod env_file;
mod exit;
mod output;
mod serve;

use std::process::ExitCode;

use args::Command;
use exit::Failure;

fn main() -> ExitCode {
    grapnel_runtime::arm_crash_points();
    let matches = args::command().get_matches();
    let done = args::parse(&matches).and_then(|cli| run(cli, &matches));
    match done {
        Ok(code) => code,
        Err(failure) => failure.tell(),
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
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut args::command(), "grapnel", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Settings => {
            print!("{}", serve::env_example());
            Ok(ExitCode::SUCCESS)
        }
        Command::Key { command: args::KeyCommand::Generate } => client::generate_key(),
        command => client::run(&cli.client, cli.output, command),
    }
}
