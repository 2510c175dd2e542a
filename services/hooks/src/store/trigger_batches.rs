//! Triggers that come together are stored together: a burst shares one transaction, and each is answered after its commit.
//!
//! One task takes all that wait, decides on one after the other within one transaction, and commits. A lone trigger waits for
//! nobody: it is a batch of its own. Where a batch fails, each of its triggers is tried alone, so that what is wrong with one is
//! that one's answer only. Whoever has left does not undo what was begun.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use grapnel_domain::id::{DeploymentId, HookId};
use grapnel_runtime::crash_point;
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait as _},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Store, StoreError,
    again::again,
    entity::{hook, hook_token, trigger},
    ledger,
    notices::Rings,
    triggers::{Named, NewTrigger, Triggered, store_trigger},
};

/// How many triggers share a transaction at most.
const AT_ONCE: usize = 256;

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
}

/// Where triggers wait. The task that stores them ends with the last of the store's clones.
#[derive(Clone, Debug, Default)]
pub(super) struct TriggerQueue(Arc<OnceLock<mpsc::Sender<Waiting>>>);

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
            self.queue().send(waiting).await.map_err(drop)?;
            answered.await.map_err(drop)
        };
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(())) => Err(given_up("the database is closed")),
            Err(_) => Err(given_up("the database does not answer in time")),
        }
    }

    fn queue(&self) -> &mpsc::Sender<Waiting> {
        self.triggers.0.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            // Without the queue in it: the task would keep itself alive.
            let store = Self { triggers: TriggerQueue::default(), ..self.clone() };
            tokio::spawn(store.store_triggers(receiver));
            sender
        })
    }

    async fn store_triggers(self, mut queue: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, AT_ONCE).await > 0 {
            // As they were made: of one hook's the later one takes the earlier one's place.
            batch.sort_by_key(|waiting| waiting.new.deployment);
            match timeout(PATIENCE, self.store_batch(&batch)).await {
                Ok(Ok(triggered)) => {
                    for (waiting, triggered) in batch.drain(..).zip(triggered) {
                        // Nobody listens where the caller has left; what was stored stands.
                        let _ = waiting.answer.send(Ok(triggered));
                    }
                }
                Ok(Err(error)) if is_away(&error) || (batch.len() == 1 && !error.is_conflict()) => {
                    answer_all(&mut batch, error);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, triggers = batch.len(), "triggers that came together are stored one by one");
                    self.store_one_by_one(&mut batch).await;
                }
                Err(_) => answer_all(&mut batch, given_up("the database does not answer in time")),
            }
        }
    }

    async fn store_one_by_one(&self, batch: &mut Vec<Waiting>) {
        for waiting in batch.drain(..) {
            let alone = [waiting];
            let stored = timeout(PATIENCE, again(|| self.store_batch(&alone))).await;
            let stored = stored.unwrap_or_else(|_| Err(given_up("the database does not answer in time")));
            let [waiting] = alone;
            let _ = waiting.answer.send(stored.map(|mut triggered| triggered.pop().flatten()));
        }
    }

    /// Stores triggers in one transaction, one after the other; returns what each has come to.
    async fn store_batch(&self, batch: &[Waiting]) -> Result<Vec<Option<Triggered>>, StoreError> {
        let transaction = self.begin().await?;
        if batch.len() > 1 {
            lock_hooks(&transaction, batch).await?;
        }
        let (mut triggered, mut gathered) = (Vec::with_capacity(batch.len()), Gathered::default());
        for waiting in batch {
            if waiting.new.idempotency_key.is_some() {
                // It may have been seen in this very batch.
                gathered.store_rows(&transaction).await?;
            }
            triggered.push(store_trigger(&transaction, waiting, &mut gathered).await?);
        }
        gathered.store_rows(&transaction).await?;
        gathered.store_uses(&transaction).await?;
        if gathered.changed.is_empty() {
            transaction.commit().await?;
        } else {
            self.commit(transaction, Rings::changed(gathered.changed.into_iter().collect())).await?;
        }
        crash_point("store.triggered");
        Ok(triggered)
    }
}

/// What a batch stores at its end, all of a kind with one statement.
#[derive(Default)]
pub(super) struct Gathered {
    /// The deployments that somebody may wait for.
    pub changed: BTreeSet<DeploymentId>,
    /// Rows of the ledger.
    pub rows: Vec<trigger::Model>,
    /// How often each hook and each token was used, and when last.
    hooks: BTreeMap<String, Used>,
    tokens: BTreeMap<String, Used>,
}

type Used = (i64, DateTime<Utc>);

impl Gathered {
    /// Notes who still calls, whatever comes of it: after a rotation that is how one sees when the old URL can go.
    pub fn used(&mut self, hook: &str, token: Option<&str>, at: DateTime<Utc>) {
        let note = |uses: &mut BTreeMap<String, Used>, id: &str| {
            let (count, last) = uses.entry(id.to_owned()).or_insert((0, at));
            *count += 1;
            *last = std::cmp::max(*last, at);
        };
        note(&mut self.hooks, hook);
        if let Some(token) = token {
            note(&mut self.tokens, token);
        }
    }

    async fn store_rows(&mut self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        ledger::insert(transaction, std::mem::take(&mut self.rows)).await
    }

    async fn store_uses(&self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        for (id, (count, at)) in &self.hooks {
            hook::Entity::update_many()
                .col_expr(hook::Column::LastTriggeredAt, Expr::value(*at))
                .col_expr(hook::Column::TriggerCount, Expr::col(hook::Column::TriggerCount).add(*count))
                .filter(hook::Column::Id.eq(id))
                .exec(transaction)
                .await?;
        }
        for (id, (count, at)) in &self.tokens {
            hook_token::Entity::update_many()
                .col_expr(hook_token::Column::LastUsedAt, Expr::value(*at))
                .col_expr(hook_token::Column::UseCount, Expr::col(hook_token::Column::UseCount).add(*count))
                .filter(hook_token::Column::Id.eq(id))
                .exec(transaction)
                .await?;
        }
        Ok(())
    }
}

/// Locks the hooks of a batch in the order of their ids: two processes that store batches at once wait for each other and not in
/// a circle.
async fn lock_hooks(transaction: &DatabaseTransaction, batch: &[Waiting]) -> Result<(), StoreError> {
    let mut hooks = BTreeSet::new();
    let mut hashes = BTreeSet::new();
    for waiting in batch {
        match &waiting.named {
            Named::Hook { hook, .. } => drop(hooks.insert(hook.to_string())),
            Named::Address { token, .. } => drop(hashes.insert(token.as_str().to_owned())),
        }
    }
    if !hashes.is_empty() {
        let of_tokens: Vec<String> = hook_token::Entity::find()
            .select_only()
            .column(hook_token::Column::HookId)
            .filter(hook_token::Column::Hash.is_in(hashes))
            .into_tuple()
            .all(transaction)
            .await?;
        hooks.extend(of_tokens);
    }
    let locked: Vec<String> = hook::Entity::find()
        .select_only()
        .column(hook::Column::Id)
        .filter(hook::Column::Id.is_in(hooks))
        .order_by_asc(hook::Column::Id)
        .lock_exclusive()
        .into_tuple()
        .all(transaction)
        .await?;
    drop(locked);
    Ok(())
}

/// Tells failures that another try would only wait for again.
fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_)) && !error.is_conflict()
}

/// Answers all with one failure.
fn answer_all(batch: &mut Vec<Waiting>, error: StoreError) {
    tracing::warn!(%error, triggers = batch.len(), "triggers cannot be stored");
    let last = batch.pop();
    for waiting in batch.drain(..) {
        let copy = match &error {
            StoreError::Unavailable(cause) => StoreError::Unavailable(cause.clone()),
            other => given_up(&other.to_string()),
        };
        let _ = waiting.answer.send(Err(copy));
    }
    if let Some(waiting) = last {
        let _ = waiting.answer.send(Err(error));
    }
}

fn given_up(why: &str) -> StoreError {
    StoreError::Unavailable(DbErr::Custom(why.to_owned()))
}
