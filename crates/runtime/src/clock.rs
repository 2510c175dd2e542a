//! The one place that time and ids come from.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use chrono::{DateTime, Duration, SubsecRound as _, Utc};
use type_safe_id::{StaticType, TypeSafeId};
use uuid::{Builder, ContextV7, Timestamp, Uuid};

/// A source of time and of ids that sort by it. Clones share one source.
#[derive(Clone, Debug)]
pub struct Clock {
    time: Time,
    /// Keeps ids in order that are made within one millisecond.
    ids: Arc<Mutex<ContextV7>>,
}

/// Differences that a journey explains are not followed, so that time does not tremble.
const TREMBLING: Duration = Duration::milliseconds(50);

/// What was said to a clock last, and when.
type Led = Arc<Mutex<Option<(DateTime<Utc>, Instant)>>>;

#[derive(Clone, Debug)]
enum Time {
    /// The machine's; from the first [`Clock::follow`] on what was said there, counted on by what no one sets.
    System(Led),
    Set(Arc<Mutex<DateTime<Utc>>>),
}

/// Moves the time of a [`Clock::set_to`] clock.
#[derive(Clone, Debug)]
pub struct ClockHand(Arc<Mutex<DateTime<Utc>>>);

impl Clock {
    /// Returns the machine's clock.
    pub fn system() -> Self {
        Self { time: Time::System(Arc::default()), ids: Arc::new(Mutex::new(ContextV7::new())) }
    }

    /// Returns a clock that stands still until its hand is moved: for tests.
    pub fn set_to(at: DateTime<Utc>) -> (Self, ClockHand) {
        let time = Arc::new(Mutex::new(at.trunc_subsecs(6)));
        let clock = Self { time: Time::Set(time.clone()), ids: Arc::new(Mutex::new(ContextV7::new())) };
        (clock, ClockHand(time))
    }

    /// Sets the clock by another one, such as the database's, which several machines share. From then on it does not hear of what
    /// happens to the machine's own. A clock of tests stays as it is set.
    pub fn follow(&self, now: DateTime<Utc>) {
        let Time::System(led) = &self.time else { return };
        let mut led = led.lock().unwrap_or_else(PoisonError::into_inner);
        let far = led.is_none_or(|(at, since)| (at + since.elapsed() - now).abs() > TREMBLING);
        if far {
            *led = Some((now, Instant::now()));
        }
    }

    /// Returns the time in UTC, cut to microseconds: PostgreSQL keeps no more, and what was stored has to equal what
    /// was said.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.time {
            Time::System(led) => {
                let led = *led.lock().unwrap_or_else(PoisonError::into_inner);
                led.map_or_else(Utc::now, |(at, since)| at + since.elapsed()).trunc_subsecs(6)
            }
            Time::Set(at) => *at.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Makes an id that sorts after all that this process made before.
    pub fn new_id<K: StaticType>(&self) -> TypeSafeId<K> {
        let now = self.now();
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        let context = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let timestamp = Timestamp::from_unix(&*context, seconds, now.timestamp_subsec_nanos());
        TypeSafeId::from_uuid(Uuid::new_v7(timestamp))
    }
}

/// Makes an id of a time that was said before, for what is stored with it. Of those of one millisecond, one with a later
/// `place` sorts after one with an earlier.
pub fn id_at<K: StaticType>(at: DateTime<Utc>, place: u64) -> TypeSafeId<K> {
    let milliseconds = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    let mut rest: [u8; 10] = [0; 10];
    rest.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
    // A UUIDv7 has twelve bits between its version and its variant; they count here (RFC 9562, section 6.2).
    let place = u16::try_from(place.min(0x0fff)).unwrap_or(0x0fff).to_be_bytes();
    rest[..2].copy_from_slice(&place);
    TypeSafeId::from_uuid(Builder::from_unix_timestamp_millis(milliseconds, &rest).into_uuid())
}

/// Returns the id that sorts before all that are made from `at` on, and after all that were made a millisecond before.
pub fn first_id_from<K: StaticType>(at: DateTime<Utc>) -> TypeSafeId<K> {
    let milliseconds = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    TypeSafeId::from_uuid(Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid())
}

impl ClockHand {
    /// Moves the time on, or back with a negative duration.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

#[cfg(test)]
mod tests {
    use grapnel_domain::id::DeploymentId;

    use super::*;

    #[test]
    fn ids_of_one_process_sort_in_the_order_of_their_making() {
        let clock = Clock::system();
        let ids: Vec<DeploymentId> = (0..10_000).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_time_lies_between_the_ids_of_before_and_those_of_after() {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let before: DeploymentId = clock.new_id();
        hand.advance(Duration::milliseconds(1));
        let bound: DeploymentId = first_id_from(clock.now());
        let after: DeploymentId = clock.new_id();
        assert!(before < bound && bound <= after);
        assert!(first_id_from::<grapnel_domain::id::DeploymentKind>(DateTime::UNIX_EPOCH) < before);
    }

    #[test]
    fn ids_stay_in_order_when_the_clock_goes_back() {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let before: DeploymentId = clock.new_id();
        hand.advance(Duration::hours(-1));
        let after: DeploymentId = clock.new_id();
        assert!(before < after, "{before} {after}");
    }

    #[test]
    fn ids_of_a_time_that_was_said_sort_by_it_and_then_by_their_place() {
        let at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let ids = [(0, 1), (0, 2), (0, 300), (0, 9_999), (1, 1)].map(|(ms, place)| {
            id_at::<grapnel_domain::id::EventKind>(at + Duration::milliseconds(ms), place)
        });
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert_ne!(id_at::<grapnel_domain::id::EventKind>(at, 1), id_at(at, 1));
        assert_eq!(ids[0].uuid().get_version_num(), 7);
    }

    #[test]
    fn a_clock_that_follows_another_goes_on_from_there_and_does_not_tremble() {
        let clock = Clock::system();
        let there = clock.now() - Duration::hours(5);
        clock.follow(there);
        let near = |to: DateTime<Utc>| (clock.now() - to).abs() < Duration::minutes(1);
        assert!(near(there), "{}", clock.now());
        let before = clock.now();
        clock.follow(before - Duration::milliseconds(20));
        assert!(clock.now() >= before, "it went back by what a journey takes");
        clock.follow(there + Duration::hours(9));
        assert!(near(there + Duration::hours(9)), "{}", clock.now());
        let (set, _) = Clock::set_to(there);
        set.follow(before);
        assert_eq!(set.now(), there.trunc_subsecs(6), "a test's stands");
    }

    #[test]
    fn time_has_microseconds_and_no_more() {
        assert_eq!(Clock::system().now().timestamp_subsec_nanos() % 1_000, 0);
    }
}
