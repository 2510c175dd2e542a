//! Whole transactions that are run again.

use super::StoreError;

/// How often a transaction is run that others are preferred to.
const RUNS: u32 = 4;

/// Runs a whole transaction, and again where the database has ended it because it and another waited for each other. Nothing of
/// what was ended is stored, so that nothing is done twice.
pub(super) async fn again<T, F>(run: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut runs = 1;
    loop {
        match run().await {
            Err(error) if error.is_conflict() && runs < RUNS => {
                tracing::debug!(runs, "a transaction is run again");
                runs += 1;
            }
            done => return done,
        }
    }
}
