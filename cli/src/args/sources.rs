//! The command line of variables, credentials and secrets.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A file, or `-` for standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        if text == "-" { Self::Stdin } else { Self::File(text.into()) }
    }
}

#[derive(Subcommand, Debug)]
pub enum EnvCommand {
    /// Set variables. The value of a secret one comes from a file, from standard input, or is asked for: on the command
    /// line everybody on the machine could read it.
    Set {
        /// The project's name or id.
        project: String,
        /// `NAME=VALUE`, or one `NAME` whose value comes from elsewhere.
        #[arg(required = true, value_name = "NAME[=VALUE]")]
        variables: Vec<String>,
        /// Let nobody but builds see the value, and hide it in their logs.
        #[arg(long)]
        secret: bool,
        #[command(flatten)]
        branches: BranchesArg,
        /// The file that holds the value, or `-`. One line ending at its end is not part of it.
        #[arg(long, value_name = "FILE")]
        value_file: Option<Input>,
    },
    /// List a project's variables. Secret values are shown to nobody.
    List {
        /// The project's name or id.
        project: String,
    },
    /// Remove a variable.
    Unset {
        /// The project's name or id.
        project: String,
        /// Its name.
        name: String,
        #[command(flatten)]
        branches: BranchesArg,
    },
    /// Set all variables of a `.env` file, as secrets where nothing else is said.
    Import {
        /// The project's name or id.
        project: String,
        /// The file, or `-`.
        file: Input,
        /// The names, separated by commas, of those that are no secrets; without names, none of them is.
        #[arg(long, value_name = "NAMES", num_args = 0..=1, default_missing_value = "*", value_delimiter = ',')]
        plain: Vec<String>,
        #[command(flatten)]
        branches: BranchesArg,
    },
}

#[derive(Args, Clone, Debug, Default)]
pub struct BranchesArg {
    /// Only for this branch, or for the branches of a pattern such as `preview/*`.
    #[arg(long = "branch", value_name = "PATTERN", default_value = "", hide_default_value = true)]
    pub branches: String,
}

#[derive(Subcommand, Debug)]
pub enum CredentialCommand {
    /// Let a project, or all of the team's, read private repositories.
    Create {
        /// The project's name or id; without it the credential is for all of the team's, and takes a key with the scope
        /// `admin`.
        project: Option<String>,
        /// Where it is shown, such as https://github.com or ssh://git.example.org:2222. Where the project's repository
        /// is, if nothing is given.
        #[arg(long)]
        origin: Option<String>,
        /// The file that holds the token, or `-`. Without it, and without an SSH key, it is asked for.
        #[arg(long, value_name = "FILE", conflicts_with = "ssh_key")]
        token_file: Option<Input>,
        /// The user that goes with the token; many hosts take any.
        #[arg(long, default_value = "git", conflicts_with = "ssh_key")]
        user: String,
        /// An SSH key: the file of a private one, or `-`; without a file Grapnel makes one.
        #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
        ssh_key: Option<String>,
        /// Show the token also over http, where everybody on the way can read it.
        #[arg(long)]
        allow_clear_text: bool,
    },
    /// List credentials, without what is secret in them.
    List {
        /// Only those that this project's sources are fetched with.
        #[arg(long)]
        project: Option<String>,
    },
    /// Remove a credential.
    Delete {
        /// Its id.
        credential: String,
    },
    /// Trust an SSH host by the keys that it shows, after a look at their fingerprints.
    TrustHost {
        /// The host, with its port where that is not 22: `git.example.org:2222`.
        host: String,
        /// The fingerprint that the host's operator publishes, such as SHA256:+DiY3…: only the key that has it is
        /// trusted, and nothing is asked.
        #[arg(long, value_name = "FINGERPRINT")]
        fingerprint: Option<String>,
        /// Trust whatever the host shows, without asking.
        #[arg(long)]
        yes: bool,
    },
    /// List the SSH hosts that are trusted, and by which keys.
    Hosts,
    /// Trust an SSH host no longer.
    DistrustHost {
        /// The host, with its port where that is not 22.
        host: String,
    },
}

#[derive(Subcommand, Debug)]
pub enum SecretsCommand {
    /// Seal every secret under a new key, and drop the old one.
    Rotate,
}
