//! What the health checker takes and gives.

use std::time::Duration;

use fleet_types::{Epoch, HealthState, HostId, Timestamp, WorkerId};

use super::HostRecord;

/// Which hosts are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Those whose time has come.
    Due,
    /// All, whether their time has come or not. Their turns stay as they are.
    All,
    /// Only these, whether their time has come or not. All turns stay as they are.
    Of(Vec<HostId>),
}

/// A host whose turn it is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The host.
    pub host: HostRecord,
    /// When it was handed out; goes into [`HealthSeen::since`].
    pub since: Timestamp,
    /// Its epoch then.
    pub epoch: Epoch,
}

/// What was seen of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSeen {
    /// How it is.
    pub health: HealthState,
    /// More, for people: one printable line.
    pub message: String,
    /// Whether the host showed another key than the pinned ones: that is audited.
    pub key_changed: bool,
    /// The epoch when the look began; a host taken on since is not written about.
    pub epoch: Epoch,
    /// When the look began.
    pub since: Timestamp,
}

/// Proof that a worker holds a host to restart its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthLease {
    /// The host.
    pub host: HostId,
    /// Who holds it.
    pub worker: WorkerId,
    /// The fencing number.
    pub epoch: Epoch,
}

/// How often a service may be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// At most this often ...
    pub restarts: u32,
    /// ... in this time.
    pub window: Duration,
}

impl Default for RestartLimit {
    fn default() -> Self {
        Self {
            restarts: 3,
            window: Duration::from_secs(600),
        }
    }
}

/// Whether a service may be restarted once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartTurn {
    /// Yes; this is the nth of the window, and it is counted.
    Go(u32),
    /// No: as often as allowed already.
    UsedUp,
}

/// Whether a restart came to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartSent {
    /// It did, or nobody can tell.
    Perhaps,
    /// Certainly not, or the host did not do it.
    No,
}

/// A record on a host that outranks a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceSeen {
    /// The store that wrote it, as the host tells it.
    pub store: String,
    /// Its epoch.
    pub epoch: i64,
    /// What ours is to be raised above: not every number on a host is one to follow.
    pub above: Epoch,
}
