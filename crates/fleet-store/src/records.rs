//! What goes into the store and comes out of it. Rows and diesel types stay inside.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use fleet_types::{
    Address, AppSettings, AttemptStatus, CommitHash, Epoch, HealthState, HostId, HostName, Policy,
    Progress, Reason, RolloutId, RolloutKind, RolloutState, StepId, StepOutput, Timestamp,
    UserName, WorkerId,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod access;
mod health;
mod left;
mod lists;
mod shown;

pub use access::*;
pub use health::*;
pub use left::*;
pub use lists::*;

/// How far a schema goes: the number of its last migration. A program that knows one knows all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schema(pub i64);

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

/// Who asks, for the feed and the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub name: String,
    /// From where: an address, or the machine that a command was typed on.
    pub source: String,
}

impl Actor {
    /// Somebody at this machine.
    #[must_use]
    pub fn local(name: impl Into<String>) -> Self {
        Self::new(name, "local")
    }

    /// Somebody somewhere.
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
        }
    }
}

/// What a client sends along so that a request that it repeats is carried out once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Unique to the client: who, and the key they chose.
    pub key: String,
    /// What was asked for; the same key for something else is refused.
    pub fingerprint: String,
}

/// How to reach and update a host: what is frozen into an attempt when a rollout is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// DNS name or IP address.
    pub address: Address,
    /// Port of sshd.
    pub port: u16,
    /// User to sign in as.
    pub user: UserName,
    /// Private key file; none means the configured default or the agent.
    pub key: Option<String>,
    /// Hosts to go through, outermost first: `user@address:port`, each part but the address optional.
    pub jump: Vec<String>,
    /// How its service is updated.
    pub app: AppSettings,
}

/// A host to add, or the new content of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHost {
    /// Name.
    pub name: HostName,
    /// How to reach and update it.
    pub spec: HostSpec,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Owner.
    pub owner: Option<String>,
}

/// A host of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// Stays the same over renames.
    pub id: HostId,
    /// Name.
    pub name: HostName,
    /// How to reach and update it.
    pub spec: HostSpec,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Owner.
    pub owner: Option<String>,
    /// Pinned host keys.
    pub host_keys: Vec<String>,
    /// The commit it was last seen on.
    pub current_version: Option<CommitHash>,
    /// The commit before its last update.
    pub previous_version: Option<CommitHash>,
    /// The commit it is or was last to be on.
    pub target_version: Option<CommitHash>,
    /// Status of its last attempt.
    pub update_status: Option<AttemptStatus>,
    /// Whether a person must look.
    pub needs_attention: bool,
    /// When its last attempt ended.
    pub last_update_at: Option<Timestamp>,
    /// What the health checker last saw.
    pub health: HealthState,
}

/// A rollout to freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRollout {
    /// What kind.
    pub kind: RolloutKind,
    /// The hosts in order, each with the version it goes to when that is its own (rollback).
    pub hosts: Vec<PlannedHost>,
    /// The one target, when it is known already.
    pub target: Option<CommitHash>,
    /// What was asked for, as shown.
    pub target_ref: String,
    /// How.
    pub policy: Policy,
    /// The rollout this one retries or takes back.
    pub source: Option<RolloutId>,
    /// Who.
    pub actor: Actor,
    /// What they said.
    pub message: Option<String>,
    /// Start although the commit is known bad.
    pub force: bool,
    /// Carry the request out once, however often it is made.
    pub request: Option<RequestKey>,
}

/// One host of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHost {
    /// Which.
    pub host: HostId,
    /// Rollback: from which version, else the host is skipped as moved on.
    pub from: Option<CommitHash>,
    /// Rollback: to which version.
    pub to: Option<CommitHash>,
}

/// What became of resolving the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// This commit.
    Commit(CommitHash),
    /// It cannot be resolved: the rollout ends halted, nothing touched.
    Impossible(String),
}

/// A rollout as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Its id.
    pub id: RolloutId,
    /// What kind.
    pub kind: RolloutKind,
    /// Where it stands.
    pub state: RolloutState,
    /// The one target once resolved.
    pub target: Option<CommitHash>,
    /// What was asked for.
    pub target_ref: String,
    /// How.
    pub policy: Policy,
    /// The rollout this one retries or takes back.
    pub source: Option<RolloutId>,
    /// Who.
    pub started_by: String,
    /// What they said.
    pub message: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The current stage, from 1.
    pub stage: u32,
    /// Why it is paused, halted or aborted.
    pub reason: Option<String>,
    /// Hosts in it.
    pub hosts: u32,
    /// The newest schema that is known to any program that wrote to it.
    pub schema: Schema,
}

/// One host's part in a rollout, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The rollout.
    pub rollout: RolloutId,
    /// The host.
    pub host: HostId,
    /// Its name when the plan was frozen.
    pub name: HostName,
    /// From 1.
    pub stage: u32,
    /// How to reach and update it, frozen at the trigger.
    pub spec: HostSpec,
    /// The version it goes to.
    pub target: Option<CommitHash>,
    /// Rollback: the version it must be on.
    pub from: Option<CommitHash>,
    /// Where it stands.
    pub status: AttemptStatus,
    /// Why.
    pub reason: Option<Reason>,
    /// Whether any mutating command may have run.
    pub touched: bool,
    /// Whether it ended so that a person must look.
    pub needs_attention: bool,
    /// What is remembered of it while it is under way.
    pub progress: Progress,
    /// The step it is in, or that decided it.
    pub step: Option<StepId>,
    /// Why, for people.
    pub message: Option<String>,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// When it settled.
    pub finished_at: Option<Timestamp>,
    /// How often another worker took it over.
    pub takeovers: u32,
}

/// An attempt that this worker now owns.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Proof of ownership, for every later write.
    pub lease: HostLease,
    /// The attempt.
    pub attempt: AttemptRecord,
    /// The host's pinned keys as they are now: pinning anew during a rollout must work.
    pub host_keys: Vec<String>,
    /// What the rollout was asked for: a branch, a commit, or the rollout that it takes back.
    pub target_ref: String,
    /// Settle wait of the rollout.
    pub settle: Duration,
    /// SSH connections at once for this rollout.
    pub concurrency: u32,
    /// What kind of rollout it is part of.
    pub kind: RolloutKind,
    /// Whether a command that was sent before may be under way on the host still, or on its way there: a health checker
    /// restarted the service lately, or the last attempt that touched the host ended without proof of where it stands.
    pub left_behind: bool,
}

/// Proof that a worker owns a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLease {
    /// The rollout.
    pub rollout: RolloutId,
    /// The host.
    pub host: HostId,
    /// Who owns it.
    pub worker: WorkerId,
    /// The fencing number.
    pub epoch: Epoch,
}

/// What one step printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// The step.
    pub step: StepId,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none if it did not, or its end was not seen.
    pub finished_at: Option<Timestamp>,
    /// Whether it failed, and how.
    pub failed: Option<(Reason, String)>,
    /// What it printed.
    pub output: StepOutput,
    /// The text of what it printed was removed, for it had been kept for so many days.
    pub removed_after_days: Option<NonZeroU32>,
}

/// What came of removing old outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputsRemoved {
    /// Steps whose output was removed.
    pub outputs: u32,
    /// Whether more is to be removed now.
    pub more: bool,
}

/// A process that wants to do work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWorker {
    /// Its id; a new one for every registration.
    pub id: WorkerId,
    /// What it is, for people: `rollout-cli on laptop`.
    pub label: String,
    /// Whether it does the work of every rollout, as a server does, so that `--detach` has somebody to hand over to.
    pub serves: bool,
    /// Which process it is, so that its death can be known at once.
    pub process: Option<ProcessId>,
}

/// A process of one boot of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// `/proc/sys/kernel/random/boot_id`
    pub boot: String,
    /// Inode of the pid namespace.
    pub pid_namespace: u64,
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, which tells a reused pid from the old one.
    pub started: u64,
}

/// A worker as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Its id.
    pub id: WorkerId,
    /// What it is.
    pub label: String,
    /// Whether it serves every rollout.
    pub serves: bool,
    /// Which process.
    pub process: Option<ProcessId>,
    /// When it registered.
    pub since: Timestamp,
    /// The schema that its program knows.
    pub schema: Schema,
}

/// A connection slot, by a number that who asks for it has chosen: when the answer is lost, the same slot can be asked for
/// again, or given back unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId {
    /// Who holds it, or asks for it.
    pub worker: WorkerId,
    /// A number that no slot ever had.
    pub number: i64,
}

impl SlotId {
    /// A slot that nobody has asked for yet.
    #[must_use]
    pub fn fresh(worker: WorkerId) -> Self {
        let (_, low) = Uuid::new_v4().as_u64_pair();
        Self {
            worker,
            number: i64::try_from(low & i64::MAX.cast_unsigned()).unwrap_or(i64::MAX),
        }
    }
}

/// The times that leases go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// A lease not renewed for this long is lost.
    pub lease: Duration,
    /// It is renewed this often.
    pub renew: Duration,
    /// A worker that could not renew for this long sends no further mutating command. Less than `lease`.
    pub fence: Duration,
    /// A dead worker's connection slots count for this long after its lease ran out.
    pub slot_grace: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            renew: Duration::from_secs(5),
            fence: Duration::from_secs(20),
            slot_grace: Duration::from_secs(5),
        }
    }
}

/// How much of a fleet was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Hosts, those that were removed too.
    pub hosts: usize,
    /// Rollouts.
    pub rollouts: usize,
    /// Events.
    pub events: usize,
    /// People.
    pub users: usize,
    /// Tokens of programs.
    pub tokens: usize,
    /// Entries of the audit trail.
    pub audit: usize,
}
