//! The store as one process of a test has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::*;
use fleet_types::{
    CommitHash, Epoch, Event, HostEvent, HostId, HostName, RolloutId, Seq, StoreId, Verb, WorkerId,
    view,
};

use crate::process::{Death, Process};

/// The store as one process has it: the calls count as this process's, and fail with it.
pub(crate) struct ProcessStore<S: ?Sized = dyn Store> {
    pub(crate) process: Process,
    pub(crate) inner: Arc<S>,
}

impl<S: ?Sized> ProcessStore<S> {
    pub(crate) fn new(process: &Process, inner: Arc<S>) -> Self {
        Self {
            process: process.clone(),
            inner,
        }
    }
}

impl<S: ?Sized> fmt::Debug for ProcessStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessStore")
    }
}

macro_rules! pass {
    ($self:ident.$method:ident($($arg:expr),*)) => {{
        let call = $self.process.call_begins().await?;
        let answer = $self.inner.$method($($arg),*).await;
        $self.process.call_ends(call).await?;
        answer
    }};
}

pub(crate) use pass;

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
    async fn host_edit_seen(
        &self,
        seen: &HostRecord,
        host: NewHost,
        actor: &Actor,
    ) -> Result<HostRecord, HostError> {
        pass!(self.host_edit_seen(seen, host, actor))
    }
    async fn host_remove(&self, name: &HostName, actor: &Actor) -> Result<(), HostError> {
        pass!(self.host_remove(name, actor))
    }
    async fn host_remove_seen(&self, seen: &HostRecord, actor: &Actor) -> Result<(), HostError> {
        pass!(self.host_remove_seen(seen, actor))
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
        let call = self.process.call_begins().await?;
        let number = self.process.next_record();
        self.process.point(Death::BeforeRecord(number)).await;
        let answer = self.inner.attempt_record(lease, event).await;
        if answer.is_ok() {
            self.process.keep(lease.host, event);
        }
        self.process.point(Death::AfterRecord(number)).await;
        self.process.call_ends(call).await?;
        answer
    }
    async fn attempt_raise(
        &self,
        lease: &HostLease,
        above: Epoch,
    ) -> Result<HostLease, LeaseError> {
        pass!(self.attempt_raise(lease, above))
    }
    async fn attempt_get(
        &self,
        rollout: RolloutId,
        host: HostId,
    ) -> Result<Option<AttemptRecord>, StoreError> {
        pass!(self.attempt_get(rollout, host))
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
    async fn slot_acquire(&self, slot: SlotId, limit: u32) -> Result<bool, LeaseError> {
        pass!(self.slot_acquire(slot, limit))
    }
    async fn slot_acquire_for_check(
        &self,
        slot: SlotId,
        limit: u32,
        checks: u32,
    ) -> Result<bool, LeaseError> {
        pass!(self.slot_acquire_for_check(slot, limit, checks))
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
