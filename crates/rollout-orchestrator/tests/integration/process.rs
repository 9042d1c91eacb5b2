//! One process of a test: a store and a transport that can die, freeze, or lose the database, all at once.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::*;
use fleet_types::{
    CommitHash, Epoch, Event, HostEvent, HostId, HostName, RolloutId, Seq, StoreId, Verb, WorkerId,
    view,
};
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKey, Identity, IdentityError, RemoteCommand,
    Session, SessionError, Transport,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Instead of its n-th write to the journal.
    BeforeRecord(usize),
    /// After that was durable, before it is told so.
    AfterRecord(usize),
    /// Instead of sending its n-th command.
    BeforeCommand(usize),
    /// After the host has done it, before the answer comes.
    AfterCommand(usize),
}

/// What happens to one process. Clones are the same process.
#[derive(Clone, Default)]
pub(crate) struct Process {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    death: Mutex<Option<Death>>,
    dead: AtomicBool,
    died: Notify,
    away: AtomicBool,
    records: AtomicUsize,
    commands: AtomicUsize,
    /// Journal events, in the order in which they were durable.
    kept: Mutex<Vec<(HostId, HostEvent)>>,
    panic_at: Mutex<Option<(String, usize)>>,
    /// Key files that it cannot read.
    unreadable: Mutex<Vec<PathBuf>>,
    checked: AtomicUsize,
    /// Calls of the store.
    asked: AtomicUsize,
    frozen: watch::Sender<bool>,
    /// When it sent each of its commands.
    sent: Mutex<Vec<Instant>>,
}

impl Process {
    /// How often it asked the store for anything.
    pub(crate) fn store_calls(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// It will die there.
    pub(crate) fn dies(&self, death: Death) {
        *self.shared.death.lock().unwrap() = Some(death);
    }

    /// Returns once it is dead.
    pub(crate) async fn died(&self) {
        let died = self.shared.died.notified();
        if !self.is_dead() {
            died.await;
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn kill(&self) {
        self.shared.dead.store(true, Ordering::SeqCst);
        self.shared.died.notify_waiters();
        self.shared.died.notify_one();
    }

    /// The database does not answer this process from now on, or answers again.
    pub(crate) fn cut_off(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn records(&self) -> usize {
        self.shared.records.load(Ordering::SeqCst)
    }

    pub(crate) fn commands(&self) -> usize {
        self.shared.commands.load(Ordering::SeqCst)
    }

    /// When it sent each of its commands.
    pub(crate) fn sent(&self) -> Vec<Instant> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// What it made durable in the journal.
    pub(crate) fn kept(&self) -> Vec<(HostId, HostEvent)> {
        self.shared.kept.lock().unwrap().clone()
    }

    /// The next `times` commands for this host bring the program to panic.
    pub(crate) fn panics(&self, host: &str, times: usize) {
        *self.shared.panic_at.lock().unwrap() = Some((host.to_owned(), times));
    }

    /// It cannot read these private keys.
    pub(crate) fn cannot_read(&self, keys: &[&str]) {
        *self.shared.unreadable.lock().unwrap() = keys.iter().map(PathBuf::from).collect();
    }

    /// How often it loaded a key to see whether it can.
    pub(crate) fn identities_checked(&self) -> usize {
        self.shared.checked.load(Ordering::SeqCst)
    }

    fn load(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        let unreadable = self.shared.unreadable.lock().unwrap();
        match &endpoint.identity {
            Identity::File(path) if unreadable.contains(path) => Err(IdentityError::Unreadable {
                path: path.display().to_string(),
                cause: "permission denied".into(),
            }),
            _ => Ok(()),
        }
    }

    /// It stands still from now on, in the middle of whatever it does, or goes on.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// A dead process does nothing any more, and is told nothing; a frozen one nothing for now.
    async fn alive(&self) {
        let mut frozen = self.shared.frozen.subscribe();
        frozen.wait_for(|frozen| !frozen).await.unwrap();
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    async fn store_answers(&self) -> Result<(), StoreError> {
        self.shared.asked.fetch_add(1, Ordering::SeqCst);
        self.alive().await;
        if self.shared.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                cause: "cut off by the test".into(),
            });
        }
        Ok(())
    }

    async fn point(&self, death: Death) {
        if *self.shared.death.lock().unwrap() == Some(death) {
            self.kill();
        }
        self.alive().await;
    }

    fn panic_if_due(&self, host: &str) {
        let due = {
            let mut panic_at = self.shared.panic_at.lock().unwrap();
            match &mut *panic_at {
                Some((name, times)) if name == host && *times > 0 => {
                    *times -= 1;
                    true
                }
                _ => false,
            }
        };
        assert!(!due, "a panic that the test asked for");
    }
}

/// The store as one process has it.
pub(crate) struct ProcessStore {
    process: Process,
    inner: Arc<dyn Store>,
}

impl ProcessStore {
    pub(crate) fn new(process: &Process, inner: Arc<dyn Store>) -> Self {
        Self {
            process: process.clone(),
            inner,
        }
    }
}

impl fmt::Debug for ProcessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessStore")
    }
}

macro_rules! pass {
    ($self:ident.$method:ident($($arg:expr),*)) => {{
        $self.process.store_answers().await?;
        let answer = $self.inner.$method($($arg),*).await;
        $self.process.alive().await;
        answer
    }};
}

#[async_trait]
impl Inventory for ProcessStore {
    async fn host_add(
        &self,
        hosts: Vec<NewHost>,
        actor: &Actor,
    ) -> Result<Vec<HostRecord>, HostError> {
        pass!(self.host_add(hosts, actor))
    }
    async fn host_edit(
        &self,
        name: &HostName,
        host: NewHost,
        actor: &Actor,
    ) -> Result<HostRecord, HostError> {
        pass!(self.host_edit(name, host, actor))
    }
    async fn host_remove(&self, name: &HostName, actor: &Actor) -> Result<(), HostError> {
        pass!(self.host_remove(name, actor))
    }
    async fn host_list(&self) -> Result<Vec<HostRecord>, StoreError> {
        pass!(self.host_list())
    }
    async fn host_get(&self, name: &HostName) -> Result<Option<HostRecord>, StoreError> {
        pass!(self.host_get(name))
    }
    async fn host_pin(
        &self,
        name: &HostName,
        keys: Vec<String>,
        actor: &Actor,
    ) -> Result<(), HostError> {
        pass!(self.host_pin(name, keys, actor))
    }
    async fn host_clear_attention(&self, name: &HostName, actor: &Actor) -> Result<(), HostError> {
        pass!(self.host_clear_attention(name, actor))
    }
    async fn host_views(&self, rollout: Option<RolloutId>) -> Result<Vec<view::Host>, StoreError> {
        pass!(self.host_views(rollout))
    }
}

#[async_trait]
impl Rollouts for ProcessStore {
    async fn rollout_create(
        &self,
        plan: NewRollout,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, TriggerError> {
        pass!(self.rollout_create(plan, worker))
    }
    async fn rollout_get(&self, id: RolloutId) -> Result<Option<RolloutRecord>, StoreError> {
        pass!(self.rollout_get(id))
    }
    async fn rollout_active(&self) -> Result<Option<RolloutRecord>, StoreError> {
        pass!(self.rollout_active())
    }
    async fn rollout_latest(&self) -> Result<Option<RolloutRecord>, StoreError> {
        pass!(self.rollout_latest())
    }
    async fn rollout_list(
        &self,
        before: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<RolloutRecord>, StoreError> {
        pass!(self.rollout_list(before, limit))
    }
    async fn rollout_view(&self, id: RolloutId) -> Result<Option<view::Rollout>, StoreError> {
        pass!(self.rollout_view(id))
    }
    async fn status(&self) -> Result<view::Status, StoreError> {
        pass!(self.status())
    }
    async fn attempt_list(&self, id: RolloutId) -> Result<Vec<AttemptRecord>, StoreError> {
        pass!(self.attempt_list(id))
    }
    async fn rollout_verb(
        &self,
        id: RolloutId,
        verb: Verb,
        actor: &Actor,
    ) -> Result<(), VerbError> {
        pass!(self.rollout_verb(id, verb, actor))
    }
    async fn rollout_resolve(
        &self,
        id: RolloutId,
        target: Resolution,
    ) -> Result<RolloutRecord, StoreError> {
        pass!(self.rollout_resolve(id, target))
    }
    async fn rollout_advance(&self, id: RolloutId) -> Result<RolloutRecord, StoreError> {
        pass!(self.rollout_advance(id))
    }
    async fn rollout_attend(&self, id: RolloutId, worker: WorkerId) -> Result<(), StoreError> {
        pass!(self.rollout_attend(id, worker))
    }
    async fn known_bad(&self, version: &CommitHash) -> Result<Option<RolloutId>, StoreError> {
        pass!(self.known_bad(version))
    }
}

#[async_trait]
impl Attempts for ProcessStore {
    async fn attempt_claim(
        &self,
        rollout: RolloutId,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Claim, LeaseError> {
        pass!(self.attempt_claim(rollout, worker, except))
    }
    async fn attempt_take_over(
        &self,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Option<Claimed>, LeaseError> {
        pass!(self.attempt_take_over(worker, except))
    }
    async fn attempt_record(&self, lease: &HostLease, event: &HostEvent) -> Result<(), LeaseError> {
        self.process.store_answers().await?;
        let number = self.process.shared.records.fetch_add(1, Ordering::SeqCst) + 1;
        self.process.point(Death::BeforeRecord(number)).await;
        let answer = self.inner.attempt_record(lease, event).await;
        if answer.is_ok() {
            self.process
                .shared
                .kept
                .lock()
                .unwrap()
                .push((lease.host, event.clone()));
        }
        self.process.point(Death::AfterRecord(number)).await;
        answer
    }
    async fn attempt_raise(
        &self,
        lease: &HostLease,
        above: Epoch,
    ) -> Result<HostLease, LeaseError> {
        pass!(self.attempt_raise(lease, above))
    }
    async fn attempt_steps(
        &self,
        rollout: RolloutId,
        host: &HostName,
    ) -> Result<Vec<StepRecord>, StoreError> {
        pass!(self.attempt_steps(rollout, host))
    }
}

#[async_trait]
impl Workers for ProcessStore {
    async fn worker_register(&self, worker: NewWorker) -> Result<WorkerId, StoreError> {
        pass!(self.worker_register(worker))
    }
    async fn worker_renew(&self, worker: WorkerId) -> Result<(), LeaseError> {
        pass!(self.worker_renew(worker))
    }
    async fn worker_leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        pass!(self.worker_leave(worker))
    }
    async fn worker_alive(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        pass!(self.worker_alive())
    }
    async fn slot_acquire(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Option<SlotId>, LeaseError> {
        pass!(self.slot_acquire(worker, limit))
    }
    async fn slot_release(&self, slot: SlotId) -> Result<(), StoreError> {
        pass!(self.slot_release(slot))
    }
}

#[async_trait]
impl Feed for ProcessStore {
    async fn events_after(
        &self,
        after: Seq,
        rollout: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        pass!(self.events_after(after, rollout, limit))
    }
    async fn events_wait(&self, after: Seq, patience: Duration) -> Result<(), StoreError> {
        pass!(self.events_wait(after, patience))
    }
}

impl Store for ProcessStore {
    fn id(&self) -> StoreId {
        self.inner.id()
    }
    fn lease_times(&self) -> LeaseTimes {
        self.inner.lease_times()
    }
}

/// The network as one process has it.
#[derive(Clone)]
pub(crate) struct ProcessTransport {
    process: Process,
    inner: Arc<dyn Transport>,
}

impl ProcessTransport {
    pub(crate) fn new(process: &Process, inner: Arc<dyn Transport>) -> Self {
        Self {
            process: process.clone(),
            inner,
        }
    }
}

impl fmt::Debug for ProcessTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessTransport")
    }
}

#[async_trait]
impl Transport for ProcessTransport {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        self.process.alive().await;
        self.process.load(endpoint)?;
        let inner = self.inner.connect(endpoint).await?;
        let process = self.process.clone();
        Ok(Box::new(ProcessSession {
            process,
            host: endpoint.name.clone(),
            inner,
        }))
    }
    async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.process.shared.checked.fetch_add(1, Ordering::SeqCst);
        self.process.load(endpoint)
    }
    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        self.process.alive().await;
        self.inner.host_keys(endpoint).await
    }
}

struct ProcessSession {
    process: Process,
    host: String,
    inner: Box<dyn Session>,
}

impl fmt::Debug for ProcessSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessSession")
    }
}

#[async_trait]
impl Session for ProcessSession {
    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let number = self.process.shared.commands.fetch_add(1, Ordering::SeqCst) + 1;
        self.process.point(Death::BeforeCommand(number)).await;
        self.process.panic_if_due(&self.host);
        self.process
            .shared
            .sent
            .lock()
            .unwrap()
            .push(Instant::now());
        let answer = self.inner.run(command).await;
        self.process.point(Death::AfterCommand(number)).await;
        answer
    }
    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
