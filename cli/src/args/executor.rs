//! `grapnel executor`, beside running one.

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum ExecutorCommand {
    /// List the executors: which answer, and how busy they are.
    List,
    /// Have an executor take nothing new. It finishes what it has, and then its process ends.
    Drain {
        /// The executor's name, as `grapnel executor list` shows it.
        name: String,
        /// Return when it has finished and is gone.
        #[arg(long)]
        wait: bool,
    },
}
