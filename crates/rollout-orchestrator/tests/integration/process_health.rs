//! The health checker's part of the store as one process of a test has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::*;
use fleet_types::{Epoch, HostId, WorkerId};

use crate::process::Process;

/// The calls count as this process's, and fail with it.
pub(crate) struct ProcessHealth {
    process: Process,
    inner: Arc<dyn Health>,
}

impl ProcessHealth {
    pub(crate) fn new(process: &Process, inner: Arc<dyn Health>) -> Self {
        Self {
            process: process.clone(),
            inner,
        }
    }
}

impl fmt::Debug for ProcessHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessHealth")
    }
}

macro_rules! pass {
    ($self:ident.$method:ident($($arg:expr),*)) => {{
        let call = $self.process.call_begins().await?;
        let answer = $self.inner.$method($($arg),*).await;
        $self.process.call_ends(call).await?;
        answer
    }};
}

#[async_trait]
impl Health for ProcessHealth {
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
        pass!(self.health_claim(worker, host, seen))
    }
    async fn health_restart(
        &self,
        lease: &HealthLease,
        limit: RestartLimit,
    ) -> Result<RestartTurn, LeaseError> {
        pass!(self.health_restart(lease, limit))
    }
    async fn health_raise(
        &self,
        lease: &HealthLease,
        on_record: FenceSeen,
    ) -> Result<HealthLease, LeaseError> {
        pass!(self.health_raise(lease, on_record))
    }
    async fn health_settle(
        &self,
        lease: &HealthLease,
        seen: HealthSeen,
        restart: RestartSent,
    ) -> Result<(), LeaseError> {
        pass!(self.health_settle(lease, seen, restart))
    }
}
