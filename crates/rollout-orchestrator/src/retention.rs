//! Retention: what steps printed is removed some days after the end of their rollout. What came of them stays for ever.
//!
//! It needs no worker and no lease, and runs beside everything else: in small transactions with pauses between them, so that
//! no claim and no renewal waits long. A store that fails is tried again the next time, and no more is made of it here; those
//! who work on hosts notice by themselves.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Outputs, StoreError};
use tokio::time::sleep;

/// Between two looks whether anything has become old enough.
const EVERY: Duration = Duration::from_secs(3600);
/// Steps in one transaction at most; of long outputs the store takes fewer.
const AT_ONCE: u32 = 500;
/// Between two transactions. On SQLite another process that waits for its turn looks every 25 ms at first.
const PAUSE: Duration = Duration::from_millis(50);

/// Removes what steps printed long ago. A cheap handle.
#[derive(Clone, Debug)]
pub struct Retention {
    outputs: Arc<dyn Outputs>,
    kept_days: NonZeroU32,
}

impl Retention {
    /// Keeps what steps printed for so many days after the end of their rollout.
    #[must_use]
    pub fn new(outputs: Arc<dyn Outputs>, kept_days: NonZeroU32) -> Self {
        Self { outputs, kept_days }
    }

    /// Removes what is old now, and again about every hour, for ever. `removed` is told of how many steps, after each
    /// transaction; it must not block. Dropping the future begins no further transaction.
    pub async fn run(&self, removed: impl Fn(u32)) {
        loop {
            if let Err(error) = self.remove(&removed).await {
                tracing::warn!(%error, "old outputs of steps could not be removed; trying again in an hour");
            }
            sleep(EVERY).await;
        }
    }

    /// Removes what is old now.
    ///
    /// # Errors
    ///
    /// When the store fails. What was removed by then stays removed; whoever comes next goes on from there.
    pub async fn run_once(&self) -> Result<(), StoreError> {
        self.remove(&|_| {}).await
    }

    async fn remove(&self, removed: &impl Fn(u32)) -> Result<(), StoreError> {
        let mut count = Count {
            outputs: 0,
            kept_days: self.kept_days,
        };
        loop {
            let done = self.outputs.outputs_remove(self.kept_days, AT_ONCE).await?;
            count.outputs += u64::from(done.outputs);
            removed(done.outputs);
            if !done.more {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }
}

/// Tells the log how many outputs were removed, however that ends.
struct Count {
    outputs: u64,
    kept_days: NonZeroU32,
}

impl Drop for Count {
    fn drop(&mut self) {
        if self.outputs > 0 {
            let (outputs, days) = (self.outputs, self.kept_days);
            tracing::info!(outputs, days, "old outputs of steps were removed");
        }
    }
}
