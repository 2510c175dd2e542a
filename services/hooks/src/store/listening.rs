//! Hearing what other processes of one PostgreSQL have stored.
//!
//! LISTEN has a connection of its own. It may look alive and be dead: behind a pooler that gives it to another client's
//! transaction, or after a fail-over. So a notice of our own is sent through the pool at the start, after each reconnect, and
//! again and again, and has to come back. Where it does not, everybody finds what there is by looking now and then, as they do
//! anyway.

use std::{sync::atomic::Ordering, time::Duration};

use grapnel_runtime::CancellationToken;
use sea_orm::{
    DbErr,
    sqlx::{
        self,
        postgres::{PgListener, PgPoolOptions},
    },
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Store,
    notices::{CHANNEL, Notice, Rings},
};

/// How long a listener waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    /// How often it is tried whether anything is heard.
    pub try_every: Duration,
    /// How long a notice of our own may take to come back, and a connection to be made.
    pub answer: Duration,
    /// How long to wait before the next connection after one that was lost; twice as long each time.
    pub first: Duration,
    /// The longest of these waits.
    pub longest: Duration,
}

impl Default for Hearing {
    fn default() -> Self {
        Self {
            try_every: Duration::from_secs(30),
            answer: Duration::from_secs(5),
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
        }
    }
}

/// Why nothing is heard any more.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error("the connection that listens cannot be used")]
    Connection(#[from] sqlx::Error),
    #[error("the connection that listens was lost")]
    Lost,
    #[error("the connection that listens cannot be made in time")]
    Slow,
    #[error(
        "what this process tells itself does not come back; is there a pooler of transactions in between?"
    )]
    Silent,
    #[error("nothing can be told")]
    Told(#[from] DbErr),
}

impl Store {
    /// Hears what other processes store, until it is stopped; returns at once where no other process can. It makes the
    /// connection anew whenever that is lost.
    pub async fn listen(self, hearing: Hearing, stopping: CancellationToken) {
        if !self.is_shared() {
            return;
        }
        let mut wait = hearing.first;
        let mut complained = false;
        while let Some(deaf) = stopping.run_until_cancelled(self.hear(&hearing)).await {
            if self.wakeups.hears.swap(false, Ordering::Relaxed) {
                wait = hearing.first;
                complained = false;
            }
            // Said once, and not at every try.
            if complained {
                tracing::debug!(error = %deaf, "other processes are still not heard");
            } else {
                complained = true;
                let error = &deaf as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "other processes are not heard; what they store is found by looking every few seconds"
                );
            }
            stopping.run_until_cancelled(tokio::time::sleep(wait)).await;
            wait = (wait * 2).min(hearing.longest);
        }
        self.wakeups.hears.store(false, Ordering::Relaxed);
    }

    /// Tells whether changes of other processes are heard. What is not heard is found later, by looking.
    pub fn hears_others(&self) -> bool {
        self.wakeups.hears.load(Ordering::Relaxed)
    }

    /// Listens for as long as anything is heard.
    async fn hear(&self, hearing: &Hearing) -> Deaf {
        match self.listener(hearing).await {
            Ok(mut listener) => {
                let Err(deaf) = self.hear_with(&mut listener, hearing).await;
                deaf
            }
            Err(deaf) => deaf,
        }
    }

    /// Makes the connection, apart from the pool: it would keep one of those for good.
    async fn listener(&self, hearing: &Hearing) -> Result<PgListener, Deaf> {
        let options = self.writer.get_postgres_connection_pool().connect_options();
        let options = options.as_ref().clone().application_name("grapnel listens");
        let connecting = async {
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(hearing.answer)
                .max_lifetime(None)
                .idle_timeout(None)
                .connect_with(options)
                .await?;
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        timeout(hearing.answer, connecting).await.map_err(|_| Deaf::Slow)?
    }

    async fn hear_with(
        &self,
        listener: &mut PgListener,
        hearing: &Hearing,
    ) -> Result<std::convert::Infallible, Deaf> {
        loop {
            // A notice to nobody, that comes back to us.
            let nobody = Rings::default();
            let told = timeout(hearing.answer, self.notify(&self.writer, &nobody)).await;
            told.map_err(|_| Deaf::Slow)??;
            self.hear_ourselves(listener, Instant::now() + hearing.answer).await?;
            if !self.wakeups.hears.swap(true, Ordering::Relaxed) {
                tracing::info!("other processes are heard");
                // What they have stored while nobody listened was told to nobody.
                self.wakeups.ring_all();
            }
            let until = Instant::now() + hearing.try_every;
            while let Ok(heard) = timeout_at(until, listener.try_recv()).await {
                self.pass_on(heard?.ok_or(Deaf::Lost)?.payload());
            }
        }
    }

    /// Hears notices until one of our own comes back.
    async fn hear_ourselves(&self, listener: &mut PgListener, until: Instant) -> Result<(), Deaf> {
        loop {
            let heard = timeout_at(until, listener.try_recv()).await.map_err(|_| Deaf::Silent)?;
            if self.pass_on(heard?.ok_or(Deaf::Lost)?.payload()) {
                return Ok(());
            }
        }
    }

    /// Rings for what a notice says; returns whether it is one of our own, for which has been rung.
    fn pass_on(&self, payload: &str) -> bool {
        let Ok(notice) = payload.parse::<Notice>() else {
            return false;
        };
        let ours = notice.sender == self.wakeups.sender();
        if !ours {
            self.wakeups.ring(&notice.rings);
        }
        ours
    }
}
