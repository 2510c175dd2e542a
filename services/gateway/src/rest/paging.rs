//! Pages of a list by time: `limit`, `until`, `since`, and where the next page begins.

use grapnel_domain::Error;
use grapnel_proto::convert::time::{datetime, timestamp};
use prost_types::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How many a page has where nobody says so.
const USUAL: u32 = 20;

/// How many a page has at most.
const MOST: u32 = 100;

/// How many of a list are looked at for one page where few of them are wanted. The next page goes on from there.
const LOOKED_AT: usize = 2_000;

/// How many the hooks service gives at once.
const AT_ONCE: u32 = 200;

/// The last millisecond that is a time: the end of the year 9999.
pub const LAST_MS: i64 = 253_402_300_799_999;

/// Which page of a list is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Window {
    /// How many at most; 20 where nothing is said.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
    /// Only those made before this time, in milliseconds of Unix time: the `next` of the page before.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    pub until: Option<i64>,
    /// Only those made after this time, in milliseconds of Unix time.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    pub since: Option<i64>,
}

/// Where a page is in its list.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Pagination {
    /// How many the page has.
    pub count: usize,
    /// The `until` of the next page; null on the last one.
    #[schema(required)]
    pub next: Option<i64>,
    /// The time of the first one of the page; null on an empty page.
    #[schema(required)]
    pub prev: Option<i64>,
}

impl Window {
    /// Looks whether it is one.
    ///
    /// # Errors
    /// A number is not within its range; it is named.
    pub fn checked(self) -> Result<Self, Error> {
        if self.limit.is_some_and(|limit| !(1..=MOST).contains(&limit)) {
            return Err(Error::invalid_field("limit", format!("must be from 1 to {MOST}")));
        }
        for (name, time) in [("until", self.until), ("since", self.since)] {
            check_time(name, time)?;
        }
        Ok(self)
    }

    /// Returns the time before which they were made, as the hooks service is asked for it.
    pub fn until(&self) -> Option<Timestamp> {
        self.until.and_then(chrono::DateTime::from_timestamp_millis).map(timestamp)
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(USUAL) as usize
    }
}

/// Looks whether a number of milliseconds is a time.
///
/// # Errors
/// It is not; the field is named.
pub fn check_time(name: &str, time: Option<i64>) -> Result<(), Error> {
    if time.is_some_and(|time| !(0..=LAST_MS).contains(&time)) {
        return Err(Error::invalid_field(name, "must be a time in milliseconds of Unix time"));
    }
    Ok(())
}

/// Returns a point in time in milliseconds of Unix time.
pub fn milliseconds(at: Option<&Timestamp>) -> Option<i64> {
    datetime(at).map(|at| at.timestamp_millis())
}

/// Something of a list that has an age.
pub trait Made {
    /// When it was made, in milliseconds of Unix time.
    fn made(&self) -> i64;
}

/// A page of a list as the hooks service gives it: what is on it, and the token of the next one.
pub type Given<T> = Result<(Vec<T>, String), Error>;

/// Goes through a list, the newest first, until a page is full.
///
/// A page ends between two milliseconds, so that `until` neither leaves one out nor shows it twice, and may for that be
/// longer than it was asked for. `give` is asked for a page of a size and by its token.
///
/// # Errors
/// What `give` answers.
pub async fn page<T: Made, F: Future<Output = Given<T>>>(
    window: &Window,
    every_one: bool,
    mut give: impl FnMut(i32, String) -> F,
    wanted: impl Fn(&T) -> bool,
) -> Result<(Vec<T>, Pagination), Error> {
    let size = if every_one { window.limit() as u32 + 1 } else { AT_ONCE };
    let (mut found, mut token, mut looked_at) = (Vec::new(), String::new(), 0);
    let (mut last, mut next) = (None, None);
    'list: loop {
        let (items, following) = give(size.cast_signed(), token).await?;
        for item in items {
            let made = item.made();
            if window.since.is_some_and(|since| made <= since) {
                break 'list;
            }
            if last != Some(made) && (found.len() >= window.limit() || looked_at >= LOOKED_AT) {
                next = last;
                break 'list;
            }
            (last, looked_at) = (Some(made), looked_at + 1);
            if wanted(&item) {
                found.push(item);
            }
        }
        if following.is_empty() {
            break;
        }
        token = following;
    }
    let pagination = Pagination { count: found.len(), next, prev: found.first().map(Made::made) };
    Ok((found, pagination))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(i64);

    impl Made for Item {
        fn made(&self) -> i64 {
            self.0
        }
    }

    /// Gives a list, before `until`, in pages of `size`, as the hooks service does.
    async fn given(list: &[i64], until: Option<i64>, size: i32, token: &str) -> Given<Item> {
        let from: usize = token.parse().unwrap_or(0);
        let to = from + usize::try_from(size).unwrap();
        let rest: Vec<_> = list.iter().filter(|made| until.is_none_or(|until| **made < until)).collect();
        let items = rest.iter().skip(from).take(to - from).map(|made| Item(**made)).collect();
        Ok((items, if to < rest.len() { to.to_string() } else { String::new() }))
    }

    async fn turned(window: &Window, list: &[i64], wanted: impl Fn(i64) -> bool) -> (Vec<i64>, Pagination) {
        let give = |size, token: String| async move { given(list, window.until, size, &token).await };
        let (items, pagination) = page(window, true, give, |item| wanted(item.0)).await.unwrap();
        (items.into_iter().map(|item| item.0).collect(), pagination)
    }

    #[tokio::test]
    async fn pages_show_each_once_even_where_many_were_made_in_one_millisecond() {
        let list = [9, 8, 8, 8, 8, 7, 6, 6, 5, 5];
        for limit in 1..=11 {
            let (mut seen, mut window) = (Vec::new(), Window { limit: Some(limit), ..Window::default() });
            loop {
                let (items, pagination) = turned(&window, &list, |_| true).await;
                assert_eq!(pagination.count, items.len());
                assert_eq!(pagination.prev, items.first().copied());
                assert!(items.len() >= (limit as usize).min(list.len() - seen.len()), "{limit}");
                seen.extend(items);
                match pagination.next {
                    Some(next) => window.until = Some(next),
                    None => break,
                }
            }
            assert_eq!(seen, list, "{limit} a page");
        }
    }

    #[tokio::test]
    async fn a_page_of_few_is_looked_for_as_far_as_is_sensible_and_the_next_goes_on() {
        let list: Vec<i64> = (0..5_000).rev().collect();
        let window = Window::default();
        let (items, pagination) = turned(&window, &list, |made| made == 1).await;
        assert_eq!((items.len(), pagination.next), (0, Some(3_000)));
        let window = Window { until: Some(2_000), ..Window::default() };
        let (items, pagination) = turned(&window, &list, |made| made == 1).await;
        assert_eq!((items, pagination.next), (vec![1], None));
    }

    #[tokio::test]
    async fn since_ends_a_list() {
        let window = Window { since: Some(5), ..Window::default() };
        let (items, pagination) = turned(&window, &[7, 6, 5, 4], |_| true).await;
        assert_eq!((items, pagination.next), (vec![7, 6], None));
        assert_eq!(turned(&window, &[], |_| true).await.1, Pagination { count: 0, next: None, prev: None });
    }

    #[test]
    fn what_is_no_window_is_named() {
        for (window, named) in [
            (Window { limit: Some(0), ..Window::default() }, "limit"),
            (Window { limit: Some(101), ..Window::default() }, "limit"),
            (Window { until: Some(-1), ..Window::default() }, "until"),
            (Window { since: Some(i64::MAX), ..Window::default() }, "since"),
        ] {
            assert!(window.checked().unwrap_err().message.contains(named));
        }
    }
}
