//! The JSON that people and programs see: the same on the command line and over HTTP. Fields are only ever added.

mod access;
mod inventory;
mod plan;
mod steps;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{RolloutId, Seq};
use crate::status::{AttemptStatus, HealthState, RolloutKind, RolloutState, StageState};
use crate::time::Timestamp;

pub use access::{AuditEntry, NewToken, Token, User};
pub use inventory::{
    CheckDone, EnrolledHost, HealthCheck, HostCheck, HostEntry, HostKey, HostProblem, HostSeen,
};
pub use plan::{Plan, PlannedStage};
pub use steps::{StepOutput, output_removed};

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// Where it stands.
    pub state: RolloutState,
    /// What kind.
    pub kind: RolloutKind,
    /// Where to.
    pub target: Target,
    /// Who started it.
    pub started_by: String,
    /// What they said about it.
    pub message: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How.
    pub policy: PolicyView,
    /// The current stage, from 1; the last one when it is over.
    pub stage: u32,
    /// All stages that have hosts.
    pub stages: Vec<Stage>,
    /// All hosts by status.
    pub counts: Counts,
    /// Why it is halted, aborted or paused.
    pub reason: Option<String>,
    /// The rollout that this one retries or takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RolloutId>,
    /// Why nothing is moving, or what is: hosts in flight, with step, since when and until when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<InFlight>,
    /// Whether a live process works on it.
    #[serde(default)]
    pub attended: bool,
    /// Hosts that live processes leave to others, because they cannot load their credential, by process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_to_others: Vec<LeftToOthers>,
}

/// Where a rollout goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Target {
    /// The commit; null until it is resolved, and for a rollback, where each host has its own.
    pub version: Option<String>,
    /// What was asked for: a commit, a branch, or the rollout that is taken back.
    #[serde(rename = "ref")]
    pub reference: String,
}

/// The policy of a rollout as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PolicyView {
    /// Cumulative percentages.
    pub stages: Vec<u32>,
    /// Threshold of the gate.
    pub max_failure_percent: u32,
    /// SSH connections at once.
    pub concurrency: u32,
    /// Hosts in `updating` at once.
    pub max_in_flight: u32,
    /// Settle wait.
    pub settle_seconds: f64,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stage {
    /// From 1.
    pub index: u32,
    /// Cumulative percentage.
    pub percent: u32,
    /// Hosts in it.
    pub hosts: u32,
    /// How many may fail; one more halts.
    pub may_fail: u32,
    /// Where it stands.
    pub state: StageState,
    /// Its hosts by status.
    pub counts: Counts,
}

/// Hosts by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Counts {
    /// Not started.
    pub pending: u32,
    /// Under way.
    pub updating: u32,
    /// On the target.
    pub success: u32,
    /// Failed.
    pub failed: u32,
    /// Proven back.
    pub rolled_back: u32,
    /// Never started.
    pub skipped: u32,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.pending + self.updating + self.success + self.failed + self.rolled_back + self.skipped
    }

    /// The count of one status.
    pub fn of(&mut self, status: AttemptStatus) -> &mut u32 {
        match status {
            AttemptStatus::Pending => &mut self.pending,
            AttemptStatus::Updating => &mut self.updating,
            AttemptStatus::Success => &mut self.success,
            AttemptStatus::Failed => &mut self.failed,
            AttemptStatus::RolledBack => &mut self.rolled_back,
            AttemptStatus::Skipped => &mut self.skipped,
        }
    }
}

/// A host that is being worked on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InFlight {
    /// Its name.
    pub host: String,
    /// The step it is in.
    pub step: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When that step's limit passes.
    pub deadline: Option<Timestamp>,
}

/// Hosts that one process leaves to others, because it cannot load their credential. Its log says why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeftToOthers {
    /// The process, by the name it gives itself.
    pub process: String,
    /// How many hosts.
    pub hosts: u32,
    /// The first of them by name; ten at most.
    pub first: Vec<String>,
}

/// The fleet in numbers; of the same size however large the fleet is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Fleet {
    /// Hosts in all.
    pub hosts: u32,
    /// How many run which version, most first; those past the twentieth are summed up as `other`.
    pub versions: Vec<VersionCount>,
    /// How many are in which health.
    pub health: HealthCounts,
    /// Hosts that a person must look at.
    pub needs_attention: u32,
    /// Hosts being worked on.
    pub updating: u32,
}

/// One version's share of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VersionCount {
    /// The commit; null for hosts never looked at.
    pub version: Option<String>,
    /// How many.
    pub hosts: u32,
}

/// Hosts by health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HealthCounts {
    /// Service active.
    pub active: u32,
    /// Service not active.
    pub inactive: u32,
    /// Restarted as often as allowed.
    pub unhealthy: u32,
    /// Could not be asked.
    pub unreachable: u32,
    /// Not asked yet.
    pub unknown: u32,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Host {
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// SSH port.
    pub port: u16,
    /// SSH user.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Owner.
    pub owner: Option<String>,
    /// The commit it was last seen on.
    pub current_version: Option<String>,
    /// The commit it was on before its last update.
    pub previous_version: Option<String>,
    /// The commit it is or was last to be on.
    pub target_version: Option<String>,
    /// Status of its last attempt; null if it never had one.
    pub update_status: Option<AttemptStatus>,
    /// Whether a person must look.
    pub needs_attention: bool,
    /// When its last attempt ended.
    pub last_update_at: Option<Timestamp>,
    /// What the health checker last saw.
    pub health: HealthState,
    /// When it last looked; null if it never did.
    #[serde(default)]
    pub checked_at: Option<Timestamp>,
    /// Since when it is in that health; null when that is not known.
    #[serde(default)]
    pub health_since: Option<Timestamp>,
    /// What it saw, for people.
    #[serde(default)]
    pub health_message: Option<String>,
    /// Its part in the rollout asked about, or in its last one.
    pub attempt: Option<Attempt>,
}

/// How one host of a rollout stands, as small as it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cell {
    /// The host.
    pub host: String,
    /// The stage, from 1.
    pub stage: u32,
    /// Where it stands.
    pub status: AttemptStatus,
    /// Why, once it has settled.
    pub reason: Option<String>,
    /// Whether a person must look.
    pub needs_attention: bool,
}

/// One host's part in a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// The rollout.
    pub rollout: RolloutId,
    /// The stage, from 1.
    pub stage: u32,
    /// Where it stands.
    pub status: AttemptStatus,
    /// Why.
    pub reason: Option<String>,
    /// Whether any mutating command may have run.
    pub touched: bool,
    /// The step it is in, or that decided it.
    pub step: Option<String>,
    /// Why, for people.
    pub message: Option<String>,
    /// From start to end, or until now.
    pub duration_seconds: Option<f64>,
}

/// The answer to "what is going on?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Status {
    /// The fleet.
    pub fleet: Fleet,
    /// The active rollout, else the latest; null only if there never was one.
    pub rollout: Option<Rollout>,
    /// Position of the feed that this answer is true at.
    pub seq: Seq,
}
