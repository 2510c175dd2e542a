//! The command line.

mod caches;
mod endpoint;
mod executor;
mod keys;
mod sources;
mod statuses;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use clap::{Arg, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use grapnel_domain::trigger::Decision;

pub use caches::CacheCommand;
pub use endpoint::EndpointCommand;
pub use executor::ExecutorCommand;
pub use keys::KeyCommand;
pub use sources::{CredentialCommand, EnvCommand, Input, SecretsCommand};
pub use statuses::{GitHostArg, StatusCommand};

use crate::{db::DbCommand, exit::Failure, serve};

/// Self-hosted deploy hooks.
#[derive(Parser, Debug)]
#[command(name = "grapnel", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub client: ClientArgs,
    /// How to print: `table` for people, `json` for programs.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub output: Format,
    /// The configuration file of the services.
    #[arg(long, global = true, value_name = "FILE", env = "GRAPNEL_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// How the client commands reach the hooks service.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// The hooks service's gRPC address. For https, GRAPNEL_TLS_CA names the authority (PEM) where the system's own
    /// do not do.
    #[arg(long, global = true, env = "GRAPNEL_URL", default_value = "http://127.0.0.1:7301")]
    pub url: String,
    /// A file with the API key. Without it, and without GRAPNEL_KEY, the admin key of a local `grapnel up` is used.
    #[arg(long, global = true, value_name = "FILE", env = "GRAPNEL_KEY_FILE")]
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
        /// Only those of this hook.
        #[arg(long, value_name = "ID")]
        hook: Option<String>,
        /// Only those that came to this, such as MERGED or RATE_LIMITED.
        #[arg(long, value_parser = parse_decision)]
        decision: Option<Decision>,
        /// Only those of the last time, such as 2h.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// How many.
        #[arg(long, default_value = "20")]
        limit: i32,
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
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print every setting of the services with its default.
    Settings,
}

#[derive(Args, Clone, Debug)]
pub struct BuildArgs {
    /// Build without the build cache.
    #[arg(long)]
    pub no_cache: bool,
    /// Follow the build, and succeed only if it ends READY.
    #[arg(long)]
    pub wait: bool,
}

#[derive(Subcommand, Debug)]
pub enum ProjectCommand {
    /// Create a project.
    Create {
        /// Its name: lower-case letters, digits, inner hyphens.
        name: String,
        /// Its repository: an https, http or ssh address, or a directory that the operator allows.
        #[arg(long)]
        repo: String,
        /// The branch that its address serves.
        #[arg(long, default_value = "main")]
        branch: String,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List the projects.
    List,
    /// Show a project.
    Show {
        /// Its name or id.
        project: String,
    },
    /// Change what is given.
    Update {
        /// Its name or id.
        project: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        /// A new repository.
        #[arg(long)]
        repo: Option<String>,
        /// A new production branch.
        #[arg(long)]
        branch: Option<String>,
        #[command(flatten)]
        settings: SettingsArgs,
        /// Settings to reset to what is found out from the repository, such as `build_command`.
        #[arg(long, value_name = "SETTING")]
        reset: Vec<String>,
    },
    /// Delete a project with its hooks.
    Delete {
        /// Its name or id.
        project: String,
    },
}

#[derive(Args, Clone, Debug, Default)]
pub struct SettingsArgs {
    /// The directory of the repository in which the project lives.
    #[arg(long, value_name = "DIR")]
    pub root: Option<String>,
    /// The command of the install step; empty text skips it.
    #[arg(long, value_name = "COMMAND")]
    pub install: Option<String>,
    /// The command of the build step; empty text skips it.
    #[arg(long, value_name = "COMMAND")]
    pub build: Option<String>,
    /// The directory that is published.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<String>,
    /// The image in which the steps run.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// How long a build may take, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
    /// How much memory a build may use, in bytes.
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<u64>,
    /// How much a build may write to disk, in bytes.
    #[arg(long, value_name = "BYTES")]
    pub disk: Option<u64>,
    /// How much CPU a build may use, in thousandths of one.
    #[arg(long, value_name = "MILLI")]
    pub milli_cpus: Option<u32>,
    /// How many processes and threads a build may have.
    #[arg(long, value_name = "COUNT")]
    pub processes: Option<u32>,
    /// How many files a process of a build may have open.
    #[arg(long, value_name = "COUNT")]
    pub open_files: Option<u32>,
    /// A directory or file that the next build finds again, below the root directory. Repeat it for more; it takes the
    /// place of the usual ones.
    #[arg(long = "cache-path", value_name = "PATH")]
    pub cached_paths: Vec<String>,
    /// What builds reach over the network, never more than the operator allows.
    #[arg(long, value_enum)]
    pub network: Option<NetworkArg>,
    /// Run builds as the sandbox's user 0, still without any capability. It takes a key with the scope `admin`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub run_as_root: Option<bool>,
    /// Check submodules out too, with theirs.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub submodules: Option<bool>,
    /// Fetch the files that Git LFS keeps apart.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub lfs: Option<bool>,
}

/// What a build reaches over the network.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkArg {
    /// Nothing but itself.
    None,
    /// The internet, and no host, no other build, no private address.
    Egress,
    /// Whatever the engine's host reaches.
    Open,
}

#[derive(Args, Clone, Debug, Default)]
pub struct WaitingArgs {
    /// How long a trigger waits for a further one, such as 30s. By default it does not wait.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub quiet_period: Option<Duration>,
    /// How long it waits at most, and how long newer triggers may keep the hook from finishing, such as 5m. By default 15m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub max_wait: Option<Duration>,
    /// The request methods that trigger it: GET, POST, or both, which is the default.
    #[arg(long, value_delimiter = ',', value_name = "METHOD")]
    pub methods: Vec<String>,
}

#[derive(Subcommand, Debug)]
pub enum HookCommand {
    /// Create a hook. Its URL is shown once.
    Create {
        /// The project's name or id.
        project: String,
        /// Its name.
        name: String,
        /// The branch that it deploys; the production branch where none is given.
        #[arg(long)]
        branch: Option<String>,
        /// Build without a build cache by default.
        #[arg(long)]
        no_cache: bool,
        #[command(flatten)]
        waiting: WaitingArgs,
        /// When the hook was made, such as 2021-03-01T00:00:00Z, where it is imported from elsewhere.
        #[arg(long, value_name = "TIME")]
        created_at: Option<DateTime<Utc>>,
    },
    /// List a project's hooks.
    List {
        /// The project's name or id.
        project: String,
    },
    /// Show a hook.
    Show {
        /// Its id.
        hook: String,
    },
    /// Change what is given.
    Update {
        /// Its id.
        hook: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        /// Another branch.
        #[arg(long)]
        branch: Option<String>,
        /// Whether builds get a build cache by default.
        #[arg(long)]
        cache: Option<bool>,
        #[command(flatten)]
        waiting: WaitingArgs,
    },
    /// Let a hook refuse triggers until it is resumed.
    Pause {
        /// Its id.
        hook: String,
    },
    /// Let a paused hook work again.
    Resume {
        /// Its id.
        hook: String,
    },
    /// Make a new token. The URL is shown once; the old one works on for a while.
    Rotate {
        /// Its id.
        hook: String,
        /// For how many seconds the old URL works on: 24 hours where nothing is given, 0 for not at all.
        #[arg(long, value_name = "SECONDS")]
        grace: Option<u32>,
    },
    /// Revoke a hook for good.
    Revoke {
        /// Its id.
        hook: String,
    },
}

#[derive(Subcommand, Debug)]
pub enum DeploymentCommand {
    /// List a project's deployments, newest first.
    List {
        /// The project's name or id.
        project: String,
        /// How many.
        #[arg(long, default_value = "20")]
        limit: i32,
    },
    /// Show a deployment.
    Show {
        /// Its id.
        deployment: String,
    },
    /// Print a deployment's log.
    Logs {
        /// Its id.
        deployment: String,
        /// Go on until the deployment ends, and succeed only if it ends READY.
        #[arg(long, short)]
        follow: bool,
    },
    /// End a deployment.
    Cancel {
        /// Its id.
        deployment: String,
    },
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
