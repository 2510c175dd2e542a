//! The command line.

mod addresses;
mod caches;
mod deployments;
mod endpoint;
mod executor;
mod hooks;
mod keys;
mod projects;
mod sources;
mod statuses;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::{Arg, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use grapnel_domain::trigger::Decision;

pub use addresses::AddressCommand;
pub use caches::CacheCommand;
pub use deployments::{BuildArgs, DeploymentCommand, ListArgs};
pub use endpoint::EndpointCommand;
pub use executor::ExecutorCommand;
pub use hooks::HookCommand;
pub use keys::KeyCommand;
pub use projects::{NetworkArg, ProjectCommand, SettingsArgs};
pub use sources::{CredentialCommand, EnvCommand, Input, SecretsCommand};
pub use statuses::{GitHostArg, StatusCommand};

use crate::{db::DbCommand, exit::Failure, serve};

/// Where the help of a command puts the options that all of them have.
const EVERYWHERE: &str = "Options of every command";

/// Self-hosted deploy hooks.
#[derive(Parser, Debug)]
#[command(name = "grapnel", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub client: ClientArgs,
    /// How to print: `table` for people, `json` for programs.
    #[arg(long, global = true, value_enum, default_value = "table", help_heading = EVERYWHERE)]
    pub output: Format,
    /// The configuration file of the services.
    #[arg(long, global = true, value_name = "FILE", env = "GRAPNEL_CONFIG", help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// How the client commands reach the hooks service.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// The hooks service's gRPC address. For https, GRAPNEL_TLS_CA names the authority (PEM) where the system's own
    /// do not do.
    #[arg(
        long,
        global = true,
        env = "GRAPNEL_URL",
        default_value = "http://127.0.0.1:7301",
        help_heading = EVERYWHERE
    )]
    pub url: String,
    /// A file with the API key. Without it, and without GRAPNEL_KEY, the admin key of a local `grapnel up` is used.
    #[arg(long, global = true, value_name = "FILE", env = "GRAPNEL_KEY_FILE", help_heading = EVERYWHERE)]
    pub key_file: Option<PathBuf>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: one document, or one a line for a stream.
    Json,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run hooks, gateway and executor in one process, over SQLite.
    Up,
    /// Run the hooks service.
    Hooks,
    /// Run the gateway.
    Gateway,
    /// Run an executor; or list them, or have one finish and end.
    Executor {
        #[command(subcommand)]
        command: Option<ExecutorCommand>,
    },
    /// Copy the embedded database into one file, while Grapnel runs.
    Backup {
        /// Where the copy goes; only its owner can read it.
        file: PathBuf,
        /// Take the place of a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Put a backup in the place of the embedded database, while Grapnel does not run.
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Check what Grapnel needs, and say what to do about what is missing.
    Doctor,
    /// The database's schema: bring it up to date, or show it. For operators; no service is asked.
    Db {
        #[command(subcommand)]
        command: DbCommand,
    },
    /// Projects: a git repository plus the way to build it.
    Project {
        #[command(subcommand)]
        command: ProjectCommand,
    },
    /// Hooks: secret URLs that deploy one branch of a project.
    Hook {
        #[command(subcommand)]
        command: HookCommand,
    },
    /// Do what a request to a hook's URL does.
    Trigger {
        /// The hook's id, its URL, or `-` to read the URL from standard input.
        hook: String,
        /// What the build is called.
        #[arg(long)]
        title: Option<String>,
        #[command(flatten)]
        build: BuildArgs,
    },
    /// The ledger of a project's triggers: every request to one of its hook URLs, with what it came to and why.
    Triggers {
        /// The project's name or id.
        project: String,
        /// Only those of this hook: its id or its name.
        #[arg(long, value_name = "HOOK")]
        hook: Option<String>,
        /// Only those that came to this, such as MERGED or RATE_LIMITED.
        #[arg(long, value_parser = parse_decision)]
        decision: Option<Decision>,
        /// Only those of the last time, such as 2h.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// How many.
        #[arg(long, default_value = "20", value_parser = at_least_one())]
        limit: u32,
    },
    /// Deploy a branch of a project without a hook.
    Deploy {
        /// The project's name or id.
        project: String,
        /// The branch; the production branch where none is given.
        #[arg(long)]
        branch: Option<String>,
        #[command(flatten)]
        build: BuildArgs,
    },
    /// Deployments: what came of triggers.
    Deployment {
        #[command(subcommand)]
        command: DeploymentCommand,
    },
    /// The addresses of a project's branches, and which deployment each serves.
    Address {
        #[command(subcommand)]
        command: AddressCommand,
    },
    /// Endpoints: addresses that hear of deployments, in the form of Standard Webhooks.
    Endpoint {
        #[command(subcommand)]
        command: EndpointCommand,
    },
    /// Build caches: what the next build of a branch finds of the last one.
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Environment variables of a project's builds.
    Env {
        #[command(subcommand)]
        command: EnvCommand,
    },
    /// Credentials for private repositories, and the SSH hosts that are trusted.
    Credential {
        #[command(subcommand)]
        command: CredentialCommand,
    },
    /// The keys under which secrets are sealed.
    Secrets {
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// How many hooks a project may have, and has.
    Limits {
        /// The project's name or id.
        project: String,
    },
    /// Commit statuses: what the git host is told of a project's deployments.
    Status {
        #[command(subcommand)]
        command: StatusCommand,
    },
    /// API keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Say whose key is used, of which team, and what it may do.
    Whoami,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write a man page of every command.
    Man {
        /// The directory that they go to; it is made where it is not there. Without it the page of `grapnel` is printed.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Print every setting of the services with its default.
    Settings,
}

/// Reads how many of a list are wanted.
fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn parse_decision(text: &str) -> Result<Decision, String> {
    text.to_ascii_uppercase().parse().map_err(|_: String| {
        let all: Vec<_> = Decision::ALL.iter().map(|decision| decision.as_str()).collect();
        format!("must be one of {}", all.join(", "))
    })
}

/// The names of the commands that run services and take their settings as flags.
const SERVICES: [&str; 8] = ["up", "hooks", "gateway", "executor", "doctor", "backup", "restore", "db"];

/// Builds the command line: what stands above, and for services a flag for every setting.
pub fn command() -> clap::Command {
    SERVICES.iter().fold(Cli::command(), |command, name| {
        command.mut_subcommand(name, |service| {
            serve::settings().into_iter().fold(service, |service, setting| {
                let flag = setting.flag();
                // `db` has commands of its own, and takes the flags after them too.
                let arg = Arg::new(flag.clone()).long(flag).value_name("VALUE").help(setting.help);
                service.arg(arg.global(*name == "db"))
            })
        })
    })
}

/// Reads the command line.
pub fn parse(matches: &ArgMatches) -> Result<Cli, Failure> {
    Cli::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))
}

/// Returns what was given for an argument of the command, such as `project`.
pub fn given<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    let mut command = matches;
    while let Some((_, below)) = command.subcommand() {
        command = below;
    }
    command.try_get_one::<String>(name).ok().flatten().map(String::as_str)
}

/// Returns the settings that stand among the flags.
pub fn flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    let Some((_, service)) = matches.subcommand() else {
        return BTreeMap::new();
    };
    serve::settings()
        .into_iter()
        .filter_map(|setting| {
            let flag = setting.flag();
            let value = service.try_get_one::<String>(&flag).ok()??;
            Some((flag, value.clone()))
        })
        .collect()
}
