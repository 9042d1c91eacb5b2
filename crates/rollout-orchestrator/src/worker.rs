//! One run of one process that does work on a store: the handle to it.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{NewWorker, RolloutRecord, StoreError};
use fleet_types::{HostName, RolloutId, WorkerId};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

use crate::lease::{Lease, Moment, keep};
use crate::orchestrator::Orchestrator;
use crate::places::Places;
use crate::slots::{Limit, SlotTransport, Slots};
use crate::work_loop::WorkLoop;

/// What a worker works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkMode {
    /// One rollout, until it is over, as the command line does.
    One(RolloutId),
    /// Every rollout that there is, until it is stopped, as a server does.
    All,
    /// No rollout: it only holds the lease that connections outside of rollouts need.
    Nothing,
}

/// A worker at work. Dropping it is like the death of the process: hosts in flight stay as they are, and the next worker
/// takes them over when the lease has run out.
#[derive(Debug)]
pub struct Worker {
    orders: watch::Sender<Order>,
    status: watch::Receiver<WorkerStatus>,
    registration: watch::Receiver<Slots>,
    places: Places,
    concurrency: u32,
    /// None once it has told how it ended.
    task: Option<AbortOnDropHandle<Result<Finished, WorkError>>>,
}

/// What a worker is doing, and what keeps it from doing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// As whom it is registered now; changes when it loses its lease.
    pub worker: WorkerId,
    /// Hosts that it has in `updating`.
    pub in_flight: Vec<HostName>,
    /// Hosts whose credential cannot be loaded here, and why; it leaves them to other processes.
    pub cannot_load: Vec<(HostName, String)>,
    /// What it cannot do at the moment: the store does not answer, the target cannot be asked for.
    pub trouble: Option<String>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The rollout it worked on, as it stood then.
    pub record: Option<RolloutRecord>,
    /// Hosts that it left in flight, for the next worker.
    pub unfinished: Vec<HostName>,
}

/// Why a worker could not go on. Hosts in flight are left to the next one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// There is no such rollout.
    #[error("there is no rollout {id}")]
    UnknownRollout {
        /// As asked for.
        id: RolloutId,
    },
    /// The store failed in a way that waiting does not cure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of this program.
    #[error("the worker failed: {cause}")]
    Internal {
        /// What is known of it.
        cause: String,
    },
}

/// What was asked of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Work,
    /// Claim nothing more; leave when nothing is in flight, or then.
    StopBy(Instant),
    Abandon,
}

impl Worker {
    /// Registers `who` and goes to work.
    pub async fn start(
        orchestrator: &Orchestrator,
        who: NewWorker,
        mode: WorkMode,
    ) -> Result<Self, StoreError> {
        let since = Moment::now();
        let id = orchestrator.store().worker_register(who.clone()).await?;
        Ok(Self::run(
            orchestrator,
            NewWorker { id, ..who },
            mode,
            since,
        ))
    }

    /// Goes to work as `who`, whom the trigger has registered already. When too much time went by since, it registers
    /// anew.
    pub async fn start_registered(
        orchestrator: &Orchestrator,
        who: NewWorker,
        mode: WorkMode,
    ) -> Result<Self, StoreError> {
        let since = Moment::now();
        match orchestrator.store().worker_renew(who.id).await {
            Ok(()) => Ok(Self::run(orchestrator, who, mode, since)),
            Err(fleet_store::LeaseError::Store(error)) => Err(error),
            Err(_) => {
                let id = WorkerId(Uuid::now_v7());
                Self::start(orchestrator, NewWorker { id, ..who }, mode).await
            }
        }
    }

    fn run(orchestrator: &Orchestrator, who: NewWorker, mode: WorkMode, since: Moment) -> Self {
        let registration = Registration::new(orchestrator, who.id, since);
        let (orders, order) = watch::channel(Order::Work);
        let (slots, registered) = watch::channel(registration.slots.clone());
        let (shown, status) = watch::channel(WorkerStatus {
            worker: who.id,
            in_flight: Vec::new(),
            cannot_load: Vec::new(),
            trouble: None,
        });
        let outlets = Outlets { shown, slots };
        let work = WorkLoop::new(
            orchestrator.clone(),
            who,
            mode,
            registration,
            order,
            outlets,
        );
        let concurrency = orchestrator.settings().concurrency;
        Self {
            orders,
            status,
            registration: registered,
            places: Places::new(concurrency, Arc::default()),
            concurrency,
            task: Some(AbortOnDropHandle::new(tokio::spawn(work.run()))),
        }
    }

    /// What it is doing now.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        self.status.borrow().clone()
    }

    /// Follows what it is doing.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<WorkerStatus> {
        self.status.clone()
    }

    /// A transport for what is part of no rollout, under the configured limit. Good until the worker loses its lease or
    /// ends; ask again then.
    #[must_use]
    pub fn transport(&self) -> SlotTransport {
        let slots = self.registration.borrow().clone();
        SlotTransport::new(
            slots,
            self.places.clone(),
            Limit::of_all(self.concurrency),
            Arc::default(),
        )
    }

    /// Follows its registration: closed once it has ended.
    pub(crate) fn registration(&self) -> watch::Receiver<Slots> {
        self.registration.clone()
    }

    /// Asks it to claim nothing more, to finish the hosts in flight, and to leave. What is not finished after `grace` is
    /// left to the next worker, which needs not wait for the lease to run out. Returns at once; see [`Worker::finished`].
    pub fn stop(&self, grace: Duration) {
        // A grace beyond what the clock can count means no limit; a century is as good.
        let century = Duration::from_secs(100 * 365 * 86_400);
        self.orders
            .send_replace(Order::StopBy(Instant::now() + grace.min(century)));
    }

    /// Asks it to leave now. Hosts in flight are left to the next worker, which needs not wait for the lease to run out.
    pub fn abandon(&self) {
        self.orders.send_replace(Order::Abandon);
    }

    /// Waits for its end: the rollout of [`WorkMode::One`] is over, or it was stopped and has left. Tells how it ended
    /// once; an error after that. Dropping the future changes nothing.
    pub async fn finished(&mut self) -> Result<Finished, WorkError> {
        let internal = |cause: String| WorkError::Internal { cause };
        let Some(task) = &mut self.task else {
            return Err(internal("it was told already how it ended".to_owned()));
        };
        let ended = task.await;
        self.task = None;
        ended.unwrap_or_else(|error| Err(internal(error.to_string())))
    }
}

/// Where a worker's loop tells what it is doing.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) shown: watch::Sender<WorkerStatus>,
    pub(crate) slots: watch::Sender<Slots>,
}

/// One registration of a worker: it ends with the lease, and a new one begins.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) slots: Slots,
    _keeper: AbortOnDropHandle<()>,
}

impl Registration {
    pub(crate) fn new(orchestrator: &Orchestrator, worker: WorkerId, since: Moment) -> Self {
        let store = Arc::clone(orchestrator.store());
        let lease = Arc::new(Lease::new(
            worker,
            store.lease_times(),
            since,
            Arc::clone(orchestrator.outage()),
        ));
        let keeper = keep(Arc::clone(&store), Arc::clone(&lease));
        let slots = Slots {
            store,
            transport: Arc::clone(orchestrator.transport()),
            lease,
            open: TaskTracker::new(),
            queue: Arc::default(),
            in_doubt: Arc::default(),
        };
        Self {
            slots,
            _keeper: keeper,
        }
    }

    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.slots.lease
    }
}
