//! The boundary: what a store promises. One trait per concern; [`Store`] is all of them.

mod access;
mod audit;
mod health;
mod lists;
mod outputs;

pub use access::{Access, sign_in_delay};
pub use audit::Audit;
pub use health::Health;
pub use lists::Lists;
pub use outputs::Outputs;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::view;
use fleet_types::{
    Epoch, Event, HostEvent, HostId, HostName, RolloutId, Seq, StoreId, Verb, WorkerId,
};

use crate::error::{HostError, LeaseError, StoreError, TriggerError, VerbError};
use crate::records::*;

/// The inventory.
#[async_trait]
pub trait Inventory: fmt::Debug + Send + Sync {
    /// Adds all of these hosts, or none when one is refused (the error names it).
    async fn host_add(
        &self,
        hosts: Vec<NewHost>,
        actor: &Actor,
    ) -> Result<Vec<HostRecord>, HostError>;
    /// Replaces an entry. Refused while the host is in `updating`, and while a health check restarts its service.
    async fn host_edit(
        &self,
        name: &HostName,
        host: NewHost,
        actor: &Actor,
    ) -> Result<HostRecord, HostError>;
    /// The same for a host that was looked at: refused as stale when what people set of it is not as `seen` any more.
    async fn host_edit_seen(
        &self,
        seen: &HostRecord,
        host: NewHost,
        actor: &Actor,
    ) -> Result<HostRecord, HostError>;
    /// Takes a host out of the fleet: its history stays, its pending attempt becomes `skipped (removed)`. Refused while it
    /// is in `updating`, and while a health check restarts its service.
    async fn host_remove(&self, name: &HostName, actor: &Actor) -> Result<(), HostError>;
    /// The same for a host that was looked at: refused as stale when what people set of it is not as `seen` any more.
    async fn host_remove_seen(&self, seen: &HostRecord, actor: &Actor) -> Result<(), HostError>;
    /// Every host of the fleet, by name.
    async fn host_list(&self) -> Result<Vec<HostRecord>, StoreError>;
    /// One host.
    async fn host_get(&self, name: &HostName) -> Result<Option<HostRecord>, StoreError>;
    /// Pins these host keys (lines of OpenSSH's public key format) in place of those pinned before.
    async fn host_pin(
        &self,
        name: &HostName,
        keys: Vec<String>,
        actor: &Actor,
    ) -> Result<(), HostError>;
    /// The same for a host that was looked at: refused as stale when what people set of it is not as `seen` any more.
    async fn host_pin_seen(
        &self,
        seen: &HostRecord,
        keys: Vec<String>,
        actor: &Actor,
    ) -> Result<(), HostError>;
    /// Clears the mark that a person must look.
    async fn host_clear_attention(&self, name: &HostName, actor: &Actor) -> Result<(), HostError>;
    /// Hosts as shown, each with its part in `rollout`, or in its last one. A bounded number of queries, whatever the fleet.
    async fn host_views(&self, rollout: Option<RolloutId>) -> Result<Vec<view::Host>, StoreError>;
}

/// Rollouts as a whole.
#[async_trait]
pub trait Rollouts: fmt::Debug + Send + Sync {
    /// Freezes a plan in one transaction: rollout, stages, attempts with a snapshot of each host, the first events, and
    /// the worker that will drive it, under a lease. At most one rollout is active; the loser learns which.
    async fn rollout_create(
        &self,
        plan: NewRollout,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, TriggerError>;
    /// One rollout as stored.
    async fn rollout_get(&self, id: RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// The active one.
    async fn rollout_active(&self) -> Result<Option<RolloutRecord>, StoreError>;
    /// The latest, active or not.
    async fn rollout_latest(&self) -> Result<Option<RolloutRecord>, StoreError>;
    /// The newest first; those older than `before`.
    async fn rollout_list(
        &self,
        before: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<RolloutRecord>, StoreError>;
    /// A rollout as shown, from one snapshot.
    async fn rollout_view(&self, id: RolloutId) -> Result<Option<view::Rollout>, StoreError>;
    /// Fleet, rollout and feed position from one snapshot; of the same size however large the fleet is.
    async fn status(&self) -> Result<view::Status, StoreError>;
    /// Its attempts, in plan order.
    async fn attempt_list(&self, id: RolloutId) -> Result<Vec<AttemptRecord>, StoreError>;
    /// Pause, resume or abort. Idempotent: asking for what is already so succeeds and changes nothing.
    async fn rollout_verb(&self, id: RolloutId, verb: Verb, actor: &Actor)
    -> Result<(), VerbError>;
    /// Makes the resolved target durable. The first one stands: the answer is what is on record now. What a newer version
    /// of the program has written to stays as it is.
    async fn rollout_resolve(
        &self,
        id: RolloutId,
        target: Resolution,
    ) -> Result<RolloutRecord, StoreError>;
    /// Carries the rollout on as far as its rows allow: closes the stage, opens the next, ends it. Called after every
    /// outcome and by whoever looks; safe to call at any time from any process. Says where it stands then. What a newer
    /// version of the program has written to stays as it is.
    async fn rollout_advance(&self, id: RolloutId) -> Result<RolloutRecord, StoreError>;
    /// Puts on record that this worker drives the rollout, so that others see it attended while the worker lives. The
    /// worker given to `rollout_create` is on record already; one that resumes a rollout or takes it over says so here.
    async fn rollout_attend(&self, id: RolloutId, worker: WorkerId) -> Result<(), StoreError>;
    /// Puts on record which hosts this worker leaves to others because it cannot load their credential, in place of what
    /// it said before. People see it while the rollout is active and the worker lives. For a worker that attends.
    async fn rollout_leaves(
        &self,
        id: RolloutId,
        worker: WorkerId,
        hosts: Option<LeftToOthers>,
    ) -> Result<(), StoreError>;
    /// The commit halted a rollout by failing on touched hosts: which one.
    async fn known_bad(
        &self,
        version: &fleet_types::CommitHash,
    ) -> Result<Option<RolloutId>, StoreError>;
}

/// One host's part, under a lease.
#[async_trait]
pub trait Attempts: fmt::Debug + Send + Sync {
    /// Claims the next pending host of the current stage for this worker, in plan order. Under a lock on the rollout's
    /// row, so that two processes never decide on old numbers. Skips hosts whose machine is being worked on, and hosts
    /// in `except` (their credential cannot be loaded here). Fails with [`LeaseError::Lost`] once the worker's lease ran out.
    async fn attempt_claim(
        &self,
        rollout: RolloutId,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Claim, LeaseError>;
    /// Takes over one attempt of a worker that is gone: its lease ran out, or its process is known dead. The epoch grows.
    /// Fails with [`LeaseError::Lost`] once the lease of the worker that asks ran out. What a newer version of the program
    /// worked on, or only wrote to the rollout of, is left to its like.
    async fn attempt_take_over(
        &self,
        worker: WorkerId,
        except: &[HostId],
    ) -> Result<Option<Claimed>, LeaseError>;
    /// Makes an event of the attempt durable, with its row in the feed, in one transaction. The engine acts only after
    /// that. Fails with [`LeaseError::Lost`] once a later epoch owns the host.
    async fn attempt_record(&self, lease: &HostLease, event: &HostEvent) -> Result<(), LeaseError>;
    /// Raises our epoch above one that was found on the host, if the lease is still ours.
    async fn attempt_raise(&self, lease: &HostLease, above: Epoch)
    -> Result<HostLease, LeaseError>;
    /// One host's part in a rollout, if it has one.
    async fn attempt_get(
        &self,
        rollout: RolloutId,
        host: HostId,
    ) -> Result<Option<AttemptRecord>, StoreError>;
    /// What each step of an attempt printed, in order; when that was removed by now, says so.
    async fn attempt_steps(
        &self,
        rollout: RolloutId,
        host: &HostName,
    ) -> Result<Vec<StepRecord>, StoreError>;
}

/// The processes that do the work, and the connection slots they hold.
#[async_trait]
pub trait Workers: fmt::Debug + Send + Sync {
    /// Registers this process; its lease starts now. Refused as too new once the schema has gone on so far that this
    /// program must not work on it any more; so is a renewal.
    async fn worker_register(&self, worker: NewWorker) -> Result<WorkerId, StoreError>;
    /// Renews the lease. [`LeaseError::Lost`] once it ran out: the process must register anew and owns nothing.
    async fn worker_renew(&self, worker: WorkerId) -> Result<(), LeaseError>;
    /// Leaves: slots are free and what it still held can be taken over at once.
    async fn worker_leave(&self, worker: WorkerId) -> Result<(), StoreError>;
    /// The workers that are alive: lease valid, and process not known dead.
    async fn worker_alive(&self) -> Result<Vec<WorkerRecord>, StoreError>;
    /// Takes a connection slot, if fewer than `limit` are held by live workers, or by dead ones within the grace. `true`
    /// when it is held, also when it was taken before: who lost the answer asks again for the same one.
    async fn slot_acquire(&self, slot: SlotId, limit: u32) -> Result<bool, LeaseError>;
    /// The same for a health check: besides, fewer than `checks` may be held for health checks.
    async fn slot_acquire_for_check(
        &self,
        slot: SlotId,
        limit: u32,
        checks: u32,
    ) -> Result<bool, LeaseError>;
    /// Gives it back. Idempotent. After that it is free, also when its taking was still under way.
    async fn slot_release(&self, slot: SlotId) -> Result<(), StoreError>;
}

/// The event feed.
#[async_trait]
pub trait Feed: fmt::Debug + Send + Sync {
    /// Events after `after`, oldest first. A reader that goes on from the last number it saw misses none.
    async fn events_after(
        &self,
        after: Seq,
        rollout: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError>;
    /// Returns when there may be an event after `after`, or when `patience` is over. Events of other processes are
    /// noticed by looking (every 100 ms on SQLite), own ones at once.
    async fn events_wait(&self, after: Seq, patience: Duration) -> Result<(), StoreError>;
}

/// All of it.
pub trait Store: Inventory + Rollouts + Attempts + Workers + Feed {
    /// Which store this is; a host remembers it.
    fn id(&self) -> StoreId;
    /// How long a worker's lease lasts.
    fn lease_times(&self) -> LeaseTimes;
    /// The schema that this program knows. A rollout that a program with a newer one has written to is not carried on
    /// here: nothing of it is claimed, taken over, resolved or closed.
    fn schema_known(&self) -> Schema;
}

/// A store with everything that the API and the pages need beside the work itself. Health is the checker's part, and old
/// outputs are removed by whoever does the work.
pub trait AdminStore: Store + Access + Audit + Health + Lists + Outputs {}

impl<T: Store + Access + Audit + Health + Lists + Outputs> AdminStore for T {}

/// What came of asking for a host to work on.
#[derive(Clone, Debug)]
pub enum Claim {
    /// This one.
    Claimed(Box<Claimed>),
    /// None now.
    Nothing(Idle),
}

/// Why there is no host to claim now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// The rollout is paused, halting, aborting or over.
    NotRunning,
    /// The target is not resolved yet.
    Unresolved,
    /// As many hosts are in `updating` as may be.
    Full,
    /// All hosts of the stage are taken; it is waiting for the last ones.
    StageTaken,
    /// Those left are on machines that are being worked on, or were excepted.
    NoneSuitable,
    /// A newer version of the program has written to the rollout, and carries it on.
    LeftToNewer,
}
