//! What is worth looking at, told to all processes of one PostgreSQL: with the transaction that stores it, so that it arrives
//! after the commit and never without it.

use std::str::FromStr;

use grapnel_domain::id::DeploymentId;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};

use super::{Store, StoreError};

/// The channel on which processes tell each other.
pub(super) const CHANNEL: &str = "grapnel";

/// How many deployments one notice names: PostgreSQL takes up to 8,000 bytes, and an id has thirty.
const NAMED_AT_ONCE: usize = 200;

/// Says what is worth looking at, and nothing of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rings {
    /// There may be something to dispatch.
    pub work: bool,
    /// There may be something to tell a git host.
    pub statuses: bool,
    /// There may be an event to send.
    pub events: bool,
    /// The deployments named are new, or not as they were: not only their logs.
    pub changed: bool,
    /// Something happened to these.
    pub deployments: Vec<DeploymentId>,
}

impl Rings {
    /// The states of deployments have changed, and with them everything that follows from it.
    pub fn changed(deployments: Vec<DeploymentId>) -> Self {
        Self { work: true, statuses: true, events: true, changed: true, deployments }
    }

    /// A build has told something.
    pub fn told(deployment: DeploymentId) -> Self {
        Self { deployments: vec![deployment], ..Self::default() }
    }

    pub fn work() -> Self {
        Self { work: true, ..Self::default() }
    }

    pub fn statuses() -> Self {
        Self { statuses: true, ..Self::default() }
    }

    pub fn events() -> Self {
        Self { events: true, ..Self::default() }
    }

    /// Writes it as notices; whoever has sent one knows it again by the sender.
    fn notices(&self, sender: u64) -> Vec<String> {
        let flag = |set, letter| if set { letter } else { "" };
        let flags = [
            flag(self.work, "w"),
            flag(self.statuses, "s"),
            flag(self.events, "e"),
            flag(self.changed, "c"),
            "-",
        ]
        .concat();
        let notice = |named: &[DeploymentId]| {
            let ids: Vec<_> = named.iter().map(ToString::to_string).collect();
            format!("{sender:x} {flags} {}", ids.join(","))
        };
        if self.deployments.is_empty() {
            return vec![notice(&[])];
        }
        self.deployments.chunks(NAMED_AT_ONCE).map(notice).collect()
    }
}

/// A notice as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Which process has sent it.
    pub sender: u64,
    /// What it says.
    pub rings: Rings,
}

impl FromStr for Notice {
    type Err = ();

    /// Reads a notice. What another release has added is passed over.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(' ');
        let (sender, flags) = (parts.next().ok_or(())?, parts.next().ok_or(())?);
        let ids = parts.next().unwrap_or_default();
        let rings = Rings {
            work: flags.contains('w'),
            statuses: flags.contains('s'),
            events: flags.contains('e'),
            changed: flags.contains('c'),
            deployments: ids.split(',').filter_map(|id| id.parse().ok()).collect(),
        };
        Ok(Self { sender: u64::from_str_radix(sender, 16).map_err(drop)?, rings })
    }
}

impl Store {
    /// Ends a transaction and tells everybody whom it concerns, here and in other processes.
    pub(super) async fn commit(
        &self,
        transaction: DatabaseTransaction,
        rings: Rings,
    ) -> Result<(), StoreError> {
        self.notify(&transaction, &rings).await?;
        transaction.commit().await?;
        self.wakeups.ring(&rings);
        Ok(())
    }

    /// Tells what was stored by a statement of its own. Whoever does not hear of it looks anyway.
    pub(super) async fn tell(&self, rings: Rings) {
        if let Err(error) = self.notify(&self.writer, &rings).await {
            tracing::debug!(%error, "other processes are not told; they look by themselves");
        }
        self.wakeups.ring(&rings);
    }

    /// Sends notices; with a transaction they arrive when it is committed.
    pub(super) async fn notify(&self, with: &impl ConnectionTrait, rings: &Rings) -> Result<(), DbErr> {
        if with.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        for notice in rings.notices(self.wakeups.sender()) {
            let values = [CHANNEL.into(), notice.into()];
            let tell = "SELECT pg_notify($1, $2)";
            with.query_one_raw(Statement::from_sql_and_values(DbBackend::Postgres, tell, values)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use grapnel_runtime::Clock;

    use super::*;

    #[test]
    fn notices_are_read_as_they_were_written_and_are_never_too_long() {
        let clock = Clock::system();
        let many: Vec<DeploymentId> = (0..1_000).map(|_| clock.new_id()).collect();
        for rings in [Rings::work(), Rings::statuses(), Rings::events(), Rings::told(many[0])] {
            let notices = rings.notices(u64::MAX);
            assert_eq!(notices.len(), 1);
            assert_eq!(notices[0].parse(), Ok(Notice { sender: u64::MAX, rings }));
        }
        let notices = Rings::changed(many.clone()).notices(1);
        assert!(notices.iter().all(|notice| notice.len() < 8_000), "PostgreSQL takes no more");
        assert!(notices.iter().all(|notice| notice.parse::<Notice>().unwrap().rings.changed));
        let named = notices.iter().flat_map(|notice| notice.parse::<Notice>().unwrap().rings.deployments);
        assert_eq!(named.collect::<Vec<_>>(), many);
    }

    #[test]
    fn what_is_no_notice_is_passed_over() {
        for text in ["", "x", "zz w", "1", "-1 w -"] {
            assert_eq!(text.parse::<Notice>(), Err(()), "{text:?}");
        }
        let later = "1 wq- dpl_x,,nonsense more words".parse::<Notice>().unwrap();
        assert_eq!(later.rings, Rings::work(), "another release may say more");
    }
}
