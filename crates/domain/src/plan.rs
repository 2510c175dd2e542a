//! What a team's plan allows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A team's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// The smallest plan.
    Hobby,
    /// The middle plan.
    Pro,
    /// The largest plan.
    Enterprise,
}

impl Plan {
    /// All plans, smallest first.
    pub const ALL: [Self; 3] = [Self::Hobby, Self::Pro, Self::Enterprise];

    /// Returns the plan's name as it is stored and configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hobby => "hobby",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|plan| plan.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a plan; the plans are hobby, pro and enterprise"))
    }
}

/// How many hooks a project may have, by the plan of its team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookLimits {
    /// Hooks of a project on the hobby plan.
    pub hobby: u32,
    /// Hooks of a project on the pro plan.
    pub pro: u32,
    /// Hooks of a project on the enterprise plan.
    pub enterprise: u32,
}

impl Default for HookLimits {
    fn default() -> Self {
        Self { hobby: 5, pro: 5, enterprise: 10 }
    }
}

impl HookLimits {
    /// Returns the most hooks that a project of a team on `plan` may have.
    pub fn hooks_per_project(self, plan: Plan) -> u32 {
        match plan {
            Plan::Hobby => self.hobby,
            Plan::Pro => self.pro,
            Plan::Enterprise => self.enterprise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_allow_five_five_and_ten_hooks() {
        let limits = HookLimits::default();
        assert_eq!(Plan::ALL.map(|plan| limits.hooks_per_project(plan)), [5, 5, 10]);
    }

    #[test]
    fn a_plan_reads_back_and_an_unknown_one_is_named() {
        for plan in Plan::ALL {
            assert_eq!(plan.as_str().parse::<Plan>(), Ok(plan));
        }
        assert!("gold".parse::<Plan>().unwrap_err().contains("`gold`"));
    }
}
