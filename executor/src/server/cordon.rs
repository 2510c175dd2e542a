//! Watches whether the executor's machine is to be given anything new.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::occupancy::Occupancy;
use crate::engine::Engine;

/// How often the engine is asked.
const EVERY: Duration = Duration::from_secs(3);

/// Takes nothing new while the engine says that the machine is cordoned, until it is stopped. An engine that does not answer
/// changes nothing.
pub async fn watch_over(engine: Arc<dyn Engine>, occupancy: Occupancy, stop: CancellationToken) {
    let asking = async {
        loop {
            if let Ok(Ok(cordoned)) = timeout(EVERY * 2, engine.is_cordoned()).await
                && occupancy.cordon(cordoned)
            {
                if cordoned {
                    tracing::info!("the machine is cordoned: nothing new is taken; what runs goes on");
                } else {
                    tracing::info!("the machine is not cordoned any more: builds are taken again");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    stop.run_until_cancelled(asking).await;
}
