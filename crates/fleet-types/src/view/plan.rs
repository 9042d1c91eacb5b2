//! What an update would do.

use serde::{Deserialize, Serialize};

use super::{PolicyView, Target, VersionCount};
use crate::status::RolloutKind;

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Plan {
    /// What kind of rollout.
    pub kind: RolloutKind,
    /// Where to. The version is null when no host could be asked which commit the reference is.
    pub target: Target,
    /// How.
    pub policy: PolicyView,
    /// What a random order was drawn by: a decimal number of 64 bits, as text. Null when hosts go by name.
    #[serde(default)]
    pub seed: Option<String>,
    /// How many hosts.
    pub hosts: u32,
    /// All stages that have hosts.
    pub stages: Vec<PlannedStage>,
    /// Hosts that a retry or rollback would have taken in, but which are no longer in the fleet.
    pub gone: Vec<String>,
    /// What the hosts run as last seen, most first.
    #[serde(default)]
    pub versions: Vec<VersionCount>,
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PlannedStage {
    /// From 1.
    pub index: u32,
    /// Cumulative percentage.
    pub percent: u32,
    /// Names, in the order of their turn.
    pub hosts: Vec<String>,
    /// How many may fail; one more halts.
    pub may_fail: u32,
}
