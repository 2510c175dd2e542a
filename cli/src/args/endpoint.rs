//! `grapnel endpoint`.

use std::path::PathBuf;

use clap::Subcommand;
use grapnel_domain::endpoint::{EventState, EventType};

use super::at_least_one;

#[derive(Subcommand, Debug)]
pub enum EndpointCommand {
    /// Create an endpoint. Its secret is shown once.
    Create {
        /// The https or http address that events are posted to.
        #[arg(value_name = "URL")]
        address: String,
        /// The project's name or id; without it the endpoint hears of all projects, and takes a key with the scope `admin`.
        #[arg(long)]
        project: Option<String>,
        /// The events that it wants, such as deployment.ready,deployment.error; all where nothing is given.
        #[arg(long, value_delimiter = ',', value_name = "TYPE", value_parser = parse_type)]
        events: Vec<EventType>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// A file with a secret of your own (`whsec_…`), or `-` for standard input. Without it one is made.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// List endpoints.
    List {
        /// Only those that hear of this project.
        #[arg(long)]
        project: Option<String>,
    },
    /// Show an endpoint.
    Show {
        /// Its id.
        endpoint: String,
    },
    /// Change what is given.
    Update {
        /// Its id.
        endpoint: String,
        /// Another address. (`--url` is where Grapnel is.)
        #[arg(long, value_name = "URL")]
        address: Option<String>,
        /// The events that it wants; `all` for all.
        #[arg(long, value_delimiter = ',', value_name = "TYPE")]
        events: Option<Vec<String>>,
        /// What it is for.
        #[arg(long)]
        description: Option<String>,
    },
    /// Send events again to an endpoint that was disabled.
    Enable {
        /// Its id.
        endpoint: String,
    },
    /// Send an endpoint nothing more; what waits for it is dropped.
    Disable {
        /// Its id.
        endpoint: String,
    },
    /// Delete an endpoint.
    Delete {
        /// Its id.
        endpoint: String,
    },
    /// Make a new secret. It is shown once; the old one signs on beside it for a while.
    Rotate {
        /// Its id.
        endpoint: String,
        /// For how many seconds the old secret signs on: 24 hours where nothing is given, 0 for not at all.
        #[arg(long, value_name = "SECONDS")]
        grace: Option<u32>,
        /// A file with a secret of your own (`whsec_…`), or `-` for standard input. Without it one is made.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// Send an event that only shows whether events arrive.
    Test {
        /// Its id.
        endpoint: String,
    },
    /// What was sent to an endpoint and what waits, newest first.
    Events {
        /// Its id.
        endpoint: String,
        /// Only those of this deployment.
        #[arg(long, value_name = "ID")]
        deployment: Option<String>,
        /// Only those in this state, such as WAITING or FAILED.
        #[arg(long, value_parser = parse_state)]
        state: Option<EventState>,
        /// How many.
        #[arg(long, default_value = "20", value_parser = at_least_one())]
        limit: u32,
    },
    /// Every try at an event, or at all events of an endpoint, newest first.
    Deliveries {
        /// The event's id, or the endpoint's.
        of: String,
        /// How many.
        #[arg(long, default_value = "20", value_parser = at_least_one())]
        limit: u32,
    },
    /// Send an event again, with the same id and body.
    Resend {
        /// The event's id.
        event: String,
    },
}

fn parse_type(text: &str) -> Result<EventType, String> {
    let found = EventType::CHOICE.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| format!("must be one of {}", EventType::CHOICE.map(EventType::as_str).join(", ")))
}

fn parse_state(text: &str) -> Result<EventState, String> {
    text.to_ascii_uppercase().parse().map_err(|_: String| {
        let all: Vec<_> = EventState::ALL.iter().map(|state| state.as_str()).collect();
        format!("must be one of {}", all.join(", "))
    })
}
