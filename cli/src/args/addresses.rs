//! `grapnel address`.

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum AddressCommand {
    /// List a project's addresses, the production branch's first.
    List {
        /// The project's name or id.
        project: String,
        /// Only this branch's.
        #[arg(long)]
        branch: Option<String>,
    },
}
