//! How many triggers there may be.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use grapnel_domain::id::HookId;

/// How often limiters forget whom they have not heard of for long.
const FORGET_EVERY: u32 = 4_096;

/// The limits of one process: triggers of a hook, and of an address, each minute. Bursts may use a whole minute's at
/// once. Clones share the counts.
#[derive(Clone)]
pub struct TriggerRates {
    hooks: Arc<DefaultKeyedRateLimiter<HookId>>,
    addresses: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    asked: Arc<AtomicU32>,
    /// Triggers of one hook a minute.
    pub hook_per_minute: NonZeroU32,
}

impl TriggerRates {
    /// Starts counting.
    pub fn new(hook_per_minute: NonZeroU32, address_per_minute: NonZeroU32) -> Self {
        Self {
            hooks: Arc::new(RateLimiter::keyed(Quota::per_minute(hook_per_minute))),
            addresses: Arc::new(RateLimiter::keyed(Quota::per_minute(address_per_minute))),
            asked: Arc::default(),
            hook_per_minute,
        }
    }

    /// Counts a trigger; where there were too many, returns when there may be another one. What has no address, such as a
    /// call over gRPC, is counted by its hook alone.
    pub fn too_many(&self, hook: Option<HookId>, address: &str) -> Option<Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.hooks.retain_recent();
            self.addresses.retain_recent();
        }
        let now = DefaultClock::default().now();
        let of_address =
            address.parse().ok().and_then(|address| self.addresses.check_key(&network(address)).err());
        let of_hook = hook.and_then(|hook| self.hooks.check_key(&hook).err());
        [of_address, of_hook].into_iter().flatten().map(|until| until.wait_time_from(now)).max()
    }
}

impl fmt::Debug for TriggerRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerRates").field("hook_per_minute", &self.hook_per_minute).finish_non_exhaustive()
    }
}

/// Whoever has one IPv6 address has 2^64 of them: they count as one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use grapnel_runtime::Clock;

    use super::*;

    #[test]
    fn hooks_and_addresses_are_counted_apart() {
        let rates = TriggerRates::new(NonZeroU32::new(3).unwrap(), NonZeroU32::new(5).unwrap());
        let clock = Clock::system();
        let (one, two) = (clock.new_id(), clock.new_id());
        for _ in 0..3 {
            assert_eq!(rates.too_many(Some(one), "192.0.2.1"), None);
        }
        let wait = rates.too_many(Some(one), "192.0.2.1").unwrap();
        assert!(wait > Duration::from_secs(1) && wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(rates.too_many(Some(two), "192.0.2.1"), None);
        assert!(rates.too_many(Some(two), "192.0.2.1").is_some(), "the address is used up");
        assert_eq!(rates.too_many(Some(two), "192.0.2.2"), None, "another one is not");
        assert_eq!(rates.too_many(None, ""), None);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
