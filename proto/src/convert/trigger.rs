//! Decisions about triggers.

use grapnel_domain::trigger::Decision;

use crate::hooks::v1 as wire;

/// Writes a decision.
pub fn decision_to_wire(decision: Decision) -> wire::TriggerDecision {
    match decision {
        Decision::Accepted => wire::TriggerDecision::Accepted,
        Decision::Merged => wire::TriggerDecision::Merged,
        Decision::Replayed => wire::TriggerDecision::Replayed,
        Decision::PrefetchIgnored => wire::TriggerDecision::PrefetchIgnored,
        Decision::RateLimited => wire::TriggerDecision::RateLimited,
        Decision::Paused => wire::TriggerDecision::Paused,
        Decision::Revoked => wire::TriggerDecision::Revoked,
        Decision::UnknownToken => wire::TriggerDecision::UnknownToken,
        Decision::Refused => wire::TriggerDecision::Refused,
    }
}

/// Reads a decision; `None` where none is named.
///
/// # Errors
/// The number is none of a decision's.
pub fn decision_from_wire(number: i32) -> Result<Option<Decision>, String> {
    if number == 0 {
        return Ok(None);
    }
    Decision::ALL
        .iter()
        .copied()
        .find(|decision| i32::from(decision_to_wire(*decision)) == number)
        .map(Some)
        .ok_or_else(|| format!("{number} is not the number of a decision about a trigger"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_survive_the_wire() {
        for decision in Decision::ALL {
            assert_eq!(decision_from_wire(decision_to_wire(*decision).into()), Ok(Some(*decision)));
        }
        assert_eq!(decision_from_wire(0), Ok(None));
        assert!(decision_from_wire(99).is_err());
    }
}
