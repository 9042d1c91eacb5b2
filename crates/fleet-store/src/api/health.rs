//! The health checker's part: whose turn it is, who may restart, what was seen.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::{Epoch, HostId, WorkerId};

use crate::error::{LeaseError, StoreError};
use crate::records::{
    Due, FenceSeen, HealthLease, HealthSeen, RestartLimit, RestartSent, RestartTurn, Turns,
};

/// What the health checker needs. A host that a rollout has in `updating` is never handed out, and one that needs
/// attention is handed out to be looked at only.
#[async_trait]
pub trait Health: fmt::Debug + Send + Sync {
    /// Takes the hosts that were not looked at for `every`, those that waited longest first, and puts their next look
    /// off by `every` and up to a tenth of it. So several processes share one sweep. Who asks for hosts whether their
    /// time has come or not puts nothing off. Hosts in `updating` are left out.
    async fn health_due(
        &self,
        worker: WorkerId,
        every: Duration,
        limit: u32,
        turns: Turns,
    ) -> Result<Vec<Due>, LeaseError>;
    /// Writes down what was seen, with an event when the state changed. Nothing is written about a host that a rollout
    /// took on since `seen.since`: what was seen is no news then. Says whether it was written.
    async fn health_record(&self, host: HostId, seen: HealthSeen) -> Result<bool, StoreError>;
    /// Takes the host's lease to restart its service, the epoch one higher. None when its epoch is not `seen` any more, so
    /// that what was looked at is out of date, when somebody holds it (an update, or
    /// another checker), when its machine is being worked on, or when it needs attention. A lease that a dead worker
    /// left is taken over, unless a rollout has still to settle the host.
    async fn health_claim(
        &self,
        worker: WorkerId,
        host: HostId,
        seen: Option<Epoch>,
    ) -> Result<Option<HealthLease>, LeaseError>;
    /// Counts one restart, durable before the command is sent, if fewer than the limit were counted lately.
    async fn health_restart(
        &self,
        lease: &HealthLease,
        limit: RestartLimit,
    ) -> Result<RestartTurn, LeaseError>;
    /// Raises the epoch of a lease that stands above what the host has on record, and tells of it; with no record, above
    /// its own, so that a command sent under it that may still be on its way finds itself outranked. A restart that was
    /// counted under the lease stays counted.
    async fn health_raise(
        &self,
        lease: &HealthLease,
        on_record: Option<FenceSeen>,
    ) -> Result<HealthLease, LeaseError>;
    /// Writes down how it ended and gives the lease back. A restart that certainly never came to the host is not counted
    /// after all.
    async fn health_settle(
        &self,
        lease: &HealthLease,
        seen: HealthSeen,
        restart: RestartSent,
    ) -> Result<(), LeaseError>;
}
