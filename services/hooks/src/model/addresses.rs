//! Addresses of branches.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use grapnel_domain::{BranchName, id::DeploymentId};

use super::Project;

/// The address of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The branch.
    pub branch: BranchName,
    /// What it serves.
    pub deployment: DeploymentId,
    /// Whether it stays with that while newer ones get READY.
    pub held: bool,
    /// Since when it is so.
    pub updated_at: DateTime<Utc>,
}

/// What came of letting an address serve a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The project whose address it is.
    pub project: Project,
    /// As it is now.
    pub address: Address,
    /// What it served before.
    pub previous: Option<DeploymentId>,
}

/// The place of an address in the list of its project's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPlace {
    /// When it was changed.
    pub updated_at: DateTime<Utc>,
    /// Its branch.
    pub branch: BranchName,
}

impl From<&Address> for AddressPlace {
    fn from(address: &Address) -> Self {
        Self { updated_at: address.updated_at, branch: address.branch.clone() }
    }
}

impl fmt::Display for AddressPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.updated_at.timestamp_micros(), self.branch)
    }
}

impl FromStr for AddressPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (micros, branch) = text.split_once(':').ok_or(())?;
        let updated_at = DateTime::from_timestamp_micros(micros.parse().map_err(drop)?).ok_or(())?;
        Ok(Self { updated_at, branch: BranchName::parse(branch).map_err(drop)? })
    }
}
