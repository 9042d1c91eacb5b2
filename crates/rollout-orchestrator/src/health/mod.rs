//! The sweep: every host's service is looked at about once a minute, and started again when it is down.
//!
//! It runs beside a [`Worker`], under whose lease it opens connections. Rollouts come first: while one is at work, all
//! processes on the store make one check at a time. A host in `updating` is never touched, for its lease is the rollout's.

mod check;
mod judge;
mod mend;
mod tell;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fleet_store::{Due, Health, LeaseError, RestartLimit, StoreError, Turns};
use fleet_types::{HealthState, HostId, HostName, RolloutState};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::check::{Check, left_alone};
use self::tell::Tell;
use crate::orchestrator::Orchestrator;
use crate::places::Places;
use crate::slots::{Limit, SlotTransport, Slots};
use crate::worker::Worker;

/// How often it is looked whether a host's time has come, when none had.
const TICK: Duration = Duration::from_secs(1);
/// How often a store that does not answer is asked again for one host.
const TRIES: u32 = 5;

/// How the health checker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepSettings {
    /// Each host is looked at this often, and up to a tenth of it later.
    pub every: Duration,
    /// Whether [`HealthSweeper::run`] starts a service again that is down.
    pub fix: bool,
    /// How often one host's service is restarted at most.
    pub limit: RestartLimit,
    /// After a restart: how long the service must stay up to count as active.
    pub settle: Duration,
    /// For how long after an update a service is looked at only: it may still be starting.
    pub quiet: Duration,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            fix: true,
            limit: RestartLimit::default(),
            settle: Duration::from_secs(5),
            quiet: Duration::from_secs(60),
        }
    }
}

/// What came of one look at one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The host.
    pub host: HostName,
    /// How it is.
    pub health: HealthState,
    /// More, for people: one printable line.
    pub message: String,
    /// What was done.
    pub done: CheckDone,
}

/// What a check did beside looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDone {
    /// Nothing.
    Looked,
    /// The service was restarted, whether that helped or not.
    Restarted,
    /// Nothing: it was restarted as often as allowed already.
    UsedUp,
    /// Nothing, and nothing was written down: a rollout took the host on meanwhile, or it could not be asked now. Its
    /// health is told as `unknown`.
    LeftAlone,
}

/// Why no sweep could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker beside it has lost its lease or has ended.
    #[error("the checks cannot go on: {what}")]
    NoLease {
        /// What is known of it.
        what: String,
    },
}

impl From<LeaseError> for SweepError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => Self::Store(error),
            other => Self::NoLease {
                what: other.to_string(),
            },
        }
    }
}

/// How many checks may be made at once.
#[derive(Clone, Copy, Debug)]
struct Width {
    checks: u32,
    /// There is a rollout that is not over, or may be.
    beside_rollout: bool,
}

impl Width {
    fn places(self) -> usize {
        usize::try_from(self.checks).unwrap_or(usize::MAX)
    }
}

/// Looks after services beside a [`Worker`]. A cheap handle.
#[derive(Clone, Debug)]
pub struct HealthSweeper {
    orchestrator: Orchestrator,
    health: Arc<dyn Health>,
    registration: watch::Receiver<Slots>,
    places: Places,
    /// How many checks [`HealthSweeper::run`] may make at once, over all processes on the store.
    width: Arc<AtomicU32>,
    settings: SweepSettings,
    tell: Tell,
}

impl HealthSweeper {
    /// Beside this worker. `health` is the store that the orchestrator works on.
    #[must_use]
    pub fn beside(
        worker: &Worker,
        orchestrator: &Orchestrator,
        health: Arc<dyn Health>,
        settings: SweepSettings,
    ) -> Self {
        Self {
            orchestrator: orchestrator.clone(),
            health,
            registration: worker.registration(),
            places: Places::new(orchestrator.settings().concurrency, Arc::default()),
            width: Arc::default(),
            settings,
            tell: Tell::default(),
        }
    }

    /// Tells of each check once it is over, whoever asked for it. `told` must not block.
    #[must_use]
    pub fn telling(self, told: impl Fn(&Checked) + Send + Sync + 'static) -> Self {
        let tell = Tell::to(told);
        Self { tell, ..self }
    }

    /// Sweeps until the worker has ended. Dropping the future begins no further check; one that is under way comes to
    /// its end.
    pub async fn run(&self) {
        let mut registration = self.registration.clone();
        let mut busy = JoinSet::new();
        loop {
            for due in self.next(busy.len()).await {
                busy.spawn(self.begin(due, self.settings.fix, &self.width));
            }
            tokio::select! {
                biased;
                changed = registration.changed() => if changed.is_err() { return },
                Some(_) = busy.join_next() => {}
                () = sleep(TICK) => {}
            }
        }
    }

    /// Looks at these hosts now, or at all, and says what was found, by name. With `fix`, services that are down are
    /// started again. Each host is taken when its turn comes; one that a rollout has in `updating` by then is left out.
    /// One of which nothing can be said is in the answer, as `unknown` and left alone.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked whose turn it is, for longer than a moment.
    pub async fn sweep_once(
        &self,
        fix: bool,
        hosts: Option<Vec<HostId>>,
    ) -> Result<Vec<Checked>, SweepError> {
        let mut waiting = match hosts {
            Some(hosts) => hosts.into_iter(),
            None => self.all_hosts().await?.into_iter(),
        };
        let (mut busy, mut all) = (JoinSet::new(), Vec::new());
        // Who asks for it by name gets one check at least, also while the sweep of this process may make none.
        let own = Arc::default();
        loop {
            while busy.len() < self.width(1, &own).await.places() {
                let Some(next) = waiting.next() else { break };
                if let Some(due) = self.turn_of(next).await? {
                    busy.spawn(self.begin(due, fix, &own));
                }
            }
            tokio::select! {
                // So that a simulated run can be repeated.
                biased;
                checked = busy.join_next() => match checked {
                    Some(Ok(checked)) => all.push(checked),
                    Some(Err(error)) => {
                        tracing::error!(%error, "a check failed by a fault of this program")
                    }
                    None => break,
                },
                // A rollout may have begun or ended, while checks wait for a connection.
                () = sleep(TICK) => {}
            }
        }
        all.sort_by(|one, other| one.host.cmp(&other.host));
        Ok(all)
    }

    async fn all_hosts(&self) -> Result<Vec<HostId>, SweepError> {
        let hosts = self.orchestrator.store().host_list().await?;
        Ok(hosts.into_iter().map(|host| host.id).collect())
    }

    /// Takes this host, unless it is gone or a rollout has it. A store that does not answer gets a few tries: hosts that
    /// were looked at already are not to be looked at in vain.
    async fn turn_of(&self, host: HostId) -> Result<Option<Due>, SweepError> {
        let mut tries = 0;
        loop {
            match self.turns(Turns::Of(vec![host]), 1).await {
                Ok(due) => return Ok(due.into_iter().next()),
                Err(SweepError::Store(
                    error @ (StoreError::Busy { .. } | StoreError::Unavailable { .. }),
                )) if tries < TRIES => {
                    self.orchestrator.outage().note(&error);
                    tries += 1;
                    sleep(TICK).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The hosts to look at now. A store that does not answer is asked again at the next tick.
    async fn next(&self, busy: usize) -> Vec<Due> {
        let width = self.width(0, &self.width).await;
        let slots = self.registration.borrow().clone();
        if !width.beside_rollout && slots.in_doubt.load(Ordering::Relaxed) {
            // A claim whose answer was lost may hold a host that nobody here knows of. Once nothing is in flight, all is
            // free again under a new name.
            if busy == 0 {
                slots.lease.lose();
            }
            return Vec::new();
        }
        let limit = width
            .checks
            .saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX));
        if limit == 0 {
            return Vec::new();
        }
        match self.turns(Turns::Due, limit).await {
            Ok(due) => due,
            Err(SweepError::Store(error)) if error.may_pass() => {
                self.orchestrator.outage().note(&error);
                Vec::new()
            }
            // The worker beside it knows and comes back under a new name.
            Err(SweepError::NoLease { what }) => {
                tracing::debug!(what, "no host is looked at now; trying again");
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%error, "no host is looked at now; trying again");
                Vec::new()
            }
        }
    }

    async fn turns(&self, turns: Turns, limit: u32) -> Result<Vec<Due>, SweepError> {
        let worker = self.registration.borrow().lease.worker();
        let every = self.settings.every;
        Ok(self.health.health_due(worker, every, limit, turns).await?)
    }

    /// How many checks at once, at least so many. Rollouts come first: beside one at work there is one on the whole store,
    /// or none when only one connection may be open. Checks that were begun with `kept` and wait for a connection keep to
    /// it too.
    async fn width(&self, least: u32, kept: &AtomicU32) -> Width {
        let concurrency = self.orchestrator.settings().concurrency;
        let (checks, beside_rollout) = match self.orchestrator.store().rollout_active().await {
            Ok(Some(rollout)) if rollout.state != RolloutState::Paused => {
                let one = concurrency.min(rollout.policy.concurrency) > 1;
                (u32::from(one), true)
            }
            Ok(found) => (concurrency.max(1), found.is_some()),
            // There may be one.
            Err(_) => (1, true),
        };
        let checks = checks.max(least);
        kept.store(checks, Ordering::Relaxed);
        Width {
            checks,
            beside_rollout,
        }
    }

    /// One check, in a task of its own: whoever gives up waiting for it leaves no host held.
    fn begin(
        &self,
        due: Due,
        fix: bool,
        width: &Arc<AtomicU32>,
    ) -> impl Future<Output = Checked> + Send + 'static + use<> {
        let slots = self.registration.borrow().clone();
        let limit = Limit {
            all: self.orchestrator.settings().concurrency,
            checks: Some(Arc::clone(width)),
        };
        // In a queue of its own: a check that waits for a slot must not stand before the connections of a rollout.
        let of_checks = Slots {
            queue: Arc::default(),
            ..slots.clone()
        };
        let check = Check {
            health: Arc::clone(&self.health),
            transport: SlotTransport::new(of_checks, self.places.clone(), limit, Arc::default()),
            ssh: self.orchestrator.settings().ssh.clone(),
            settings: self.settings,
            slots: slots.clone(),
        };
        let tell = self.tell.clone();
        let checked = async move {
            let (lease, host) = (Arc::clone(&slots.lease), due.host.name.clone());
            let ended = slots.open.spawn(async move {
                tokio::select! {
                    biased;
                    // Its connection must be closed before others may take the slot.
                    () = lease.lost() => None,
                    checked = check.host(due, fix) => Some(checked),
                }
            });
            let why = match ended.await {
                Ok(Some(checked)) => return checked,
                Ok(None) => "the lease of this process was lost while it was looked at",
                Err(error) => {
                    tracing::error!(%error, "a check failed by a fault of this program");
                    // It may have left its host held: under a new name that can be taken over.
                    slots.in_doubt.store(true, Ordering::Relaxed);
                    "the look failed by a fault of this program; its log says why"
                }
            };
            let restarted = if fix {
                "; its service may have been restarted"
            } else {
                ""
            };
            left_alone(host, format!("{why}{restarted}"))
        };
        async move {
            let checked = checked.await;
            tell.of(&checked);
            checked
        }
    }
}
