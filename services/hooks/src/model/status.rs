//! What git hosts are told: how a project wants it, and how it stands with one deployment.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    SecretText,
    commit_status::{ApiBase, GitHost, Report},
    id::{DeploymentId, ProjectId, StatusId},
};

use crate::sealing::Sealed;

/// How a project wants its commits to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMode {
    /// Nothing is told.
    Off,
    /// Host and interface are found from the repository's address.
    Automatic,
    /// Somebody has named both.
    ByHand,
}

impl StatusMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Off, Self::Automatic, Self::ByHand];

    /// Returns the name as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Automatic => "automatic",
            Self::ByHand => "by_hand",
        }
    }
}

impl FromStr for StatusMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not a mode of statuses"))
    }
}

/// Why nothing is told of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is switched off.
    Off,
    /// Nobody knows the interface of the repository's host.
    UnknownHost,
    /// The repository's address does not name what the host calls a repository.
    StrangeAddress,
    /// There is no token.
    NoToken,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "commit statuses are switched off for this project",
            Self::UnknownHost => {
                "the repository's host is none that everybody knows: name its kind and the address of its interface"
            }
            Self::StrangeAddress => "the repository's address does not end with an owner and a name",
            Self::NoToken => {
                "there is no token: give one, or store a token for the repository's host as a credential"
            }
        })
    }
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFrom {
    /// It was given for this, and ends like that.
    Given {
        /// Its last four characters.
        last_four: String,
    },
    /// It is the credential for the repository's host.
    Credential,
}

/// What is told of a project, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPlan {
    /// How the project wants it.
    pub mode: StatusMode,
    /// The kind of host and its interface, as far as they are known.
    pub host: Option<(GitHost, ApiBase)>,
    /// How the host names the repository.
    pub repository: Option<String>,
    /// Where the token comes from.
    pub token: Option<TokenFrom>,
    /// The row that the token is sealed for, and the token.
    pub sealed: Option<(String, Sealed)>,
}

impl StatusPlan {
    /// Says why nothing is told; `None` where something is.
    pub fn silence(&self) -> Option<Silence> {
        if self.mode == StatusMode::Off {
            return Some(Silence::Off);
        }
        if self.host.is_none() {
            return Some(Silence::UnknownHost);
        }
        if self.repository.is_none() {
            return Some(Silence::StrangeAddress);
        }
        self.token.is_none().then_some(Silence::NoToken)
    }
}

/// Where statuses are sent at this moment, with what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusDestination {
    /// The kind of host.
    pub host: GitHost,
    /// Where its interface begins.
    pub api_base: ApiBase,
    /// How it names the repository.
    pub repository: String,
    /// What it is shown.
    pub token: SecretText,
}

/// How it stands with what is told of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitStatus {
    /// The name under which it is told.
    pub context: String,
    /// What is to be told.
    pub report: Report,
    /// Whether the host has heard it.
    pub delivered: bool,
    /// How often this was tried in vain.
    pub tries: u32,
    /// What came of the last try; empty where it went well.
    pub last_error: String,
    /// Whether nothing more is tried.
    pub gave_up: bool,
    /// When it is tried next.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Whether a newer deployment of the same commit speaks in its place.
    pub overtaken: bool,
    /// When anything of this changed.
    pub updated_at: DateTime<Utc>,
}

/// A status that a process has taken to tell. Nobody else tells anything of the same project, commit and context
/// before the lease has run out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedStatus {
    /// Its id.
    pub id: StatusId,
    /// The deployment that it is about.
    pub deployment: DeploymentId,
    /// The project.
    pub project: ProjectId,
    /// The commit.
    pub commit: String,
    /// The name under which it is told.
    pub context: String,
    /// What is told.
    pub report: Report,
    /// Counts what was to be told of this deployment.
    pub revision: i64,
    /// How often this was tried in vain.
    pub tries: u32,
    /// Since when this is to be told.
    pub wanted_at: DateTime<Utc>,
    /// Who holds the lease.
    pub lease_owner: String,
    /// When it runs out.
    pub lease_expires_at: DateTime<Utc>,
}
