//! Triggers that come together are stored together: a burst shares one transaction, and each is answered when that is on the disk.
//!
//! One task takes all that wait, reads what it needs to know of their hooks (`trigger_facts`), decides on one after the other
//! (`triggers`), stores what follows from all of them (`trigger_outcome`), and commits. A lone trigger waits for nobody: it is
//! a batch of its own. Where a batch fails, each of its triggers is tried alone, so that what is wrong with one is
//! that one's answer only. Whoever has left does not undo what was begun.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use grapnel_domain::id::HookId;
use grapnel_runtime::crash_point;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{Sqlite, pool::PoolConnection},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Store, StoreError,
    again::again,
    notices::Rings,
    trigger_answers::Answers,
    trigger_facts::Facts,
    trigger_outcome::Outcome,
    triggers::{Named, NewTrigger, Triggered, take},
};

/// How many triggers share a transaction at most.
const AT_ONCE: usize = 256;

/// So many are always stored together: half of them would cost as much.
const FEW: usize = 8;

/// After so many the write-ahead log of SQLite has grown by what is worth bringing home.
const MANY: usize = 64;

/// How many may wait for the next one. Who finds no room waits for it, which no caller does for long.
const WAITING: usize = 1_024;

/// How long a caller waits for its answer at most, whatever the database does: a server that is frozen hangs up on nobody.
const PATIENCE: Duration = Duration::from_secs(15);

/// Says whether there were too many triggers of a hook, or of nobody's, and when to come back.
pub type Limiter = Box<dyn Fn(Option<HookId>) -> Option<Duration> + Send + Sync>;

/// What a trigger comes to; `None` where there is no such hook.
type Answer = Result<Option<Triggered>, StoreError>;

/// A trigger that waits for its transaction.
pub(super) struct Waiting {
    pub named: Named,
    pub new: NewTrigger,
    limiter: Limiter,
    /// What the limiter has said: it counts, and a trigger that is tried again is one trigger.
    limited: OnceLock<Option<Duration>>,
    answer: oneshot::Sender<Answer>,
}

impl Waiting {
    pub fn too_many(&self, hook: Option<HookId>) -> Option<Duration> {
        *self.limited.get_or_init(|| (self.limiter)(hook))
    }

    /// Answers. Nobody listens where the caller has left; what was stored stands.
    pub fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// Where triggers wait. What stores them ends with the last of the store's clones.
#[derive(Clone, Debug, Default)]
pub(super) struct TriggerQueue(Arc<Mutex<Option<mpsc::Sender<Waiting>>>>);

impl Store {
    /// Decides on a trigger and stores what follows from it. `None` where there is no such project, or no such hook of
    /// the team's: nothing is stored then. What was begun is done whole if the caller leaves.
    ///
    /// # Errors
    /// The database fails or does not answer in time. In the latter case nobody knows whether something was stored.
    pub async fn trigger(&self, named: Named, new: NewTrigger, limiter: Limiter) -> Answer {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { named, new, limiter, limited: OnceLock::new(), answer };
        let answered = async {
            let closed = || given_up("the database is closed");
            self.queue()?.send(waiting).await.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        };
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(given_up("the database does not answer in time")),
        }
    }

    fn queue(&self) -> Result<mpsc::Sender<Waiting>, StoreError> {
        let mut queue = self.triggers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = queue.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        // Without the queue in it: it would keep itself alive.
        let store = Self { triggers: TriggerQueue::default(), ..self.clone() };
        let answers = Answers::begin(&store)?;
        if self.is_shared() {
            tokio::spawn(store.store_triggers(receiver, answers));
        } else {
            on_a_thread(store.store_triggers(receiver, answers))
                .map_err(|error| given_up(&format!("no thread can be started: {error}")))?;
        }
        Ok(queue.insert(sender).clone())
    }

    async fn store_triggers(self, mut queue: mpsc::Receiver<Waiting>, answers: Answers) {
        let (mut batch, mut before, mut stored) = (Vec::new(), 0, 0);
        while let Some(first) = queue.recv().await {
            batch.push(first);
            let more = at_once(queue.len() + 1, before) - 1;
            batch.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(more));
            before = batch.len();
            // As they were made: of one hook's the later one takes the earlier one's place.
            batch.sort_by_key(|waiting| waiting.new.deployment);
            match timeout(PATIENCE, self.store_batch(&batch)).await {
                Ok(Ok(triggered)) => {
                    stored += batch.len();
                    if stored >= MANY {
                        stored = 0;
                        self.wakeups.log();
                    }
                    answers.answer(batch.drain(..).zip(triggered).collect()).await;
                }
                Ok(Err(error)) if is_away(&error) || (batch.len() == 1 && !error.is_conflict()) => {
                    answer_all(&mut batch, error);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, triggers = batch.len(), "triggers that came together are stored one by one");
                    self.store_one_by_one(&mut batch, &answers).await;
                }
                Err(_) => answer_all(&mut batch, given_up("the database does not answer in time")),
            }
        }
    }

    async fn store_one_by_one(&self, batch: &mut Vec<Waiting>, answers: &Answers) {
        for waiting in batch.drain(..) {
            let alone = [waiting];
            let stored = timeout(PATIENCE, again(|| self.store_batch(&alone))).await;
            let stored = stored.unwrap_or_else(|_| Err(given_up("the database does not answer in time")));
            let [waiting] = alone;
            match stored {
                Ok(mut triggered) => answers.answer(vec![(waiting, triggered.pop().flatten())]).await,
                Err(error) => waiting.answer(Err(error)),
            }
        }
    }

    /// Stores triggers in one transaction, decided on one after the other; returns what each has come to.
    async fn store_batch(&self, batch: &[Waiting]) -> Result<Vec<Option<Triggered>>, StoreError> {
        let _turn = self.turn().await?;
        let transaction = Self::begin_on(&self.bursts).await?;
        let mut facts = Facts::read(&transaction, batch).await?;
        let mut outcome = Outcome::new(&mut facts);
        let triggered: Vec<_> =
            batch.iter().map(|waiting| take(waiting, &facts, &mut outcome)).collect::<Result<_, _>>()?;
        let rings = outcome.store(&transaction).await?;
        if rings == Rings::default() {
            transaction.commit().await?;
        } else {
            self.commit(transaction, rings).await?;
        }
        crash_point("store.triggered");
        Ok(triggered)
    }

    /// Waits until it is the turn of triggers: who holds SQLite's writer keeps all others in this process waiting, in order. Those
    /// that met in the file would try again and again.
    async fn turn(&self) -> Result<Option<PoolConnection<Sqlite>>, StoreError> {
        if self.is_shared() {
            return Ok(None);
        }
        let turn = self.writer.get_sqlite_connection_pool().acquire().await;
        Ok(Some(turn.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))?))
    }
}

/// Runs what talks to SQLite's own thread all the time on another of its own. Among the tasks of a runtime it would be woken after
/// those that its own answers have woken, half a dozen times for each transaction.
fn on_a_thread(storing: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("triggers".to_owned()).spawn(move || runtime.block_on(storing))?;
    Ok(())
}

/// Says how many of those that wait are stored next, where so many were stored before. Those who were answered last are about to
/// come again: with half of all in each transaction, one half is stored while the other is answered and asks anew.
fn at_once(waiting: usize, before: usize) -> usize {
    waiting.min((waiting + before).div_ceil(2)).clamp(1, AT_ONCE).max(waiting.min(FEW))
}

/// Tells failures that another try would only wait for again.
fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_)) && !error.is_conflict()
}

/// Answers all with one failure.
pub(super) fn answer_all(batch: &mut Vec<Waiting>, error: StoreError) {
    tracing::warn!(%error, triggers = batch.len(), "triggers cannot be stored");
    let last = batch.pop();
    for waiting in batch.drain(..) {
        let copy = match &error {
            StoreError::Unavailable(cause) => StoreError::Unavailable(cause.clone()),
            other => given_up(&other.to_string()),
        };
        waiting.answer(Err(copy));
    }
    if let Some(waiting) = last {
        waiting.answer(Err(error));
    }
}

pub(super) fn given_up(why: &str) -> StoreError {
    StoreError::Unavailable(DbErr::Custom(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_stored_by_halves_and_whoever_is_alone_at_once() {
        assert_eq!(at_once(1, 0), 1);
        assert_eq!(at_once(FEW, 0), FEW);
        assert_eq!(at_once(10_000, 0), AT_ONCE);
        // Sixty-four who come again and again: from wherever they begin, they come to halves.
        for first in [1, 20, 57, 64] {
            let (mut before, mut waiting) = (first, 64 - first);
            for _ in 0..10 {
                let stored = at_once(waiting.max(1), before);
                (waiting, before) = (64 - stored, stored);
            }
            assert!(before.abs_diff(32) <= 1, "{before}");
        }
    }
}
