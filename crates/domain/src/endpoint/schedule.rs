//! When an event is tried again, and when an endpoint is given up.

use std::time::Duration;

use chrono::{DateTime, Utc};

const SECOND: u64 = 1;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// How long to wait before each try, in seconds: the schedule that Standard Webhooks 1.0.0 recommends.
const WAITS: [u64; 10] =
    [0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/// How often an event is tried before it has failed.
pub const TRIES: u32 = 10;

/// The part of a wait by which it may be shorter or longer, so that what has failed together is not tried together.
const JITTER: f64 = 0.2;

/// The longest that an endpoint can ask to be left alone: what is later would be forgotten by both.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * HOUR);

/// How long every try may fail before the endpoint is disabled.
pub const FAILING_FOR: Duration = Duration::from_secs(5 * 24 * HOUR);

/// Returns when an event is tried again whose `tries`-th try has failed at `now`; `None` when that was the last.
///
/// `chance` is from -1 to 1. The endpoint's own wish (`Retry-After`) makes it later and never earlier.
pub fn next_try(
    tries: u32,
    chance: f64,
    retry_after: Option<Duration>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let wait = WAITS.get(usize::try_from(tries).ok()?).copied().map(Duration::from_secs)?;
    let wait = wait.mul_f64(1.0 + JITTER * chance.clamp(-1.0, 1.0));
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    Some(now + wait.max(asked))
}

/// Tells whether an endpoint is given up whose tries have all failed since `failing_since`.
pub fn is_given_up(failing_since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now >= failing_since + FAILING_FOR
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn tries_go_on_over_hours_and_end() {
        let waits =
            (1..=TRIES).map(|tries| next_try(tries, 0.0, None, now()).map(|at| (at - now()).num_seconds()));
        let waits: Vec<_> = waits.collect();
        assert_eq!(
            waits,
            [
                Some(5),
                Some(300),
                Some(1_800),
                Some(7_200),
                Some(18_000),
                Some(36_000),
                Some(50_400),
                Some(72_000),
                Some(86_400),
                None
            ]
        );
    }

    #[test]
    fn who_asks_for_a_later_try_gets_it_and_for_an_earlier_one_does_not() {
        let at = |tries, asked| {
            let asked = Some(Duration::from_secs(asked));
            next_try(tries, 0.0, asked, now()).map(|at| (at - now()).num_seconds())
        };
        assert_eq!(at(1, 60), Some(60));
        assert_eq!(at(2, 60), Some(300));
        assert_eq!(at(1, u64::MAX), Some(86_400), "a day is the longest");
        assert_eq!(at(TRIES, 60), None);
    }

    #[test]
    fn an_endpoint_is_given_up_after_five_days_without_success() {
        let days = |days| is_given_up(now() - chrono::Duration::days(days), now());
        assert_eq!([days(0), days(4), days(5)], [false, false, true]);
    }

    proptest! {
        #[test]
        fn chance_moves_a_try_by_a_fifth_at_most(tries in 1_u32..TRIES, chance in -2.0_f64..2.0) {
            let wait = |chance| (next_try(tries, chance, None, now()).unwrap() - now()).as_seconds_f64();
            let plain = wait(0.0);
            prop_assert!((wait(chance) - plain).abs() <= plain * 0.2 + 1e-6);
        }
    }
}
