//! What pages and programs page through. The size of an answer is bounded by what was asked for, not by the fleet.

use std::fmt;

use async_trait::async_trait;
use fleet_types::{Event, HostName, RolloutId, Seq, Timestamp, view};

use crate::error::{StoreError, TriggerError};
use crate::records::{
    Freshness, HostQuery, HostRecord, Page, PastAttempt, RequestKey, RolloutQuery, RolloutRecord,
};

/// Lists in pages.
#[async_trait]
pub trait Lists: fmt::Debug + Send + Sync {
    /// Hosts in the order asked for, or those of one rollout in plan order, that match; at most `query.limit`, and where to go on.
    async fn host_page(&self, query: HostQuery) -> Result<Page<view::Host>, StoreError>;
    /// One host with its part in `rollout`, or in its last one.
    async fn host_view(
        &self,
        name: &HostName,
        rollout: Option<RolloutId>,
    ) -> Result<Option<view::Host>, StoreError>;
    /// The host that had this name in this rollout, as it is now; none if nobody had it, or if it was removed.
    async fn host_once(
        &self,
        name: &HostName,
        rollout: RolloutId,
    ) -> Result<Option<HostRecord>, StoreError>;
    /// A host's own history: its part in each rollout, the latest first; those older than `before`.
    async fn host_history(
        &self,
        name: &HostName,
        before: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<PastAttempt>, StoreError>;
    /// How each host of a rollout stands, in plan order, as small as it gets: for the matrix of the page. At most `limit`.
    async fn rollout_cells(
        &self,
        rollout: RolloutId,
        limit: u32,
    ) -> Result<Vec<view::Cell>, StoreError>;
    /// The events of a rollout before `before`, the latest first; those of single steps are left out.
    async fn rollout_told(
        &self,
        rollout: RolloutId,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError>;
    /// How many hosts of a rollout are at a step whose limit was over before this.
    async fn hosts_late(&self, rollout: RolloutId, before: Timestamp) -> Result<u32, StoreError>;
    /// Rollouts that match, the latest first.
    async fn rollouts_matching(
        &self,
        query: RolloutQuery,
    ) -> Result<Vec<RolloutRecord>, StoreError>;
    /// How many hosts were last looked at before this, and when the last look of all was. Hosts never looked at are no
    /// older ones.
    async fn health_freshness(&self, before: Timestamp) -> Result<Freshness, StoreError>;
    /// The rollout that a request was carried out as, if it was. Refused when its key stands for another request.
    async fn request_rollout(
        &self,
        request: &RequestKey,
    ) -> Result<Option<RolloutId>, TriggerError>;
    /// The number of the last event.
    async fn last_seq(&self) -> Result<Seq, StoreError>;
}
