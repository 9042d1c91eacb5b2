//! Lists in pages.

use async_trait::async_trait;
use fleet_types::{Event, HostName, RolloutId, Seq, Timestamp, view};

use super::run;
use crate::api::Lists;
use crate::diesel_store::store::{DieselStore, Engines};
use crate::diesel_store::work::Work;
use crate::diesel_store::{on_postgres, on_sqlite};
use crate::error::{StoreError, TriggerError};
use crate::records::{
    Freshness, HostQuery, HostRecord, Page, PastAttempt, RequestKey, RolloutQuery, RolloutRecord,
};

#[async_trait]
impl Lists for DieselStore {
    async fn host_page(&self, query: HostQuery) -> Result<Page<view::Host>, StoreError> {
        run!(self, read, |conn, work, q| q::lists::host_page(
            conn, work, &query
        ))
    }

    async fn host_view(
        &self,
        name: &HostName,
        rollout: Option<RolloutId>,
    ) -> Result<Option<view::Host>, StoreError> {
        let (name, rollout) = (name.to_string(), rollout.map(|id| id.to_string()));
        run!(self, read, |conn, work, q| q::lists::host_view(
            conn,
            work,
            &name,
            rollout.as_deref()
        ))
    }

    async fn host_once(
        &self,
        name: &HostName,
        rollout: RolloutId,
    ) -> Result<Option<HostRecord>, StoreError> {
        let (name, rollout) = (name.clone(), rollout.to_string());
        run!(self, read, |conn, work, q| q::inventory::host_once(
            conn, work, &name, &rollout
        ))
    }

    async fn host_history(
        &self,
        name: &HostName,
        before: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<PastAttempt>, StoreError> {
        let (name, before) = (name.to_string(), before.map(|id| id.to_string()));
        run!(self, read, |conn, work, q| q::lists::host_history(
            conn,
            work,
            &name,
            before.as_deref(),
            i64::from(limit)
        ))
    }

    async fn rollout_cells(
        &self,
        rollout: RolloutId,
        limit: u32,
    ) -> Result<Vec<view::Cell>, StoreError> {
        let rollout = rollout.to_string();
        run!(self, read, |conn, work, q| q::lists::rollout_cells(
            conn,
            work,
            &rollout,
            i64::from(limit)
        ))
    }

    async fn rollout_told(
        &self,
        rollout: RolloutId,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rollout = rollout.to_string();
        let before = before.map_or(i64::MAX, |seq| seq.0);
        run!(self, read, |conn, work, q| q::feed::rollout_told(
            conn,
            work,
            &rollout,
            before,
            i64::from(limit)
        ))
    }

    async fn hosts_late(&self, rollout: RolloutId, before: Timestamp) -> Result<u32, StoreError> {
        let rollout = rollout.to_string();
        run!(self, read, |conn, work, q| q::views::hosts_late(
            conn, work, &rollout, before.0
        ))
    }

    async fn rollouts_matching(
        &self,
        query: RolloutQuery,
    ) -> Result<Vec<RolloutRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::views::rollouts_matching(
            conn, work, &query
        ))
    }

    async fn health_freshness(&self, before: Timestamp) -> Result<Freshness, StoreError> {
        run!(self, read, |conn, work, q| q::health::freshness(
            conn, work, before.0
        ))
    }

    async fn request_rollout(
        &self,
        request: &RequestKey,
    ) -> Result<Option<RolloutId>, TriggerError> {
        let request = request.clone();
        run!(self, read, |conn, _work, q| q::create::request_rollout(
            conn, &request
        ))
    }

    async fn last_seq(&self) -> Result<Seq, StoreError> {
        self.last_event().await.map(Seq)
    }
}
