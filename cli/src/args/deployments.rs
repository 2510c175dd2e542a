//! `grapnel deployment`, and what starts one.

use clap::{Args, Subcommand};
use grapnel_domain::deployment::State;

use super::at_least_one;

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
pub enum DeploymentCommand {
    /// List deployments, newest first.
    List(ListArgs),
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
    /// Wait until a deployment ends, and tell its states and steps without its log; succeed only if it ends READY.
    Watch {
        /// Its id.
        deployment: String,
    },
    /// End a deployment.
    Cancel {
        /// Its id.
        deployment: String,
    },
    /// Deploy a deployment's commit again.
    Redeploy {
        /// Its id.
        deployment: String,
        #[command(flatten)]
        build: BuildArgs,
    },
    /// Let its branch's address serve a READY deployment, and so go back to an earlier one, or forward again.
    Promote {
        /// Its id.
        deployment: String,
    },
    /// Remove a deployment for good, with its log and its files. One that an address serves is refused.
    Delete {
        /// Its id.
        deployment: String,
    },
}

/// Which deployments are listed.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// The project's name or id; without it those of all projects.
    pub project: Option<String>,
    /// Only those in this state, such as READY or ERROR.
    #[arg(long, value_parser = parse_state)]
    pub state: Option<State>,
    /// Only those of this branch.
    #[arg(long)]
    pub branch: Option<String>,
    /// Only those that this hook asked for: its id, or its name where a project is given.
    #[arg(long)]
    pub hook: Option<String>,
    /// How many.
    #[arg(long, default_value = "20", value_parser = at_least_one())]
    pub limit: u32,
}

fn parse_state(text: &str) -> Result<State, String> {
    text.to_ascii_uppercase().parse().map_err(|_: String| {
        let all: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("must be one of {}", all.join(", "))
    })
}
