//! `grapnel cache`.

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum CacheCommand {
    /// List a project's caches, on every executor.
    List {
        /// The project's name or id.
        project: String,
    },
    /// Drop a project's caches, so that the next builds begin without.
    Purge {
        /// The project's name or id.
        project: String,
        /// Only this branch's.
        #[arg(long)]
        branch: Option<String>,
    },
}
