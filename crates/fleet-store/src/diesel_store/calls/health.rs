//! The health checker's calls.

use std::time::Duration;

use async_trait::async_trait;
use fleet_types::{Epoch, HostId, WorkerId};

use super::run;
use crate::api::Health;
use crate::diesel_store::desk::Rank;
use crate::diesel_store::store::{DieselStore, Engines};
use crate::diesel_store::work::Work;
use crate::diesel_store::{on_postgres, on_sqlite};
use crate::error::{LeaseError, StoreError};
use crate::records::*;

#[async_trait]
impl Health for DieselStore {
    async fn health_due(
        &self,
        worker: WorkerId,
        every: Duration,
        limit: u32,
        turns: Turns,
    ) -> Result<Vec<Due>, LeaseError> {
        run!(self, write Health, |conn, work, q| q::health::health_due(
            conn,
            work,
            worker,
            every,
            i64::from(limit),
            &turns
        ))
    }

    async fn health_record(&self, host: HostId, seen: HealthSeen) -> Result<bool, StoreError> {
        run!(self, write Health, |conn, work, q| q::health::health_record(conn, work, host, &seen))
    }

    async fn health_claim(
        &self,
        worker: WorkerId,
        host: HostId,
        seen: Option<Epoch>,
    ) -> Result<Option<HealthLease>, LeaseError> {
        run!(self, write Health, |conn, work, q| q::health::health_claim(
            conn, work, worker, host, seen
        ))
    }

    async fn health_restart(
        &self,
        lease: &HealthLease,
        limit: RestartLimit,
    ) -> Result<RestartTurn, LeaseError> {
        let lease = lease.clone();
        run!(self, write Health, |conn, work, q| q::health::health_restart(
            conn, work, &lease, limit
        ))
    }

    async fn health_raise(
        &self,
        lease: &HealthLease,
        on_record: Option<FenceSeen>,
    ) -> Result<HealthLease, LeaseError> {
        let lease = lease.clone();
        run!(self, write Health, |conn, work, q| q::health::health_raise(
            conn, work, &lease, on_record.as_ref()
        ))
    }

    async fn health_settle(
        &self,
        lease: &HealthLease,
        seen: HealthSeen,
        restart: RestartSent,
    ) -> Result<(), LeaseError> {
        let lease = lease.clone();
        run!(self, write Health, |conn, work, q| q::health::health_settle(
            conn, work, &lease, &seen, restart
        ))
    }
}
