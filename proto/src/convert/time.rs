//! Points and spans of time.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

/// Writes a point in time.
pub fn timestamp(at: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(999_999_999);
    Timestamp { seconds: at.timestamp(), nanos }
}

/// Writes a span of time; one that the calendar does not have is none.
pub fn duration(span: std::time::Duration) -> Option<prost_types::Duration> {
    span.try_into().ok()
}

/// Reads a point in time; `None` where there is none, or none that the calendar has.
pub fn datetime(timestamp: Option<&Timestamp>) -> Option<DateTime<Utc>> {
    let timestamp = timestamp?;
    DateTime::from_timestamp(timestamp.seconds, u32::try_from(timestamp.nanos).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_wire_and_nonsense_is_no_time() {
        for text in ["2026-11-24T08:00:00.123456Z", "1901-01-01T00:00:00Z", "2500-01-01T00:00:00.999999999Z"]
        {
            let at: DateTime<Utc> = text.parse().unwrap();
            assert_eq!(datetime(Some(&timestamp(at))), Some(at));
        }
        assert_eq!(datetime(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), None);
        assert_eq!(datetime(Some(&Timestamp { seconds: 0, nanos: -1 })), None);
        assert_eq!(datetime(None), None);
    }
}
