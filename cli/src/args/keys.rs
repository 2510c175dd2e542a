//! `grapnel key`.

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Create a key. It is shown once.
    Create {
        /// What it is for.
        name: String,
        /// What it may do: `read`, `write`, `deploy`, `admin`.
        #[arg(long, required = true, value_delimiter = ',')]
        scopes: Vec<String>,
    },
    /// List the keys.
    List,
    /// Revoke a key for good.
    Revoke {
        /// Its id.
        key: String,
    },
    /// Make a key for Grapnel's services to show each other. Asks no service.
    Generate,
}
