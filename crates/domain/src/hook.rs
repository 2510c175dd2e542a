//! The rules of hooks and their tokens.

use chrono::{DateTime, Utc};

/// Hooks made before this moment (11 May 2021, 00:00 UTC, in seconds of Unix time) build without a cache unless
/// asked otherwise. The date is that of the hosted platform from which such hooks are imported.
const CACHE_BY_DEFAULT_SINCE: i64 = 1_620_691_200;

/// The most tokens of one hook that work at once: the current one, and the one it replaces.
pub const MAX_LIVE_TOKENS: usize = 2;

/// Tells whether a hook's builds get a build cache when neither the hook nor the trigger says otherwise.
pub fn caches_by_default(created_at: DateTime<Utc>) -> bool {
    created_at.timestamp() >= CACHE_BY_DEFAULT_SINCE
}

/// Tells whether a token still works.
pub fn token_is_live(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    expires_at.is_none_or(|expiry| now < expiry)
}

/// What a trigger comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A deployment is stored.
    Accepted,
    /// The hook is paused.
    Paused,
    /// The token was revoked or replaced, or its hook was revoked.
    Revoked,
}

/// Decides on a trigger whose token is known.
pub fn decide(hook: HookStanding, now: DateTime<Utc>) -> Decision {
    if hook.revoked || !token_is_live(hook.token_expires_at, now) {
        Decision::Revoked
    } else if hook.paused {
        Decision::Paused
    } else {
        Decision::Accepted
    }
}

/// What a decision depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct HookStanding {
    /// Whether the hook was revoked.
    pub revoked: bool,
    /// Whether the hook is paused.
    pub paused: bool,
    /// When the token used stops working; none is never.
    pub token_expires_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn hooks_from_before_11_may_2021_build_without_cache() {
        assert!(!caches_by_default(at("2021-05-10T23:59:59Z")));
        assert!(caches_by_default(at("2021-05-11T00:00:00Z")));
    }

    #[test]
    fn a_token_works_until_its_expiry_and_not_at_it() {
        let now = at("2026-01-01T00:00:00Z");
        assert!(token_is_live(None, now));
        assert!(token_is_live(Some(at("2026-01-01T00:00:01Z")), now));
        assert!(!token_is_live(Some(now), now));
    }

    #[test]
    fn revoked_comes_before_paused_so_that_senders_stop() {
        let now = at("2026-01-01T00:00:00Z");
        let standing = HookStanding::default();
        assert_eq!(decide(standing, now), Decision::Accepted);
        assert_eq!(decide(HookStanding { paused: true, ..standing }, now), Decision::Paused);
        assert_eq!(decide(HookStanding { paused: true, revoked: true, ..standing }, now), Decision::Revoked);
        assert_eq!(decide(HookStanding { token_expires_at: Some(now), ..standing }, now), Decision::Revoked);
    }
}
