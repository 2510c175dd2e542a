//! The query of a hook's URL.

use http::Method;

/// How much of a wrong value is shown.
const SHOWN: usize = 50;

/// The longest that a caller is let wait for the end of its deployment, in seconds.
pub const LONGEST_WAIT: u32 = 300;

/// What a query asks for. What is wrong in it is kept: the ledger of an existing hook is to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    build_cache: Option<bool>,
    wait: Option<u32>,
    /// What the build is called.
    pub title: String,
    /// The commit to build; empty is where the branch is.
    pub commit: String,
    wrong: Vec<String>,
}

impl Query {
    /// Reads a query. What it does not know it passes over: senders add parameters of their own.
    pub fn parse(text: &str, method: &Method) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "buildCache" => query.cache("buildCache", &value, false),
                // As other platforms call it.
                "clear_cache" => query.cache("clear_cache", &value, true),
                "title" | "trigger_title" => query.title = value.into_owned(),
                "ref" => query.commit = value.into_owned(),
                "wait" => query.wait_for(&value, method),
                _ => {}
            }
        }
        query
    }

    /// Whether the build gets a cache, where the query says so.
    pub fn build_cache(&self) -> Option<bool> {
        self.build_cache
    }

    /// How many seconds to wait for the deployment's end.
    pub fn wait(&self) -> Option<u32> {
        self.wait
    }

    /// Says what is wrong; empty where nothing is.
    pub fn refusal(&self) -> String {
        self.wrong.join("; ")
    }

    fn cache(&mut self, name: &str, value: &str, inverted: bool) {
        let read = match value {
            "true" => !inverted,
            "false" => inverted,
            other => {
                self.wrong.push(format!("`{name}` must be `true` or `false`, not `{}`", shown(other)));
                return;
            }
        };
        if self.build_cache.is_some_and(|before| before != read) {
            self.wrong.push("the query asks both for a build with a cache and for one without".to_owned());
        }
        self.build_cache = Some(read);
    }

    fn wait_for(&mut self, value: &str, method: &Method) {
        match value.parse() {
            Ok(seconds) if seconds <= LONGEST_WAIT && method == Method::POST => self.wait = Some(seconds),
            Ok(seconds) if seconds <= LONGEST_WAIT => {
                self.wrong.push("`wait` goes with POST: what sends a GET may not mean to wait".to_owned());
            }
            _ => self
                .wrong
                .push(format!("`wait` must be from 0 to {LONGEST_WAIT} seconds, not `{}`", shown(value))),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(text: &str) -> Query {
        Query::parse(text, &Method::POST)
    }

    #[test]
    fn build_cache_is_true_false_or_not_there_and_has_an_alias() {
        for (text, expected) in [
            ("", None),
            ("buildCache=true", Some(true)),
            ("x=1&buildCache=false&buildCache=false", Some(false)),
            ("clear_cache=true", Some(false)),
            ("clear_cache=false", Some(true)),
            ("buildCache=false&clear_cache=true", Some(false)),
        ] {
            let query = post(text);
            assert_eq!((query.build_cache(), query.refusal().as_str()), (expected, ""), "{text}");
        }
        for wrong in [
            "buildCache=",
            "buildCache=maybe",
            "buildCache=TRUE",
            "clear_cache=1",
            "buildCache=true&buildCache=false",
            "buildCache=true&clear_cache=true",
        ] {
            assert!(!post(wrong).refusal().is_empty(), "{wrong}");
        }
        assert!(post(&format!("buildCache={}", "x".repeat(10_000))).refusal().len() < 200);
    }

    #[test]
    fn waiting_is_bounded_and_goes_with_post() {
        assert_eq!(post("wait=300").wait(), Some(300));
        for wrong in ["wait=301", "wait=-1", "wait=", "wait=soon"] {
            assert!(post(wrong).refusal().contains("`wait`"), "{wrong}");
        }
        assert!(Query::parse("wait=5", &Method::GET).refusal().contains("POST"));
    }

    #[test]
    fn a_title_comes_under_either_name() {
        assert_eq!(post("title=Second%20edition").title, "Second edition");
        assert_eq!(post("trigger_title=Second+edition").title, "Second edition");
    }
}
