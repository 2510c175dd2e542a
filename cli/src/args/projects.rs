//! `grapnel project`.

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub enum ProjectCommand {
    /// Create a project.
    Create {
        /// Its name: lower-case letters, digits, inner hyphens.
        name: String,
        /// Its repository: an https, http or ssh address, or a directory that the operator allows.
        #[arg(long)]
        repo: String,
        /// The branch that its address serves: `main` where nothing is given, with --check the one that a clone checks out.
        #[arg(long)]
        branch: Option<String>,
        /// Ask the repository first, and create the project only if it can be read and has the branch.
        #[arg(long)]
        check: bool,
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
    /// List the branches of a project's repository, or of any, as a deployment would see them.
    Branches {
        /// The project's name or id, or the address of a repository.
        #[arg(value_name = "PROJECT|URL")]
        of: String,
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
