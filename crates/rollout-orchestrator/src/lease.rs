//! A worker's lease as the worker itself sees it: renewed by a task of its own, and fenced by time that cannot be set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_store::{LeaseError, LeaseTimes, Store, StoreError};
use fleet_types::{Planted, WorkerId, planted};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::outage::Outage;

/// A moment on the clock that timers use, and for how long the machine had slept by then. A laptop that was closed for an
/// hour must not believe that its lease is a second old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    running: Instant,
    slept: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            running: Instant::now(),
            slept: slept(),
        }
    }

    fn elapsed(&self) -> Duration {
        let slept = slept().saturating_sub(self.slept);
        // The two clocks cannot be read at once: less than a second is no sleep. So time that is simulated stays so.
        self.running.elapsed() + Duration::from_secs(slept.as_secs())
    }
}

/// For how long this machine has slept since it started.
#[cfg(target_os = "linux")]
fn slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let since_boot = read(ClockId::Boottime);
    since_boot.saturating_sub(read(ClockId::Monotonic))
}

#[cfg(not(target_os = "linux"))]
fn slept() -> Duration {
    Duration::ZERO
}

/// The worker may send nothing now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fenced {
    /// Another process may own its hosts by now.
    #[error("the lease of this process is lost")]
    Lost,
    /// It may still own them, but cannot know.
    #[error("the lease of this process could not be renewed for {seconds} s")]
    Stale { seconds: u64 },
}

/// The lease of one registration of one process. Once lost it stays lost; the process registers anew.
#[derive(Debug)]
pub(crate) struct Lease {
    worker: WorkerId,
    times: LeaseTimes,
    renewed: Mutex<Moment>,
    lost: CancellationToken,
    refusals: AtomicU64,
    outage: Arc<Outage>,
}

impl Lease {
    /// `since` must be read before the store was asked: the store counts from no later than its answer.
    pub(crate) fn new(
        worker: WorkerId,
        times: LeaseTimes,
        since: Moment,
        outage: Arc<Outage>,
    ) -> Self {
        Self {
            worker,
            times,
            renewed: Mutex::new(since),
            lost: CancellationToken::new(),
            refusals: AtomicU64::new(0),
            outage,
        }
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Whether a command may be sent now.
    pub(crate) fn check(&self) -> Result<(), Fenced> {
        let age = self.age();
        let fenced = if self.lost.is_cancelled() {
            Fenced::Lost
        } else if age >= self.times.fence && !planted(Planted::NoFenceOfItsOwn) {
            Fenced::Stale {
                seconds: age.as_secs(),
            }
        } else {
            return Ok(());
        };
        self.refusals.fetch_add(1, Ordering::Relaxed);
        Err(fenced)
    }

    fn age(&self) -> Duration {
        let renewed = self.renewed.lock();
        renewed.unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Whether the store can be used now.
    pub(crate) fn outage(&self) -> &Outage {
        &self.outage
    }

    /// How often [`Lease::check`] refused, so that an attempt that was stopped by it is told from a faulty one.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn lose(&self) {
        self.lost.cancel();
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Returns once the lease is lost.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    fn renewed(&self, at: Moment) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Renews the lease until it is lost or the handle is dropped. A task of its own, so that no slow call delays it.
///
/// A lease that could not be renewed for its whole length is lost without asking: connections must be closed before
/// others may take the slots that they stand for.
pub(crate) fn keep(store: Arc<dyn Store>, lease: Arc<Lease>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::select! {
            biased;
            () = renew_until_lost(&*store, &lease) => {}
            () = run_out(&lease) => {
                tracing::warn!(worker = %lease.worker, "the lease ran out");
                lease.lose();
            }
        }
    }))
}

async fn renew_until_lost(store: &dyn Store, lease: &Lease) {
    let every = lease.times.renew;
    let mut pause = every;
    while !lease.is_lost() {
        sleep(pause).await;
        pause = if renew(store, lease).await {
            every
        } else {
            every / 5
        };
    }
}

async fn run_out(lease: &Lease) {
    loop {
        let left = lease.times.lease.saturating_sub(lease.age());
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

/// Renews once. False: it is worth trying again soon.
async fn renew(store: &dyn Store, lease: &Lease) -> bool {
    let before = Moment::now();
    match timeout(lease.times.fence, store.worker_renew(lease.worker)).await {
        Ok(Ok(())) => {
            lease.renewed(before);
            lease.outage.over();
        }
        // This program must not work on the store any more: who registers anew is told so, and ends.
        Ok(Err(LeaseError::Store(error @ StoreError::TooNew { .. }))) => {
            lease.outage.note(&error);
            lease.lose();
        }
        Ok(Err(LeaseError::Store(error))) => {
            lease.outage.note(&error);
            return false;
        }
        Ok(Err(LeaseError::Lost { .. })) if planted(Planted::LostLeaseGoesOn) => {
            lease.renewed(before);
        }
        Ok(Err(error)) => {
            tracing::warn!(worker = %lease.worker, %error, "the lease is lost");
            lease.lose();
        }
        Err(_) => {
            lease.outage.note_silence();
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_fence_falls_before_the_lease_ends_and_lifts_with_a_renewal() {
        let lease = Lease::new(
            WorkerId(Uuid::now_v7()),
            LeaseTimes::default(),
            Moment::now(),
            Arc::default(),
        );
        assert_eq!(lease.check(), Ok(()));
        tokio::time::advance(Duration::from_millis(19_999)).await;
        assert_eq!(lease.check(), Ok(()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(lease.check(), Err(Fenced::Stale { seconds: 20 }));
        lease.renewed(Moment::now());
        assert_eq!(lease.check(), Ok(()));
        lease.lose();
        assert_eq!(lease.check(), Err(Fenced::Lost));
        lease.renewed(Moment::now());
        assert_eq!(lease.check(), Err(Fenced::Lost), "lost stays lost");
        assert_eq!(lease.refusals(), 3);
    }
}
