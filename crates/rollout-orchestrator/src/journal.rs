//! The engine's journal, kept in the store under the lease on the host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::{HostLease, LeaseError, Store};
use fleet_types::{Epoch, HostEvent, StepId};
use tokio::time::sleep;
use update_engine::{Journal, Stopped};

use crate::lease::Lease;
use crate::places::Seat;

/// Why a journal stopped its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopCause {
    /// The store did not answer for too long, or this process could not renew its lease. Nothing is wrong with the host
    /// or the attempt.
    Outage,
    /// The host is no longer ours by what the store has on record.
    HostLost,
    /// The attempt recorded what cannot be: a fault of this program.
    Illegal,
}

/// Ours on a host, as it is now: an attempt may raise its epoch, and whoever starts it anew must know. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SharedHostLease(Arc<Mutex<HostLease>>);

impl SharedHostLease {
    pub(crate) fn new(lease: HostLease) -> Self {
        Self(Arc::new(Mutex::new(lease)))
    }

    pub(crate) fn get(&self) -> HostLease {
        self.lock().clone()
    }

    fn set(&self, lease: HostLease) {
        *self.lock() = lease;
    }

    fn lock(&self) -> MutexGuard<'_, HostLease> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes an attempt's events to the store, each before the engine acts on it.
#[derive(Debug)]
pub(crate) struct StoreJournal {
    store: Arc<dyn Store>,
    lease: Arc<Lease>,
    host: SharedHostLease,
    /// Left when the host settles.
    seat: Arc<Seat>,
    stopped: Option<StopCause>,
}

impl StoreJournal {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        lease: Arc<Lease>,
        host: SharedHostLease,
        seat: Arc<Seat>,
    ) -> Self {
        Self {
            store,
            lease,
            host,
            seat,
            stopped: None,
        }
    }

    /// Why it stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<StopCause> {
        self.stopped
    }

    /// The store may take its time; what it then says is only worth something if the lease still holds.
    fn vouch(&mut self) -> Result<(), Stopped> {
        self.lease
            .check()
            .map_err(|fenced| self.stop(StopCause::Outage, fenced.to_string()))
    }

    fn stop(&mut self, cause: StopCause, why: String) -> Stopped {
        self.stopped = Some(cause);
        Stopped(why)
    }

    /// After a write that failed: `Ok` means that it is worth trying again.
    async fn consider(&mut self, error: LeaseError, retries: &mut Retries) -> Result<(), Stopped> {
        match error {
            LeaseError::Lost { .. } => Err(self.stop(StopCause::HostLost, error.to_string())),
            LeaseError::Store(ref failed) => {
                self.lease.outage().note(failed);
                if let Err(fenced) = self.lease.check() {
                    return Err(self.stop(StopCause::Outage, format!("{error}; {fenced}")));
                }
                retries.pause().await;
                Ok(())
            }
            // An earlier try may have taken effect although its answer was lost, and the event cannot come twice.
            _ if retries.any() => Err(self.stop(StopCause::Outage, error.to_string())),
            _ => Err(self.stop(StopCause::Illegal, error.to_string())),
        }
    }
}

/// The tries of one write.
#[derive(Default)]
struct Retries(u32);

impl Retries {
    fn any(&self) -> bool {
        self.0 > 0
    }

    /// Waits 50 ms, then twice as long each time, up to a second and a half.
    async fn pause(&mut self) {
        sleep(Duration::from_millis(50) * 2_u32.pow(self.0.min(5))).await;
        self.0 = self.0.saturating_add(1);
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn record(&mut self, event: &HostEvent) -> Result<(), Stopped> {
        let mutating = matches!(event, HostEvent::StepStarted { step, .. } if step.is_mutating());
        if mutating {
            self.vouch()?;
        }
        let host = self.host.get();
        let mut retries = Retries::default();
        while let Err(error) = self.store.attempt_record(&host, event).await {
            self.consider(error, &mut retries).await?;
        }
        if let HostEvent::StepStarted {
            step: StepId::Settle | StepId::RollbackSettle,
            ..
        } = event
        {
            self.seat.leave();
        }
        if mutating { self.vouch() } else { Ok(()) }
    }

    async fn raise(&mut self, above: Epoch) -> Result<Epoch, Stopped> {
        let mut retries = Retries::default();
        loop {
            let host = self.host.get();
            match self.store.attempt_raise(&host, above).await {
                Ok(raised) => {
                    let epoch = raised.epoch;
                    self.host.set(raised);
                    return Ok(epoch);
                }
                Err(error) => self.consider(error, &mut retries).await?,
            }
        }
    }
}
