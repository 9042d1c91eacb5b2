//! The store as one process has it: the real one, whose calls fail and stand still with the process, and whose effects
//! the checker learns of even when the process does not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::*;
use fleet_types::{
    CommitHash, Epoch, Event, HostEvent, HostId, HostName, RolloutId, Seq, StoreId, Verb, WorkerId,
    view,
};
use uuid::Uuid;

use crate::gate::Gate;
use crate::watch;

/// The store of one process.
pub(crate) struct SimStore {
    gate: Gate,
    inner: Arc<DieselStore>,
}

impl SimStore {
    pub(crate) fn new(gate: &Gate) -> Self {
        Self {
            gate: gate.clone(),
            inner: Arc::clone(&gate.world().store),
        }
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

/// The call as it is.
macro_rules! pass {
    ($self:ident.$method:ident($($arg:expr),*)) => {
        told!($self.$method($($arg),*), |_answer| async {})
    };
}

/// The call, and what became of it for the checker, told before the process can die of it.
macro_rules! told {
    ($self:ident.$method:ident($($arg:expr),*), $tell:expr) => {{
        $self.gate.call_begins(stringify!($method)).await?;
        let answer = $self.inner.$method($($arg),*).await;
        $tell(&answer).await;
        $self.gate.call_ends(stringify!($method)).await?;
        answer
    }};
}

#[async_trait]
impl Inventory for SimStore {
    async fn host_add(
        &self,
        hosts: Vec<NewHost>,
        actor: &Actor,
    ) -> Result<Vec<HostRecord>, HostError> {
        told!(self.host_add(hosts, actor), |answer| watch::entered(
            &self.gate, answer
        ))
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
impl Rollouts for SimStore {
    async fn rollout_create(
        &self,
        plan: NewRollout,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, TriggerError> {
        let drives = worker.as_ref().map(|worker| worker.id);
        told!(self.rollout_create(plan, worker), |answer| watch::created(
            &self.gate, drives, answer
        ))
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
        told!(self.rollout_verb(id, verb, actor), |answer| watch::verb(
            &self.gate, id, verb, answer
        ))
    }
    async fn rollout_resolve(
        &self,
        id: RolloutId,
        target: Resolution,
    ) -> Result<RolloutRecord, StoreError> {
        told!(self.rollout_resolve(id, target), |answer| watch::seen(
            &self.gate, answer
        ))
    }
    async fn rollout_advance(&self, id: RolloutId) -> Result<RolloutRecord, StoreError> {
        told!(self.rollout_advance(id), |answer| watch::seen(
            &self.gate, answer
        ))
    }
    async fn rollout_attend(&self, id: RolloutId, worker: WorkerId) -> Result<(), StoreError> {
        pass!(self.rollout_attend(id, worker))
    }
    async fn known_bad(&self, version: &CommitHash) -> Result<Option<RolloutId>, StoreError> {
        pass!(self.known_bad(version))
    }
}

#[async_trait]
impl Attempts for SimStore {
    async fn attempt_get(
        &self,
        rollout: RolloutId,
        host: HostId,
    ) -> Result<Option<AttemptRecord>, StoreError> {
        pass!(self.attempt_get(rollout, host))
    }
    async fn attempt_claim(
        &self,
        rollout: RolloutId,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Claim, LeaseError> {
        told!(self.attempt_claim(rollout, worker, except), |answer| {
            watch::claimed(&self.gate, answer)
        })
    }
    async fn attempt_take_over(
        &self,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Option<Claimed>, LeaseError> {
        told!(self.attempt_take_over(worker, except), |answer| {
            watch::taken_over(&self.gate, answer)
        })
    }
    async fn attempt_record(&self, lease: &HostLease, event: &HostEvent) -> Result<(), LeaseError> {
        told!(self.attempt_record(lease, event), |answer| watch::recorded(
            &self.gate, lease, event, answer
        ))
    }
    async fn attempt_raise(
        &self,
        lease: &HostLease,
        above: Epoch,
    ) -> Result<HostLease, LeaseError> {
        told!(self.attempt_raise(lease, above), |answer| watch::raised(
            &self.gate, lease, answer
        ))
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
impl Workers for SimStore {
    async fn worker_register(&self, worker: NewWorker) -> Result<WorkerId, StoreError> {
        let worker = named(&self.gate, worker);
        told!(self.worker_register(worker), |answer| watch::registered(
            &self.gate, answer
        ))
    }
    async fn worker_renew(&self, worker: WorkerId) -> Result<(), LeaseError> {
        told!(self.worker_renew(worker), |answer| watch::renewed(
            &self.gate, worker, answer
        ))
    }
    async fn worker_leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        told!(self.worker_leave(worker), |answer| watch::left(
            &self.gate, worker, answer
        ))
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
impl Feed for SimStore {
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

impl Store for SimStore {
    fn id(&self) -> StoreId {
        self.inner.id()
    }
    fn lease_times(&self) -> LeaseTimes {
        self.inner.lease_times()
    }
}

#[async_trait]
impl Health for SimStore {
    async fn health_due(
        &self,
        worker: WorkerId,
        every: Duration,
        limit: u32,
        turns: Turns,
    ) -> Result<Vec<Due>, LeaseError> {
        pass!(self.health_due(worker, every, limit, turns))
    }
    async fn health_record(&self, host: HostId, seen: HealthSeen) -> Result<bool, StoreError> {
        pass!(self.health_record(host, seen))
    }
    async fn health_claim(
        &self,
        worker: WorkerId,
        host: HostId,
        seen: Option<Epoch>,
    ) -> Result<Option<HealthLease>, LeaseError> {
        told!(self.health_claim(worker, host, seen), |answer| {
            watch::health_claimed(&self.gate, answer)
        })
    }
    async fn health_restart(
        &self,
        lease: &HealthLease,
        limit: RestartLimit,
    ) -> Result<RestartTurn, LeaseError> {
        told!(self.health_restart(lease, limit), |answer| {
            watch::health_restart(&self.gate, lease, answer)
        })
    }
    async fn health_raise(
        &self,
        lease: &HealthLease,
        on_record: FenceSeen,
    ) -> Result<HealthLease, LeaseError> {
        told!(self.health_raise(lease, on_record), |answer| {
            watch::health_raised(&self.gate, lease, answer)
        })
    }
    async fn health_settle(
        &self,
        lease: &HealthLease,
        seen: HealthSeen,
        restart: RestartSent,
    ) -> Result<(), LeaseError> {
        told!(self.health_settle(lease, seen, restart), |answer| {
            watch::health_settled(&self.gate, lease, answer)
        })
    }
}

/// An id that is the same in every run, in place of one that the program drew.
fn named(gate: &Gate, worker: NewWorker) -> NewWorker {
    let number = u128::from(gate.world().next_worker());
    NewWorker {
        id: WorkerId(Uuid::from_u128((0xf0_u128 << 64) | number)),
        ..worker
    }
}
