//! `grapnel hook`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};

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
