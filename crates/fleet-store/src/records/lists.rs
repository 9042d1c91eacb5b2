//! Pages.

use fleet_types::{
    AttemptStatus, HealthState, HostName, Reason, RolloutId, RolloutState, Selection, Timestamp,
    view,
};

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
    /// Only those where it ended for one of these reasons (in the rollout, else in the last attempt). Empty: all.
    pub reason: Vec<Reason>,
    /// Only those that a person must look at (of a rollout: after it), or only the others.
    pub needs_attention: Option<bool>,
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those whose name contains this.
    pub search: Option<String>,
    /// Only those that are meant.
    pub on: Option<Selection>,
    /// Of a rollout: only those that are in the fleet still.
    pub in_fleet: bool,
    /// Only those of this stage of the rollout.
    pub stage: Option<u32>,
    /// Of the fleet: what comes first. The hosts of a rollout come in plan order.
    pub order: HostOrder,
    /// The other way round.
    pub descending: bool,
    /// Go on behind this cursor, as an earlier page gave it.
    pub after: Option<String>,
    /// At most this many; 1 to 1000.
    pub limit: u32,
    /// How many there are in all is not asked for, and is not counted.
    pub uncounted: bool,
}

/// What hosts are listed by; those that are alike come by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostOrder {
    /// Name.
    #[default]
    Name,
    /// How much it waits for a person: who needs one, then by health, the worst first.
    State,
    /// Version, those not looked at first.
    Version,
    /// When the last update ended, those never updated first.
    LastUpdate,
}

/// Which rollouts, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutQuery {
    /// Only those in one of these states. Empty: all.
    pub state: Vec<RolloutState>,
    /// Only those that this person or program started.
    pub started_by: Option<String>,
    /// Only those before this one.
    pub before: Option<RolloutId>,
    /// At most this many.
    pub limit: u32,
}

/// How fresh is what is known of the fleet's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// When a host was looked at last.
    pub last: Option<Timestamp>,
    /// Hosts that were there and not looked at since the moment that was asked about.
    pub older: u32,
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
    /// What the host was called in it.
    pub name: HostName,
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
