//! The health checker's part of the store as one process of a test has it.

use std::time::Duration;

use async_trait::async_trait;
use fleet_store::*;
use fleet_types::{Epoch, HostId, WorkerId};

use crate::process_store::{ProcessStore, pass};

#[async_trait]
impl Health for ProcessStore<dyn Health> {
    async fn health_due(
        &self,
        worker: WorkerId,
        every: Duration,
        limit: u32,
        turns: Turns,
    ) -> Result<Vec<Due>, LeaseError> {
        let due: Result<Vec<Due>, LeaseError> = pass!(self.health_due(worker, every, limit, turns));
        for due in due.iter().flatten() {
            self.process.note_turn(due.host.id, due.since);
        }
        due
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
