//! Connections under the limit that holds over all processes: a transport that takes a slot first and gives it back last.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::{LeaseError, SlotId, Store, StoreError};
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKey, IdentityError, RemoteCommand, Session,
    SessionError, Transport,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::lease::Lease;
use crate::places::{Place, Places, Seat};

/// How long a goodbye may take before the connection is dropped.
const GOODBYE: Duration = Duration::from_secs(2);
/// The first and the longest pause between two looks for a free slot. Not longer: a process that comes back for the next
/// slot waits the first one, and must not always be faster than those that have waited for long.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));

/// What all transports of one worker registration share.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) lease: Arc<Lease>,
    /// Every slot that is held, and every task that takes or gives one back; a worker that leaves waits for them.
    pub(crate) open: TaskTracker,
    pub(crate) queue: Arc<Queue>,
    /// Whether the store may hold a host for this registration that nobody here works on.
    pub(crate) in_doubt: Arc<AtomicBool>,
}

impl Slots {
    /// After a host was asked for: the store may have given it although its answer was lost. As long as this registration
    /// lives nobody else would take it; under a new one it can be taken over like any other.
    pub(crate) fn note_doubt(&self, error: &StoreError) {
        if matches!(error, StoreError::Unavailable { .. }) {
            self.doubt();
        }
    }

    /// The store may say of a host that it is ours, and nobody here works on it or knows its epoch.
    pub(crate) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }
}

/// Those of one process who wait for a slot. One of them asks the store, the others wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    turn: tokio::sync::Mutex<()>,
    /// Other processes work on the store too.
    company: AtomicBool,
}

impl Queue {
    /// With company, a slot that was just given back is left to others for a moment: without that, they might wait for
    /// as long as we have something to do.
    pub(crate) fn has_company(&self, company: bool) {
        self.company.store(company, Ordering::Relaxed);
    }
}

/// A transport whose connections count.
///
/// [`Transport::connect`] waits, in the order of the callers, until fewer than the limit are open in this process, and
/// then until fewer than the limit are open on the whole store. The slot is given back once the connection is closed,
/// also when the session is dropped. Commands are sent only while the worker's lease was renewed lately enough;
/// otherwise they are withheld.
#[derive(Clone, Debug)]
pub struct SlotTransport {
    slots: Slots,
    places: Places,
    limit: Limit,
    seat: Arc<Seat>,
    /// Whether its errors name no files of this machine.
    discreet: bool,
    /// Why our own credential could not be loaded for a connection, if one could not.
    no_key: Arc<OnceLock<String>>,
}

/// How many connections may be open on the whole store.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Of all kinds.
    pub(crate) all: u32,
    /// Of health checks, for connections that are for these. It changes while they wait.
    pub(crate) checks: Option<Arc<AtomicU32>>,
}

impl Limit {
    /// For all but health checks.
    pub(crate) fn of_all(all: u32) -> Self {
        Self { all, checks: None }
    }
}

impl SlotTransport {
    pub(crate) fn new(slots: Slots, places: Places, limit: Limit, seat: Arc<Seat>) -> Self {
        Self {
            slots,
            places,
            limit,
            seat,
            discreet: false,
            no_key: Arc::default(),
        }
    }

    /// Why our own credential could not be loaded for a connection, if one could not.
    pub(crate) fn no_key(&self) -> Option<String> {
        self.no_key.get().cloned()
    }

    /// The same, with errors that may be shown to people who may not see which files this machine has.
    #[must_use]
    pub fn discreet(self) -> Self {
        Self {
            discreet: true,
            ..self
        }
    }

    fn shown(&self, error: ConnectError) -> ConnectError {
        if !self.discreet {
            return error;
        }
        error.without_files().unwrap_or(error)
    }

    /// Runs `work` with a slot in a task of its own: neither a caller that gives up nor one that panics can leave a slot
    /// or a connection behind uncounted.
    async fn with_slot<T, F>(
        &self,
        host: &str,
        work: impl FnOnce(Slot) -> F,
    ) -> Result<T, ConnectError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ConnectError>> + Send + 'static,
    {
        let cancelled = CancellationToken::new();
        let _guard = cancelled.clone().drop_guard();
        let place = match self.seat.take() {
            Some(place) => place,
            None => self.places.take().await,
        };
        self.seat.sit_down();
        let slot = {
            let (slots, seat) = (self.slots.clone(), Arc::clone(&self.seat));
            let (limit, name) = (self.limit.clone(), host.to_owned());
            let acquiring =
                async move { acquire(slots, seat, place, limit, &name, &cancelled).await };
            self.in_task(acquiring, host).await?
        };
        let lease = Arc::clone(&self.slots.lease);
        let name = host.to_owned();
        let work = work(slot);
        let limited = async move {
            tokio::select! {
                biased;
                () = lease.lost() => Err(withheld(&name, "the lease of this process is lost")),
                done = work => done,
            }
        };
        self.in_task(limited, host).await
    }

    async fn in_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ConnectError>> + Send + 'static,
        host: &str,
    ) -> Result<T, ConnectError> {
        match self.slots.open.spawn(work).await {
            Ok(done) => done,
            Err(error) => Err(ConnectError::Protocol {
                host: host.to_owned(),
                cause: error.to_string(),
            }),
        }
    }
}

#[async_trait]
impl Transport for SlotTransport {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        let (transport, endpoint) = (Arc::clone(&self.slots.transport), endpoint.clone());
        let host = endpoint.name.clone();
        let session = self
            .with_slot(&host, |slot| async move {
                let inner = transport.connect(&endpoint).await?;
                Ok(SlotSession {
                    open: Some((inner, slot)),
                })
            })
            .await
            .inspect_err(|error| {
                if let ConnectError::Identity(why) = error {
                    self.no_key.get_or_init(|| why.to_string());
                }
            })
            .map_err(|error| self.shown(error))?;
        Ok(Box::new(session))
    }

    async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.slots.transport.check_identity(endpoint).await
    }

    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        let (transport, endpoint) = (Arc::clone(&self.slots.transport), endpoint.clone());
        let host = endpoint.name.clone();
        self.with_slot(&host, |slot| async move {
            let keys = transport.host_keys(&endpoint).await;
            slot.release().await;
            keys
        })
        .await
        .map_err(|error| self.shown(error))
    }
}

/// Takes a slot of the store, trying again while all are taken. Given up between two tries, never in the midst of one:
/// what the store gave must come to a [`Slot`].
async fn acquire(
    slots: Slots,
    seat: Arc<Seat>,
    place: Place,
    limit: Limit,
    host: &str,
    cancelled: &CancellationToken,
) -> Result<Slot, ConnectError> {
    let gone = || withheld(host, "nobody waits for it any more");
    let queue = Arc::clone(&slots.queue);
    let mut slot = Slot::new(slots, place, seat);
    let _turn = tokio::select! {
        biased;
        () = cancelled.cancelled() => return Err(gone()),
        turn = queue.turn.lock() => turn,
    };
    let mut pause = PAUSES.0;
    let mut polite = queue.company.load(Ordering::Relaxed);
    loop {
        let lease = Arc::clone(&slot.slots.lease);
        lease.check().map_err(|fenced| withheld(host, fenced))?;
        let answer = match std::mem::take(&mut polite) {
            true => Ok(false),
            false => slot.ask(&limit).await,
        };
        match answer {
            Ok(true) => return Ok(slot),
            Ok(false) => {}
            Err(LeaseError::Lost { what }) => {
                lease.lose();
                return Err(withheld(host, what));
            }
            Err(error) => {
                if let LeaseError::Store(error) = &error {
                    lease.outage().note(error);
                }
                tracing::debug!(host, %error, "no connection slot could be asked for");
            }
        }
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(gone()),
            () = lease.lost() => {}
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn withheld(host: &str, cause: impl fmt::Display) -> ConnectError {
    ConnectError::Withheld {
        host: host.to_owned(),
        cause: cause.to_string(),
    }
}

/// One of the connections that may be open, or the wish for one. Dropping it gives it back in the background.
#[derive(Debug)]
struct Slot {
    held: Option<Held>,
    /// The store may hold it for us: it was given, or the answer was lost.
    taken: bool,
    /// Whoever leaves waits for it: a slot must not be free before its connection is closed.
    _counts: TaskTrackerToken,
    slots: Slots,
}

#[derive(Debug)]
struct Held {
    id: SlotId,
    place: Place,
    seat: Arc<Seat>,
}

impl Slot {
    fn new(slots: Slots, place: Place, seat: Arc<Seat>) -> Self {
        let id = SlotId::fresh(slots.lease.worker());
        Self {
            held: Some(Held { id, place, seat }),
            taken: false,
            _counts: slots.open.token(),
            slots,
        }
    }

    /// Asks the store for it, always for the same one: what was given although its answer was lost is given again.
    async fn ask(&mut self, limit: &Limit) -> Result<bool, LeaseError> {
        let Some(Held { id, .. }) = self.held else {
            return Ok(false);
        };
        self.taken = true;
        let store = &self.slots.store;
        let given = match &limit.checks {
            None => store.slot_acquire(id, limit.all).await?,
            Some(checks) => {
                let checks = checks.load(Ordering::Relaxed);
                store.slot_acquire_for_check(id, limit.all, checks).await?
            }
        };
        self.taken = given;
        Ok(given)
    }

    /// After the connection was closed in order.
    async fn release(mut self) {
        if let Some(held) = self.held.take() {
            give_back(&self.slots, held.id).await;
            held.seat.give(held.place);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(held) = self.held.take().filter(|_| self.taken) else {
            return;
        };
        let slots = self.slots.clone();
        in_background(&self.slots.open, async move {
            give_back(&slots, held.id).await;
            drop(held.place);
        });
    }
}

async fn give_back(slots: &Slots, id: SlotId) {
    let mut pause = PAUSES.0;
    // A lost lease takes its slots along.
    while !slots.lease.is_lost() {
        match slots.store.slot_release(id).await {
            Ok(()) => break,
            Err(error) => slots.lease.outage().note(&error),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Outside of a runtime, or in one that is shutting down, nothing runs: the slot falls with the worker's lease.
fn in_background(tasks: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(tasks.spawn_on(work, &runtime));
    }
}

/// A session that gives its slot back after it is closed.
struct SlotSession {
    open: Option<(Box<dyn Session>, Slot)>,
}

impl fmt::Debug for SlotSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotSession")
            .field("open", &self.open)
            .finish()
    }
}

#[async_trait]
impl Session for SlotSession {
    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let withheld = |cause: String| SessionError::Withheld {
            command: command.name(),
            cause,
        };
        let Some((session, slot)) = &mut self.open else {
            return Err(withheld("the session is closed".to_owned()));
        };
        let lease = &slot.slots.lease;
        let may = || lease.check().map_err(|fenced| withheld(fenced.to_string()));
        may()?;
        // A host whose network stalls may let us wait here until the lease is old.
        session.ready(command).await?;
        may()?;
        session.run(command).await
    }

    async fn close(mut self: Box<Self>) {
        if let Some((session, slot)) = self.open.take() {
            let tasks = slot.slots.open.clone();
            // In a task of its own: a caller that gives up waiting must not cut the goodbye short.
            let close = async move {
                goodbye(session).await;
                slot.release().await;
            };
            drop(tasks.spawn(close).await);
        }
    }
}

impl Drop for SlotSession {
    fn drop(&mut self) {
        if let Some((session, slot)) = self.open.take() {
            let tasks = slot.slots.open.clone();
            in_background(&tasks, async move {
                goodbye(session).await;
                drop(slot);
            });
        }
    }
}

async fn goodbye(session: Box<dyn Session>) {
    if timeout(GOODBYE, session.close()).await.is_err() {
        tracing::debug!("the goodbye took too long; the connection was dropped");
    }
}
