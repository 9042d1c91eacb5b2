//! The traits of the store, each call the run of a query body.

mod access;
mod health;
mod lists;
mod moving;
mod outputs;

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::{
    CommitHash, Epoch, Event, HostEvent, HostId, HostName, RolloutId, Seq, StoreId, Verb, WorkerId,
    view,
};

use super::desk::Rank;
use super::store::{DieselStore, Engines};
use super::work::Work;
use super::{on_postgres, on_sqlite};
use crate::api::{Attempts, Claim, Feed, Inventory, Rollouts, Store, Workers};
use crate::error::{HostError, LeaseError, StoreError, TriggerError, VerbError};
use crate::records::*;

/// Events of other processes are looked for this often.
const LOOK: Duration = Duration::from_millis(100);

/// Runs one query body on whichever database this store has.
macro_rules! run {
    ($self:ident, write $rank:ident, |$conn:ident, $work:ident, $queries:ident| $body:expr) => {
        match &$self.engine {
            Engines::Sqlite(engine) => {
                use on_sqlite::queries as $queries;
                let body = move |$conn: &mut on_sqlite::Conn, $work: &mut Work| $body;
                let call = engine.write(Rank::$rank, body);
                $self
                    .timed($crate::diesel_store::timings::CallKind::Write, call)
                    .await
            }
            Engines::Postgres(engine) => {
                use on_postgres::queries as $queries;
                let body = move |$conn: &mut on_postgres::Conn, $work: &mut Work| $body;
                let call = engine.write(Rank::$rank, body);
                $self
                    .timed($crate::diesel_store::timings::CallKind::Write, call)
                    .await
            }
        }
    };
    ($self:ident, read, |$conn:ident, $work:ident, $queries:ident| $body:expr) => {
        match &$self.engine {
            Engines::Sqlite(engine) => {
                use on_sqlite::queries as $queries;
                let body = move |$conn: &mut on_sqlite::Conn, $work: &mut Work| $body;
                $self
                    .timed(
                        $crate::diesel_store::timings::CallKind::Read,
                        engine.read(body),
                    )
                    .await
            }
            Engines::Postgres(engine) => {
                use on_postgres::queries as $queries;
                let body = move |$conn: &mut on_postgres::Conn, $work: &mut Work| $body;
                $self
                    .timed(
                        $crate::diesel_store::timings::CallKind::Read,
                        engine.read(body),
                    )
                    .await
            }
        }
    };
}

use run;

fn keys(ids: &[HostId]) -> HashSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[async_trait]
impl Inventory for DieselStore {
    async fn host_add(
        &self,
        hosts: Vec<NewHost>,
        actor: &Actor,
    ) -> Result<Vec<HostRecord>, HostError> {
        let actor = actor.clone();
        run!(self, write Host, |conn, work, q| q::inventory::host_add(conn, work, &hosts, &actor))
    }

    async fn host_edit(
        &self,
        name: &HostName,
        host: NewHost,
        actor: &Actor,
    ) -> Result<HostRecord, HostError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write Rollout, |conn, work, q| q::inventory::host_edit(
            conn, work, &name, None, &host, &actor
        ))
    }

    async fn host_edit_seen(
        &self,
        seen: &HostRecord,
        host: NewHost,
        actor: &Actor,
    ) -> Result<HostRecord, HostError> {
        let (seen, actor) = (seen.clone(), actor.clone());
        run!(self, write Rollout, |conn, work, q| q::inventory::host_edit(
            conn, work, &seen.name, Some(&seen), &host, &actor
        ))
    }

    async fn host_remove(&self, name: &HostName, actor: &Actor) -> Result<(), HostError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write Rollout, |conn, work, q| q::inventory::host_remove(
            conn, work, &name, None, &actor
        ))
    }

    async fn host_remove_seen(&self, seen: &HostRecord, actor: &Actor) -> Result<(), HostError> {
        let (seen, actor) = (seen.clone(), actor.clone());
        run!(self, write Rollout, |conn, work, q| q::inventory::host_remove(
            conn, work, &seen.name, Some(&seen), &actor
        ))
    }

    async fn host_list(&self) -> Result<Vec<HostRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::inventory::host_list(
            conn, work
        ))
    }

    async fn host_get(&self, name: &HostName) -> Result<Option<HostRecord>, StoreError> {
        let name = name.clone();
        run!(self, read, |conn, work, q| q::inventory::host_get(
            conn, work, &name
        ))
    }

    async fn host_pin(
        &self,
        name: &HostName,
        keys: Vec<String>,
        actor: &Actor,
    ) -> Result<(), HostError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write Host, |conn, work, q| q::inventory::host_pin(
            conn, work, &name, None, &keys, &actor
        ))
    }

    async fn host_pin_seen(
        &self,
        seen: &HostRecord,
        keys: Vec<String>,
        actor: &Actor,
    ) -> Result<(), HostError> {
        let (seen, actor) = (seen.clone(), actor.clone());
        run!(self, write Host, |conn, work, q| q::inventory::host_pin(
            conn, work, &seen.name, Some(&seen), &keys, &actor
        ))
    }

    async fn host_clear_attention(&self, name: &HostName, actor: &Actor) -> Result<(), HostError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write Host, |conn, work, q| q::inventory::host_clear_attention(
            conn, work, &name, &actor
        ))
    }

    async fn host_views(&self, rollout: Option<RolloutId>) -> Result<Vec<view::Host>, StoreError> {
        run!(self, read, |conn, work, q| q::views::host_views(
            conn, work, rollout
        ))
    }
}

#[async_trait]
impl Rollouts for DieselStore {
    async fn rollout_create(
        &self,
        plan: NewRollout,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, TriggerError> {
        run!(self, write Rollout, |conn, work, q| q::create::rollout_create(
            conn,
            work,
            &plan,
            worker.as_ref()
        ))
    }

    async fn rollout_get(&self, id: RolloutId) -> Result<Option<RolloutRecord>, StoreError> {
        let id = id.to_string();
        run!(self, read, |conn, work, q| q::views::rollout_get(
            conn, work, &id
        ))
    }

    async fn rollout_active(&self) -> Result<Option<RolloutRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::views::rollout_active(
            conn, work
        ))
    }

    async fn rollout_latest(&self) -> Result<Option<RolloutRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::views::rollout_latest(
            conn, work
        ))
    }

    async fn rollout_list(
        &self,
        before: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<RolloutRecord>, StoreError> {
        let before = before.map(|id| id.to_string());
        run!(self, read, |conn, work, q| q::views::rollout_list(
            conn,
            work,
            before.as_deref(),
            i64::from(limit)
        ))
    }

    async fn rollout_view(&self, id: RolloutId) -> Result<Option<view::Rollout>, StoreError> {
        let id = id.to_string();
        run!(self, read, |conn, work, q| q::views::rollout_view(
            conn, work, &id
        ))
    }

    async fn status(&self) -> Result<view::Status, StoreError> {
        run!(self, read, |conn, work, q| q::views::status(conn, work))
    }

    async fn attempt_list(&self, id: RolloutId) -> Result<Vec<AttemptRecord>, StoreError> {
        let id = id.to_string();
        run!(self, read, |conn, work, q| q::views::attempt_list(
            conn, work, &id
        ))
    }

    async fn rollout_verb(
        &self,
        id: RolloutId,
        verb: Verb,
        actor: &Actor,
    ) -> Result<(), VerbError> {
        let actor = actor.clone();
        run!(self, write Rollout, |conn, work, q| q::verbs::rollout_verb(
            conn, work, id, verb, &actor
        ))
    }

    async fn rollout_resolve(
        &self,
        id: RolloutId,
        target: Resolution,
    ) -> Result<RolloutRecord, StoreError> {
        let id = id.to_string();
        run!(self, write Rollout, |conn, work, q| q::advance::rollout_resolve(
            conn, work, &id, &target
        ))
    }

    async fn rollout_advance(&self, id: RolloutId) -> Result<RolloutRecord, StoreError> {
        let id = id.to_string();
        run!(self, write Rollout, |conn, work, q| q::advance::rollout_advance(conn, work, &id))
    }

    async fn rollout_attend(&self, id: RolloutId, worker: WorkerId) -> Result<(), StoreError> {
        let (id, worker) = (id.to_string(), worker.to_string());
        run!(self, write Host, |conn, work, q| q::workers::rollout_attend(
            conn, work, &id, &worker
        ))
    }

    async fn rollout_leaves(
        &self,
        id: RolloutId,
        worker: WorkerId,
        hosts: Option<LeftToOthers>,
    ) -> Result<(), StoreError> {
        let (id, worker) = (id.to_string(), worker.to_string());
        run!(self, write Host, |conn, work, q| q::workers::rollout_leaves(
            conn, work, &id, &worker, hosts.as_ref()
        ))
    }

    async fn known_bad(&self, version: &CommitHash) -> Result<Option<RolloutId>, StoreError> {
        let version = version.to_string();
        run!(self, read, |conn, work, q| q::views::known_bad(
            conn, work, &version
        ))
    }
}

#[async_trait]
impl Attempts for DieselStore {
    async fn attempt_claim(
        &self,
        rollout: RolloutId,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Claim, LeaseError> {
        let except = keys(except);
        run!(self, write Rollout, |conn, work, q| q::claim::attempt_claim(
            conn, work, rollout, worker, &except
        ))
    }

    async fn attempt_take_over(
        &self,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Option<Claimed>, LeaseError> {
        let except = keys(except);
        run!(self, write Rollout, |conn, work, q| q::claim::attempt_take_over(
            conn, work, worker, &except
        ))
    }

    async fn attempt_record(&self, lease: &HostLease, event: &HostEvent) -> Result<(), LeaseError> {
        let (lease, event) = (lease.clone(), event.clone());
        match event {
            HostEvent::Settled { .. } => {
                run!(self, write Rollout, |conn, work, q| q::record::attempt_record(
                    conn, work, &lease, &event
                ))
            }
            _ => run!(self, write Host, |conn, work, q| q::record::attempt_record(
                conn, work, &lease, &event
            )),
        }
    }

    async fn attempt_raise(
        &self,
        lease: &HostLease,
        above: Epoch,
    ) -> Result<HostLease, LeaseError> {
        let lease = lease.clone();
        run!(self, write Host, |conn, work, q| q::record::attempt_raise(
            conn, work, &lease, above
        ))
    }

    async fn attempt_get(
        &self,
        rollout: RolloutId,
        host: HostId,
    ) -> Result<Option<AttemptRecord>, StoreError> {
        let (rollout, host) = (rollout.to_string(), host.to_string());
        run!(self, read, |conn, work, q| q::views::attempt_get(
            conn, work, &rollout, &host
        ))
    }

    async fn attempt_steps(
        &self,
        rollout: RolloutId,
        host: &HostName,
    ) -> Result<Vec<StepRecord>, StoreError> {
        let (rollout, host) = (rollout.to_string(), host.to_string());
        run!(self, read, |conn, work, q| q::views::attempt_steps(
            conn, work, &rollout, &host
        ))
    }
}

#[async_trait]
impl Workers for DieselStore {
    async fn worker_register(&self, worker: NewWorker) -> Result<WorkerId, StoreError> {
        let id = worker.id;
        run!(self, write Host, |conn, work, q| q::workers::worker_register(conn, work, &worker))
            .map(|()| id)
    }

    async fn worker_renew(&self, worker: WorkerId) -> Result<(), LeaseError> {
        let worker = worker.to_string();
        run!(self, write Lease, |conn, work, q| q::workers::worker_renew(conn, work, &worker))
    }

    async fn worker_leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        let worker = worker.to_string();
        run!(self, write Slots, |conn, work, q| q::workers::worker_leave(conn, work, &worker))
    }

    async fn worker_alive(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::workers::worker_alive(
            conn, work
        ))
    }

    async fn slot_acquire(&self, slot: SlotId, limit: u32) -> Result<bool, LeaseError> {
        let limit = i64::from(limit);
        run!(self, write Slots, |conn, work, q| q::workers::slot_acquire(
            conn, work, slot, limit, None
        ))
    }

    async fn slot_acquire_for_check(
        &self,
        slot: SlotId,
        limit: u32,
        checks: u32,
    ) -> Result<bool, LeaseError> {
        let (limit, checks) = (i64::from(limit), i64::from(checks));
        run!(self, write Slots, |conn, work, q| q::workers::slot_acquire(
            conn,
            work,
            slot,
            limit,
            Some(checks)
        ))
    }

    async fn slot_release(&self, slot: SlotId) -> Result<(), StoreError> {
        run!(self, write Slots, |conn, work, q| q::workers::slot_release(
            conn, work, slot
        ))
    }
}

#[async_trait]
impl Feed for DieselStore {
    async fn events_after(
        &self,
        after: Seq,
        rollout: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rollout = rollout.map(|id| id.to_string());
        run!(self, read, |conn, work, q| q::feed::events_after(
            conn,
            work,
            after.0,
            rollout.as_deref(),
            i64::from(limit)
        ))
    }

    async fn events_wait(&self, after: Seq, patience: Duration) -> Result<(), StoreError> {
        let mut own = self.seq.subscribe();
        let waited = async {
            loop {
                if *own.borrow_and_update() > after.0 || self.last_event().await? > after.0 {
                    return Ok(());
                }
                tokio::select! {
                    biased;
                    changed = own.changed() => {
                        if changed.is_err() {
                            return Ok(());
                        }
                    }
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        };
        tokio::time::timeout(patience, waited)
            .await
            .unwrap_or(Ok(()))
    }
}

#[cfg(feature = "testing")]
impl DieselStore {
    /// What does not hold in the store, a line each: counters that differ from a recount, leases without an attempt,
    /// changes without an event. Nothing when all is well. Reads everything.
    pub async fn consistency_check(&self) -> Result<Vec<String>, StoreError> {
        run!(self, read, |conn, work, q| q::check::consistency(
            conn, work
        ))
    }
}

impl DieselStore {
    async fn last_event(&self) -> Result<i64, StoreError> {
        run!(self, read, |conn, work, q| q::feed::last(conn, work))
    }
}

impl Store for DieselStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn lease_times(&self) -> LeaseTimes {
        self.inputs.times
    }

    fn schema_known(&self) -> Schema {
        self.inputs.schema
    }
}
