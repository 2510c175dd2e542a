//! What a trigger comes to, and what becomes of deployments that are not needed any more.
//!
//! All of it is pure: the store asks these functions within the transaction that stores the answer.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};

use crate::{deployment::State, hook::token_is_live, id::DeploymentId};

/// How long a trigger waits at most for further ones, and how long superseding may keep a hook from finishing, where
/// its hook does not say otherwise.
pub const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(15 * 60);

/// The longest quiet period and the longest wait that a hook may have: a day.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long a repeated idempotency key is answered with the same job.
pub const REPLAY_WINDOW: Duration = Duration::from_secs(10 * 60);

/// The most bytes of a body that are kept for the build.
pub const BODY_KEPT: usize = 64 * 1024;

macro_rules! decisions {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal;)*) => {
        /// What a trigger came to; a row of the ledger has one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Decision {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Decision {
            /// All decisions.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name as it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

decisions! {
    /// A deployment is stored.
    Accepted = "ACCEPTED";
    /// A deployment that has not begun answers this trigger too.
    Merged = "MERGED";
    /// The same trigger was answered before; so it is again, with the same job.
    Replayed = "REPLAYED";
    /// A browser or a chat client looked ahead of a person; nothing is deployed.
    PrefetchIgnored = "PREFETCH_IGNORED";
    /// There were too many, and nothing waits that could answer this one too.
    RateLimited = "RATE_LIMITED";
    /// The hook is paused.
    Paused = "PAUSED";
    /// The token was revoked or replaced, or its hook was revoked.
    Revoked = "REVOKED";
    /// The project has no hook with that token.
    UnknownToken = "UNKNOWN_TOKEN";
    /// The request asks for what the hook does not do; the reason says what.
    Refused = "REFUSED";
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Decision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|decision| decision.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a decision"))
    }
}

/// What a decision depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Whether the hook was revoked.
    pub revoked: bool,
    /// Whether the hook is paused.
    pub paused: bool,
    /// When the token used stops working; none is never.
    pub token_expires_at: Option<DateTime<Utc>>,
    /// Whether the hook does not take the request's method, or it asks for what cannot be.
    pub refused: bool,
    /// Whether the request was sent ahead of a person.
    pub prefetch: bool,
    /// Whether its idempotency key was seen within [`REPLAY_WINDOW`].
    pub replayed: bool,
    /// Whether there were too many requests.
    pub limited: bool,
    /// Whether a deployment of the hook waits that is to answer this trigger too if it may not have its own.
    pub has_pending: bool,
}

/// Decides on a trigger whose token is known. What ends a sender's trying comes first, then what is harmless to answer.
pub fn decide(standing: Standing, now: DateTime<Utc>) -> Decision {
    if standing.revoked || !token_is_live(standing.token_expires_at, now) {
        Decision::Revoked
    } else if standing.prefetch {
        Decision::PrefetchIgnored
    } else if standing.refused {
        Decision::Refused
    } else if standing.paused {
        Decision::Paused
    } else if standing.replayed {
        Decision::Replayed
    } else if standing.limited && standing.has_pending {
        // Merged before refused, so that the last publish of a burst is never lost.
        Decision::Merged
    } else if standing.limited {
        Decision::RateLimited
    } else {
        Decision::Accepted
    }
}

/// How a hook waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How long a trigger waits for a further one.
    pub quiet_period: Duration,
    /// How long it waits at most, and how long superseding may keep the hook from finishing.
    pub max_wait: Duration,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { quiet_period: Duration::ZERO, max_wait: DEFAULT_MAX_WAIT }
    }
}

impl Waiting {
    /// Returns when the version of a deployment may be resolved that was triggered `now` and whose chain of triggers
    /// began at `since`.
    pub fn not_before(self, since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        (now + self.quiet_period).min(since + self.max_wait).max(now)
    }

    /// Tells whether superseding has kept a chain from finishing for as long as it may.
    pub fn is_over(self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        now >= since + self.max_wait
    }
}

/// A deployment of a hook that has not ended, as the rules of superseding see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its id; older ones are smaller.
    pub id: DeploymentId,
    /// Where it stands.
    pub state: State,
    /// The commit, once it is resolved.
    pub commit: Option<String>,
    /// When the first trigger came that it answers, its own or one of those that it superseded.
    pub waiting_since: DateTime<Utc>,
}

/// What becomes of an older deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    GoesOn,
    /// The newer one takes its place.
    Superseded,
    /// It has waited for too long to be superseded once more: it answers the newer trigger too.
    AnswersToo,
}

/// Says what becomes of an older deployment of a hook when another one is to be stored: what is PENDING is superseded.
pub fn when_stored(older: &Unfinished, waiting: Waiting, now: DateTime<Utc>) -> Fate {
    if older.state != State::Pending {
        Fate::GoesOn
    } else if waiting.is_over(older.waiting_since, now) {
        Fate::AnswersToo
    } else {
        Fate::Superseded
    }
}

/// Says what becomes of an older deployment of a hook when `newer` is resolved to `commit`: what is at the same commit is
/// superseded, but a build that runs is let finish where superseding has gone on for too long.
pub fn when_resolved(
    older: &Unfinished,
    newer: DeploymentId,
    commit: &str,
    waiting: Waiting,
    now: DateTime<Utc>,
) -> Fate {
    let same = older.id < newer && !older.state.is_final() && older.commit.as_deref() == Some(commit);
    let let_finish = older.state == State::Building && waiting.is_over(older.waiting_since, now);
    if same && !let_finish { Fate::Superseded } else { Fate::GoesOn }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + Duration::from_secs(second.into())
    }

    fn older(state: State, commit: Option<&str>) -> Unfinished {
        let id = "dpl_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        Unfinished { id, state, commit: commit.map(str::to_owned), waiting_since: at(0) }
    }

    fn newer() -> DeploymentId {
        "dpl_01h455vb4pex5vsknk084sn02r".parse().unwrap()
    }

    #[test]
    fn the_table_of_decisions_is_the_one_that_was_agreed() {
        let now = at(0);
        let none = Standing::default();
        let all = Standing {
            revoked: true,
            paused: true,
            token_expires_at: Some(now),
            refused: true,
            prefetch: true,
            replayed: true,
            limited: true,
            has_pending: true,
        };
        let rows = [
            ("everything at once", all),
            ("an expired token", Standing { token_expires_at: Some(now), ..none }),
            ("a prefetch of a paused hook", Standing { prefetch: true, paused: true, ..none }),
            ("another method", Standing { refused: true, paused: true, ..none }),
            ("paused", Standing { paused: true, replayed: true, ..none }),
            ("a repeated key over the limit", Standing { replayed: true, limited: true, ..none }),
            ("over the limit, one waits", Standing { limited: true, has_pending: true, ..none }),
            ("over the limit, none waits", Standing { limited: true, ..none }),
            ("one waits", Standing { has_pending: true, ..none }),
            ("nothing", none),
        ];
        let table: Vec<_> =
            rows.iter().map(|(what, it)| format!("{what:<30} {}", decide(*it, now))).collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        everything at once             REVOKED
        an expired token               REVOKED
        a prefetch of a paused hook    PREFETCH_IGNORED
        another method                 REFUSED
        paused                         PAUSED
        a repeated key over the limit  REPLAYED
        over the limit, one waits      MERGED
        over the limit, none waits     RATE_LIMITED
        one waits                      ACCEPTED
        nothing                        ACCEPTED
        ");
    }

    #[test]
    fn a_trigger_waits_for_quiet_and_never_longer_than_its_chain_may() {
        let waiting = Waiting { quiet_period: Duration::from_secs(30), max_wait: Duration::from_secs(100) };
        assert_eq!(waiting.not_before(at(0), at(0)), at(30));
        assert_eq!(waiting.not_before(at(0), at(60)), at(90));
        assert_eq!(waiting.not_before(at(0), at(90)), at(100));
        assert_eq!(waiting.not_before(at(0), at(200)), at(200), "never in the past");
        assert_eq!(Waiting::default().not_before(at(0), at(7)), at(7), "by default nothing waits");
    }

    #[test]
    fn storing_supersedes_what_is_pending_until_that_has_gone_on_for_too_long() {
        let waiting = Waiting { max_wait: Duration::from_secs(100), ..Waiting::default() };
        let pending = older(State::Pending, None);
        assert_eq!(when_stored(&pending, waiting, at(99)), Fate::Superseded);
        assert_eq!(when_stored(&pending, waiting, at(100)), Fate::AnswersToo);
        for state in [State::Queued, State::Building] {
            assert_eq!(when_stored(&older(state, Some("c")), waiting, at(0)), Fate::GoesOn);
        }
    }

    #[test]
    fn resolving_supersedes_the_same_version_and_lets_a_starved_build_finish() {
        let waiting = Waiting { max_wait: Duration::from_secs(100), ..Waiting::default() };
        let fate = |older: &Unfinished, second| when_resolved(older, newer(), "c", waiting, at(second));
        for state in [State::Queued, State::Building] {
            assert_eq!(fate(&older(state, Some("c")), 99), Fate::Superseded);
            assert_eq!(fate(&older(state, Some("other")), 99), Fate::GoesOn, "another commit goes on");
        }
        assert_eq!(fate(&older(State::Building, Some("c")), 100), Fate::GoesOn);
        assert_eq!(fate(&older(State::Queued, Some("c")), 100), Fate::Superseded, "exactly one follows");
        let itself = Unfinished { id: newer(), ..older(State::Queued, Some("c")) };
        assert_eq!(fate(&itself, 0), Fate::GoesOn);
    }

    #[test]
    fn every_decision_reads_back() {
        for decision in Decision::ALL {
            assert_eq!(decision.as_str().parse(), Ok(*decision));
        }
    }
}
