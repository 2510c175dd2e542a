//! The specification of one build: all that an executor has to know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    BranchName, RepositoryUrl,
    id::{DeploymentId, HookId, ProjectId},
    name::{HookName, ProjectName},
    project::BuildSettings,
    source::SourceAccess,
    variable::BuildVariable,
};

/// One attempt of one deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.deployment, self.attempt)
    }
}

impl AttemptId {
    /// The number that no attempt has. What is made ahead of attempts has a deployment's id of its own, and this.
    pub const AHEAD: u32 = 0;

    /// Tells whether it names something that was made ahead of an attempt, and no attempt.
    pub fn is_ahead(&self) -> bool {
        self.attempt == Self::AHEAD
    }
}

/// A text that names no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must look like `dpl_…-1`")]
pub struct AttemptIdError;

impl std::str::FromStr for AttemptId {
    type Err = AttemptIdError;

    fn from_str(text: &str) -> Result<Self, AttemptIdError> {
        let (deployment, attempt) = text.rsplit_once('-').ok_or(AttemptIdError)?;
        let deployment = deployment.parse().map_err(|_| AttemptIdError)?;
        let attempt = attempt.parse().map_err(|_| AttemptIdError)?;
        Ok(Self { deployment, attempt })
    }
}

/// What to build, from which commit, for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSpec {
    /// Which attempt this is.
    pub id: AttemptId,
    /// The project's id.
    pub project_id: ProjectId,
    /// The project's name.
    pub project_name: ProjectName,
    /// The repository.
    pub repository: RepositoryUrl,
    /// The branch.
    pub branch: BranchName,
    /// The version: a full commit hash in lower-case hexadecimal.
    pub commit: String,
    /// The commit's message, as far as it is kept.
    pub commit_message: String,
    /// Whether the branch is the project's production branch.
    pub production: bool,
    /// The hook that asked for it; none where a person or program did.
    pub hook: Option<HookOrigin>,
    /// How many triggers this build answers.
    pub trigger_count: u32,
    /// What the trigger calls this build; empty where it does not say.
    pub title: String,
    /// The body of the trigger, as much of it as is kept; empty where there was none.
    pub body: Vec<u8>,
    /// Whether the build gets the cache of its branch, or an empty one.
    pub use_cache: bool,
    /// How to build.
    pub settings: BuildSettings,
    /// What its steps see beside what Grapnel itself tells them.
    pub variables: Vec<BuildVariable>,
    /// What git needs beside the repository's address.
    pub access: SourceAccess,
}

/// The hook that asked for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOrigin {
    /// The hook's id.
    pub id: HookId,
    /// The hook's name.
    pub name: HookName,
}

/// What one build may use. An operator sets the ceilings, a project may ask for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildLimits {
    /// Wall time of the whole attempt.
    pub timeout: Duration,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU time per time, in thousandths of one CPU.
    pub milli_cpus: u32,
    /// Processes and threads at once.
    pub processes: u32,
    /// Open files of one process.
    pub open_files: u32,
    /// Bytes that it writes to its workspace and cache.
    pub disk_bytes: u64,
    /// Bytes of log that are kept.
    pub log_bytes: u64,
    /// Bytes of the artifact.
    pub artifact_bytes: u64,
    /// Files of the artifact.
    pub artifact_files: u64,
}

impl Default for BuildLimits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        Self {
            timeout: Duration::from_secs(30 * 60),
            memory_bytes: 2 * GIB,
            milli_cpus: 2_000,
            processes: 512,
            open_files: 65_536,
            disk_bytes: 10 * GIB,
            log_bytes: 16 * MIB,
            artifact_bytes: GIB,
            artifact_files: 100_000,
        }
    }
}

/// A project's own wishes for its limits; what it does not name is the operator's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitWishes {
    /// Wall time of the whole attempt, in seconds.
    pub timeout_seconds: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes of workspace and cache on disk.
    pub disk_bytes: Option<u64>,
    /// CPU time per time, in thousandths of one CPU.
    #[serde(default)]
    pub milli_cpus: Option<u32>,
    /// Processes and threads at once.
    #[serde(default)]
    pub processes: Option<u32>,
    /// Open files of one process.
    #[serde(default)]
    pub open_files: Option<u32>,
}

impl BuildLimits {
    /// Returns the limits of a build with these wishes, never above `self`, the operator's ceilings.
    #[must_use]
    pub fn under_ceilings(self, wishes: LimitWishes) -> Self {
        let timeout = wishes.timeout_seconds.map_or(self.timeout, |s| Duration::from_secs(s.into()));
        Self {
            timeout: timeout.min(self.timeout),
            memory_bytes: wishes.memory_bytes.unwrap_or(self.memory_bytes).min(self.memory_bytes),
            disk_bytes: wishes.disk_bytes.unwrap_or(self.disk_bytes).min(self.disk_bytes),
            milli_cpus: wishes.milli_cpus.unwrap_or(self.milli_cpus).min(self.milli_cpus),
            processes: wishes.processes.unwrap_or(self.processes).min(self.processes),
            open_files: wishes.open_files.unwrap_or(self.open_files).min(self.open_files),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_gets_less_than_the_ceiling_but_never_more() {
        let ceilings = BuildLimits::default();
        let modest = LimitWishes {
            timeout_seconds: Some(60),
            memory_bytes: Some(1),
            processes: Some(2),
            ..LimitWishes::default()
        };
        let limits = ceilings.under_ceilings(modest);
        assert_eq!((limits.timeout.as_secs(), limits.memory_bytes, limits.processes), (60, 1, 2));
        assert_eq!((limits.disk_bytes, limits.milli_cpus), (ceilings.disk_bytes, ceilings.milli_cpus));
        let greedy = LimitWishes {
            timeout_seconds: Some(u32::MAX),
            memory_bytes: Some(u64::MAX),
            disk_bytes: Some(u64::MAX),
            milli_cpus: Some(u32::MAX),
            processes: Some(u32::MAX),
            open_files: Some(u32::MAX),
        };
        assert_eq!(ceilings.under_ceilings(greedy), ceilings);
    }
}
