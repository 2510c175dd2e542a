//! States, outcomes and reasons of endpoints and their events.

use grapnel_domain::endpoint::{DisabledReason, EventState, TryOutcome};

use crate::hooks::v1 as wire;

/// Writes why an endpoint is disabled.
pub fn disabled_reason_to_wire(reason: DisabledReason) -> wire::EndpointDisabledReason {
    match reason {
        DisabledReason::User => wire::EndpointDisabledReason::User,
        DisabledReason::Gone => wire::EndpointDisabledReason::Gone,
        DisabledReason::Failing => wire::EndpointDisabledReason::Failing,
    }
}

/// Writes where an event stands.
pub fn event_state_to_wire(state: EventState) -> wire::EventState {
    match state {
        EventState::Waiting => wire::EventState::Waiting,
        EventState::Delivered => wire::EventState::Delivered,
        EventState::Failed => wire::EventState::Failed,
        EventState::Dropped => wire::EventState::Dropped,
    }
}

/// Reads where an event stands; `None` where nothing is named.
///
/// # Errors
/// The number is none of a state's.
pub fn event_state_from_wire(number: i32) -> Result<Option<EventState>, String> {
    if number == 0 {
        return Ok(None);
    }
    let found = EventState::ALL.iter().copied().find(|it| i32::from(event_state_to_wire(*it)) == number);
    found.map(Some).ok_or_else(|| format!("{number} is not the number of an event's state"))
}

/// Writes what came of a try.
pub fn outcome_to_wire(outcome: TryOutcome) -> wire::DeliveryOutcome {
    match outcome {
        TryOutcome::Delivered => wire::DeliveryOutcome::Delivered,
        TryOutcome::Refused => wire::DeliveryOutcome::Refused,
        TryOutcome::Redirected => wire::DeliveryOutcome::Redirected,
        TryOutcome::Gone => wire::DeliveryOutcome::Gone,
        TryOutcome::AddressRefused => wire::DeliveryOutcome::AddressRefused,
        TryOutcome::Unreachable => wire::DeliveryOutcome::Unreachable,
        TryOutcome::Silent => wire::DeliveryOutcome::Silent,
        TryOutcome::Unsigned => wire::DeliveryOutcome::Unsigned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_events_survive_the_wire_and_every_word_keeps_its_name() {
        for state in EventState::ALL {
            let wire = event_state_to_wire(*state);
            assert_eq!(event_state_from_wire(wire.into()), Ok(Some(*state)));
            assert_eq!(wire.as_str_name(), format!("EVENT_STATE_{state}"));
        }
        assert_eq!(event_state_from_wire(0), Ok(None));
        assert!(event_state_from_wire(99).is_err());
        for outcome in TryOutcome::ALL {
            assert_eq!(outcome_to_wire(*outcome).as_str_name(), format!("DELIVERY_OUTCOME_{outcome}"));
        }
        for reason in DisabledReason::ALL {
            let name = disabled_reason_to_wire(*reason).as_str_name();
            assert_eq!(name, format!("ENDPOINT_DISABLED_REASON_{reason}"));
        }
    }
}
