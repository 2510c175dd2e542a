//! What has to be known of a build for another process to go on with it, from the moment its sandbox stands.
//!
//! Of what is secret nothing is in it: whoever goes on is given the specification again.

use std::time::Duration;

use grapnel_domain::build::{BuildLimits, BuildSpec};
use grapnel_runtime::boot;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{detect::Plan, project_root::ProjectRoot};
use crate::{
    cache::{Installed, Prepared},
    engine::SandboxId,
};

/// What is to be done in a sandbox, as the checkout has said it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// The commands.
    pub plan: Plan,
    /// Where they run.
    pub root: ProjectRoot,
    /// The major version of Node.js, where it is another one than the image's own.
    pub node: Option<u32>,
    /// What the install step is given, where the next build may leave it out.
    pub installed: Option<Installed>,
}

/// A build whose sandbox stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// What is to be done.
    pub script: Script,
    /// The cache that is in place.
    pub cache: Prepared,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// What the build may use.
    pub limits: BuildLimits,
    /// When it began.
    pub began: Began,
    /// The name under which its sandbox, volumes and directories were made, where that was ahead of it.
    #[serde(default)]
    pub ahead: Option<String>,
    /// What tells whether the specification is still the one with which it began.
    pub given: u16,
}

/// A moment of a run of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    boot: String,
    uptime: Duration,
}

impl Began {
    /// Returns the present moment.
    pub fn now() -> Self {
        Self { boot: boot::id(), uptime: boot::uptime() }
    }

    /// Tells whether the machine still runs as it did then: with it all sandboxes end.
    pub fn is_of_this_boot(&self) -> bool {
        !self.boot.is_empty() && self.boot == boot::id()
    }

    /// Returns how long ago that was, whoever was there or not.
    pub fn elapsed(&self) -> Duration {
        boot::uptime().saturating_sub(self.uptime)
    }
}

/// Returns what tells with which commit, commands and variables a build began: the log of a command that was given other
/// secrets than those that are known now could not be masked.
///
/// It stands on disk, so it is so short that nobody learns a secret by guessing: one in 65,536 guesses fits.
pub fn given(spec: &BuildSpec) -> u16 {
    let mut given = Sha256::new();
    given.update(format!("{}\0{}\0", spec.project_id, spec.commit));
    for variable in &spec.variables {
        given.update(format!("{}={}\0{}\0", variable.name, variable.value.expose(), variable.secret));
    }
    let digest = given.finalize();
    u16::from_le_bytes([digest[0], digest[1]])
}
