//! Connections under the limit that holds over all processes: a transport that takes a slot first and gives it back last.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::{LeaseError, SlotId, Store};
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKey, IdentityError, RemoteCommand, Session,
    SessionError, Transport,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lease::Lease;

/// How long a goodbye may take before the connection is dropped.
const GOODBYE: Duration = Duration::from_secs(5);
/// The first and the longest pause between two looks for a free slot.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// What all transports of one worker registration share.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) lease: Arc<Lease>,
    /// Every task that still holds a slot or gives one back; a worker that leaves waits for them.
    pub(crate) open: TaskTracker,
    /// Told whenever a connection was given back.
    pub(crate) freed: Arc<Notify>,
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
    local: Arc<Semaphore>,
    limit: u32,
    /// A place that was taken already for the first connection.
    ready: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl SlotTransport {
    pub(crate) fn new(
        slots: Slots,
        local: Arc<Semaphore>,
        limit: u32,
        ready: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            slots,
            local,
            limit,
            ready: Arc::new(Mutex::new(ready)),
        }
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
        let permit = self.place(host).await?;
        let slot = {
            let (slots, limit, host) = (self.slots.clone(), self.limit, host.to_owned());
            let acquiring = async move { acquire(slots, permit, limit, &host, &cancelled).await };
            self.in_task(acquiring, "the slot").await?
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

    async fn place(&self, host: &str) -> Result<OwnedSemaphorePermit, ConnectError> {
        let ready = self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match ready {
            Some(permit) => Ok(permit),
            None => Arc::clone(&self.local)
                .acquire_owned()
                .await
                .map_err(|_| withheld(host, "this process is leaving")),
        }
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
            .await?;
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
    }
}

/// Takes a slot of the store, trying again while all are taken. Given up between two tries, never in the midst of one:
/// what the store gave must come to a [`Slot`].
async fn acquire(
    slots: Slots,
    permit: OwnedSemaphorePermit,
    limit: u32,
    host: &str,
    cancelled: &CancellationToken,
) -> Result<Slot, ConnectError> {
    let mut pause = PAUSES.0;
    loop {
        slots
            .lease
            .check()
            .map_err(|fenced| withheld(host, fenced))?;
        match slots.store.slot_acquire(slots.lease.worker(), limit).await {
            Ok(Some(id)) => {
                return Ok(Slot {
                    held: Some((id, permit)),
                    slots,
                });
            }
            Ok(None) => {}
            Err(LeaseError::Lost { what }) => {
                slots.lease.lose();
                return Err(withheld(host, what));
            }
            Err(error) => tracing::warn!(host, %error, "no connection slot could be asked for"),
        }
        tokio::select! {
            () = cancelled.cancelled() => return Err(withheld(host, "nobody waits for it any more")),
            () = slots.lease.lost() => {}
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

/// One of the connections that may be open. Dropping it gives it back in the background.
#[derive(Debug)]
struct Slot {
    held: Option<(SlotId, OwnedSemaphorePermit)>,
    slots: Slots,
}

impl Slot {
    async fn release(mut self) {
        if let Some((id, permit)) = self.held.take() {
            give_back(&self.slots, id, permit).await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some((id, permit)) = self.held.take() else {
            return;
        };
        let slots = self.slots.clone();
        in_background(&self.slots.open, async move {
            give_back(&slots, id, permit).await
        });
    }
}

/// Gives a slot back to the store, then the place in this process to the next in line.
async fn give_back(slots: &Slots, id: SlotId, permit: OwnedSemaphorePermit) {
    let mut pause = PAUSES.0;
    // A lost lease takes its slots along.
    while !slots.lease.is_lost() {
        match slots.store.slot_release(id).await {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "a connection slot could not be given back"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    drop(permit);
    slots.freed.notify_one();
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
        slot.slots
            .lease
            .check()
            .map_err(|fenced| withheld(fenced.to_string()))?;
        session.run(command).await
    }

    async fn close(mut self: Box<Self>) {
        if let Some((session, slot)) = self.open.take() {
            let tasks = slot.slots.open.clone();
            // In a task of its own: a caller that gives up waiting must not cut the goodbye short.
            drop(tasks.spawn(close(session, slot)).await);
        }
    }
}

impl Drop for SlotSession {
    fn drop(&mut self) {
        if let Some((session, slot)) = self.open.take() {
            let tasks = slot.slots.open.clone();
            in_background(&tasks, close(session, slot));
        }
    }
}

async fn close(session: Box<dyn Session>, slot: Slot) {
    if timeout(GOODBYE, session.close()).await.is_err() {
        tracing::debug!("the goodbye took too long; the connection was dropped");
    }
    slot.release().await;
}
