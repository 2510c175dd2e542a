//! What an answer means: heard, refused for good, or to be tried again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grapnel_domain::{
    SecretText,
    commit_status::{GitHost, shortened},
};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::outbound::http::{Answer, NoAnswer};

/// How long to leave GitHub alone that has had enough and does not say until when, as it advises:
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
const ENOUGH: Duration = Duration::from_secs(60);

/// The most characters of a host's own words.
const WORDS: usize = 160;

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The host has heard it.
    Told,
    /// It will never be heard like this; with what to do.
    Refused(String),
    /// It may be heard later.
    Again {
        /// Why it was not.
        why: String,
        /// Whether this very request may still arrive.
        ambiguous: bool,
        /// How long the host wants to hear nothing at all.
        wait: Option<Duration>,
    },
}

/// Says what an answer means. `token` is never repeated from it.
pub fn verdict(
    host: GitHost,
    answered: &Result<Answer, NoAnswer>,
    token: &SecretText,
    now: DateTime<Utc>,
) -> Verdict {
    let answer = match answered {
        Ok(answer) => answer,
        Err(refused @ NoAnswer::Refused(_)) => return Verdict::Refused(refused.to_string()),
        Err(unheard @ NoAnswer::Unreachable(_)) => return again(unheard.to_string(), false),
        Err(silent @ NoAnswer::Silent(_)) => return again(silent.to_string(), true),
    };
    let words = words(&answer.body, token);
    let why = |what: &str| match words.as_str() {
        "" => format!("{} {what}", answer.status),
        words => format!("{} {what} ({words})", answer.status),
    };
    if let Some(wait) = asked_to_wait(host, answer, now) {
        return Verdict::Again { why: why("it has had enough for now"), ambiguous: false, wait: Some(wait) };
    }
    match answer.status {
        200..=299 => Verdict::Told,
        // It stands there already, or further; GitLab has no other way to say so.
        400 if host == GitHost::GitLab && answer.body.contains("Cannot transition status") => Verdict::Told,
        // A proxy gave up waiting, and the host behind it may not have.
        408 | 502 | 504 => again(why("it did not answer in time"), true),
        409 | 425 => again(why("it is busy with this commit"), false),
        500..=599 => again(why("it is in trouble"), false),
        401 => Verdict::Refused(why("it does not know the token: give one that is valid")),
        403 => Verdict::Refused(why(&format!("the token may not do this: it needs {}", scope(host)))),
        404 => Verdict::Refused(why(&format!(
            "there is no such repository or commit, or the token does not see it: it needs {}",
            scope(host)
        ))),
        300..=399 => {
            Verdict::Refused(why("it has moved: give the repository's or the interface's new address"))
        }
        _ => Verdict::Refused(why("it does not take this status")),
    }
}

fn again(why: String, ambiguous: bool) -> Verdict {
    Verdict::Again { why, ambiguous, wait: None }
}

/// Returns what a token needs, in the host's words.
fn scope(host: GitHost) -> &'static str {
    match host {
        GitHost::GitHub => "`repo:status`, or `Commit statuses: write` where it is fine-grained",
        GitHost::GitLab => "the scope `api` and the role Developer",
        GitHost::Gitea => "`write:repository`",
        GitHost::Bitbucket => "`repository:write`",
    }
}

/// Says how long the host wants to hear nothing. GitHub says 403 for it as well.
fn asked_to_wait(host: GitHost, answer: &Answer, now: DateTime<Utc>) -> Option<Duration> {
    let number = |name: &str| number(&answer.headers, name);
    let used_up = number("x-ratelimit-remaining") == Some(0);
    let github = host == GitHost::GitHub;
    let limited = match answer.status {
        429 => true,
        403 if github => {
            let says_so = answer.body.to_ascii_lowercase().contains("rate limit");
            answer.retry_after.is_some() || used_up || says_so
        }
        503 => answer.retry_after.is_some(),
        _ => false,
    };
    if !limited {
        return None;
    }
    if let Some(told) = answer.retry_after {
        return Some(told);
    }
    let reset = if used_up { number("x-ratelimit-reset") } else { number("ratelimit-reset") };
    let until = reset.and_then(|at| DateTime::from_timestamp(at, 0));
    let until = until.and_then(|at| (at - now).to_std().ok());
    Some(until.unwrap_or(if github { ENOUGH } else { Duration::ZERO }))
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Returns what the host says itself, in one line. One that repeats the token says nothing.
fn words(body: &str, token: &SecretText) -> String {
    let said = serde_json::from_str::<Value>(body).ok().and_then(|json| {
        let places = ["/message", "/error/message", "/error_description", "/error"];
        let texts = places.iter().filter_map(|place| json.pointer(place));
        texts.map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned)).next()
    });
    let said = said.unwrap_or_default();
    if said.contains(token.expose()) {
        return String::new();
    }
    let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shortened(line.trim(), WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        let retry_after = number(&headers, "retry-after").map(|it| Duration::from_secs(it.unsigned_abs()));
        Answer { status, retry_after, headers, body: body.to_owned(), took: Duration::ZERO }
    }

    fn of(host: GitHost, answer: Answer) -> Verdict {
        verdict(host, &Ok(answer), &SecretText::new("hunter2"), now())
    }

    fn waits(host: GitHost, status: u16, headers: &[(&'static str, &str)], body: &str) -> Option<u64> {
        match of(host, answer(status, headers, body)) {
            Verdict::Again { wait, .. } => wait.map(|wait| wait.as_secs()),
            other => panic!("{status} {headers:?}: {other:?}"),
        }
    }

    #[test]
    fn a_host_that_has_had_enough_is_left_alone_for_as_long_as_it_says() {
        let reset = (now().timestamp() + 90).to_string();
        let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())];
        for host in GitHost::ALL {
            assert_eq!(waits(host, 429, &[("retry-after", "7")], ""), Some(7));
            assert_eq!(waits(host, 503, &[("retry-after", "7")], ""), Some(7));
            assert_eq!(waits(host, 503, &[], ""), None);
        }
        assert_eq!(waits(GitHost::GitHub, 403, &used_up, ""), Some(90), "the primary limit");
        assert_eq!(waits(GitHost::GitHub, 429, &used_up, ""), Some(90));
        let secondary = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        assert_eq!(waits(GitHost::GitHub, 403, &[], secondary), Some(60), "a secondary one");
        assert_eq!(waits(GitHost::GitHub, 403, &[("retry-after", "5")], secondary), Some(5));
        assert_eq!(waits(GitHost::GitLab, 429, &[("ratelimit-reset", &reset)], ""), Some(90));
        assert_eq!(waits(GitHost::Bitbucket, 429, &[], ""), Some(0));
    }

    #[test]
    fn a_refusal_says_what_to_do_and_never_the_token() {
        for (host, status, scope) in [
            (GitHost::GitHub, 403, "repo:status"),
            (GitHost::GitHub, 404, "Commit statuses: write"),
            (GitHost::GitLab, 403, "`api`"),
            (GitHost::Gitea, 403, "write:repository"),
            (GitHost::Bitbucket, 403, "repository:write"),
            (GitHost::GitHub, 401, "give one that is valid"),
            (GitHost::GitHub, 422, "does not take"),
            (GitHost::GitHub, 301, "has moved"),
        ] {
            let Verdict::Refused(why) = of(host, answer(status, &[], r#"{"message":"so it is"}"#)) else {
                panic!("{host} {status} is tried again");
            };
            assert!(why.contains(scope) && why.contains("so it is"), "{why}");
        }
        let echo = of(GitHost::Gitea, answer(401, &[], r#"{"message":"bad token hunter2"}"#));
        assert!(!format!("{echo:?}").contains("hunter2"), "{echo:?}");
    }

    #[test]
    fn who_may_hear_it_still_is_told_apart_from_who_will_not() {
        let ambiguous = |answered: Result<Answer, NoAnswer>| match verdict(
            GitHost::Gitea,
            &answered,
            &SecretText::new("t"),
            now(),
        ) {
            Verdict::Again { ambiguous, .. } => Some(ambiguous),
            Verdict::Told | Verdict::Refused(_) => None,
        };
        assert_eq!(ambiguous(Err(NoAnswer::Silent("x".into()))), Some(true));
        assert_eq!(ambiguous(Err(NoAnswer::Unreachable("x".into()))), Some(false));
        assert_eq!(ambiguous(Err(NoAnswer::Refused("x".into()))), None);
        assert_eq!(ambiguous(Ok(answer(504, &[], ""))), Some(true));
        assert_eq!(ambiguous(Ok(answer(500, &[], ""))), Some(false));
    }

    #[test]
    fn gitlab_that_stands_there_already_has_heard_it() {
        let body = r#"{"message":"Cannot transition status via :run from :running"}"#;
        assert_eq!(of(GitHost::GitLab, answer(400, &[], body)), Verdict::Told);
        assert!(matches!(of(GitHost::GitHub, answer(400, &[], body)), Verdict::Refused(_)));
    }
}
