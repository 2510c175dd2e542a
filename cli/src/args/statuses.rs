//! The arguments of `grapnel status`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Subcommand, Debug)]
pub enum StatusCommand {
    /// Show what is told of a project and where, or why nothing is.
    Show {
        /// The project's name or id.
        project: String,
    },
    /// Name the host by hand, where it is none that everybody knows.
    Set {
        /// The project's name or id.
        project: String,
        /// What kind of host it is.
        #[arg(long, value_enum)]
        host: GitHostArg,
        /// Where its interface begins, such as https://git.example.org/api/v1.
        #[arg(long, value_name = "URL")]
        api_base: String,
        /// A file with the token, or `-` for standard input. Without it the token stays that was given for this address.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Tell nothing.
    Off {
        /// The project's name or id.
        project: String,
    },
    /// Find the host from the repository's address, as it is by default.
    Auto {
        /// The project's name or id.
        project: String,
        /// A file with the token, or `-` for standard input. Without any the credential for the repository's host is used.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
}

/// A kind of git host.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitHostArg {
    /// GitHub and GitHub Enterprise.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
}
