//! Pages.

use fleet_types::{AttemptStatus, HealthState, RolloutId, Timestamp, view};

/// Which hosts, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostQuery {
    /// The hosts of this rollout, each with its part in it; else the fleet.
    pub rollout: Option<RolloutId>,
    /// Only those with one of these statuses (of the rollout, else of the last attempt). Empty: all.
    pub status: Vec<AttemptStatus>,
    /// Only those in this health.
    pub health: Option<HealthState>,
    /// Only those on this version.
    pub version: Option<String>,
    /// Only those that a person must look at.
    pub needs_attention: bool,
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those whose name contains this.
    pub search: Option<String>,
    /// Only those of this stage of the rollout.
    pub stage: Option<u32>,
    /// Go on behind this cursor, as an earlier page gave it.
    pub after: Option<String>,
    /// At most this many; 1 to 1000.
    pub limit: u32,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
    /// How many match in all.
    pub total: u32,
}

/// A host's part in an earlier rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct PastAttempt {
    /// Its part.
    pub attempt: view::Attempt,
    /// What the rollout went to.
    pub target: view::Target,
    /// The version before.
    pub from: Option<String>,
    /// The version it was to be on.
    pub to: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
