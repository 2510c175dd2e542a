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

/// The request methods that trigger a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// `GET`, for senders that know nothing else.
    pub get: bool,
    /// `POST`.
    pub post: bool,
}

impl Default for Methods {
    fn default() -> Self {
        Self { get: true, post: true }
    }
}

impl Methods {
    /// Reads the names of methods.
    ///
    /// # Errors
    /// There is none, or one that no hook takes.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut methods = Self { get: false, post: false };
        for name in names {
            match name {
                "GET" => methods.get = true,
                "POST" => methods.post = true,
                other => return Err(format!("`{other}` is not a method of hooks; they are GET and POST")),
            }
        }
        if methods == (Self { get: false, post: false }) {
            return Err("must name at least one of GET and POST".to_owned());
        }
        Ok(methods)
    }

    /// Returns the names, in one order.
    pub fn names(self) -> Vec<&'static str> {
        [(self.get, "GET"), (self.post, "POST")]
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| name)
            .collect()
    }

    /// Tells whether a request with this method triggers. What did not come over HTTP always does.
    pub fn take(self, method: &str) -> bool {
        match method {
            "GET" => self.get,
            "POST" => self.post,
            _ => true,
        }
    }
}

/// Tells whether a token still works.
pub fn token_is_live(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    expires_at.is_none_or(|expiry| now < expiry)
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
    fn methods_are_read_and_written_by_name() {
        assert_eq!(Methods::parse(["POST"]).unwrap().names(), ["POST"]);
        assert_eq!(Methods::parse(["POST", "GET"]), Ok(Methods::default()));
        assert!(Methods::parse(["PUT"]).is_err() && Methods::parse([]).is_err());
        assert!(!Methods::parse(["POST"]).unwrap().take("GET"));
    }

    #[test]
    fn a_token_works_until_its_expiry_and_not_at_it() {
        let now = at("2026-01-01T00:00:00Z");
        assert!(token_is_live(None, now));
        assert!(token_is_live(Some(at("2026-01-01T00:00:01Z")), now));
        assert!(!token_is_live(Some(now), now));
    }
}
