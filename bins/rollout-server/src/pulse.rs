//! Looks every second whether this process is alive on the store, and tells those who watch it.

use std::time::Duration;

use fleet_store::{Rollouts, StoreError, Workers};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::compose::Parts;
use crate::{metrics, systemd};

const EVERY: Duration = Duration::from_secs(1);
/// Numbers of the whole fleet cost more than a look at oneself.
const NUMBERS_EVERY: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(5);

/// Goes on until cancelled.
pub(crate) async fn beat(parts: &Parts, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    for beat in 0_u32.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let looking = async {
            look(parts).await;
            if beat % NUMBERS_EVERY == 0 {
                count(parts, &mut told).await;
                parts.process.sum_up_numbers();
            }
        };
        tokio::select! {
            // A database that does not answer takes its time, which nobody has at the end.
            () = stop.cancelled() => return,
            () = looking => {}
        }
        systemd::watchdog();
    }
}

/// One look: does the store answer, and does it know us as alive? One call that fails says little, so that it is asked
/// once more.
pub(crate) async fn look(parts: &Parts) {
    let me = parts.process.worker_id();
    let ask = || timeout(PATIENCE, parts.store.worker_alive());
    let mut answer = ask().await;
    if let Ok(Err(_)) = answer {
        answer = ask().await;
    }
    parts.process.note(match answer {
        Ok(Ok(alive)) if alive.iter().any(|worker| worker.id == me) => Ok(()),
        Ok(Ok(_)) => Err("the worker of this process is not registered as alive".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store does not answer".to_owned()),
    });
}

/// `told`: the log has it already that the fleet cannot be counted.
async fn count(parts: &Parts, told: &mut bool) {
    let asked = async {
        let status = parts.store.status().await?;
        let now = crate::setup::now();
        let stuck = metrics::fleet::stuck(parts.store.as_ref(), &status, now).await?;
        Ok::<_, StoreError>((status, stuck))
    };
    let cause = match timeout(PATIENCE, asked).await {
        Ok(Ok((status, stuck))) => {
            metrics::fleet::show(&status, stuck);
            parts
                .process
                .show_numbers(metrics::fleet::versions(&status));
            systemd::status(&metrics::fleet::in_words(&status));
            *told = false;
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the store does not answer".to_owned(),
    };
    if !std::mem::replace(told, true) {
        tracing::warn!(cause, "the fleet could not be counted; trying again");
    }
}
