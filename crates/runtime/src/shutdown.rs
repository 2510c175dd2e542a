//! The wish to end, from a signal to every task.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The wish that the process ends. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    by_a_person: Arc<AtomicBool>,
}

impl Shutdown {
    /// Returns the token that is cancelled by it.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Makes it known.
    pub fn ask(&self) {
        self.token.cancel();
    }

    /// Makes it known, and that nothing is to go on.
    pub fn ask_by_a_person(&self) {
        self.by_a_person.store(true, Ordering::Release);
        self.ask();
    }

    /// Tells whether a person has ended the process, who wants nothing of it to go on; otherwise whoever keeps it running
    /// will start it again.
    pub fn is_by_a_person(&self) -> bool {
        self.by_a_person.load(Ordering::Acquire)
    }

    /// Returns the same wish for a part of the process that is asked later, by whoever calls [`Shutdown::ask`] on it.
    #[must_use]
    pub fn later(&self) -> Self {
        Self { token: CancellationToken::new(), by_a_person: self.by_a_person.clone() }
    }
}

/// Returns the wish that the first SIGTERM makes known, or the first SIGINT, which a person sends. The second ends the
/// process at once, with exit code 130.
///
/// # Errors
/// The process may not listen to signals.
pub fn on_signal() -> std::io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::default();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        loop {
            let by_a_person = tokio::select! {
                _ = terminate.recv() => false,
                _ = interrupt.recv() => true,
            };
            if asked.token.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("stopping; a second signal ends at once");
            if by_a_person { asked.ask_by_a_person() } else { asked.ask() }
        }
    });
    Ok(shutdown)
}
