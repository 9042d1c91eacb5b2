//! What pages and programs page through. The size of an answer is bounded by what was asked for, not by the fleet.

use std::fmt;

use async_trait::async_trait;
use fleet_types::{Event, HostName, RolloutId, Seq, view};

use crate::error::{StoreError, TriggerError};
use crate::records::{HostQuery, Page, PastAttempt, RequestKey};

/// Lists in pages.
#[async_trait]
pub trait Lists: fmt::Debug + Send + Sync {
    /// Hosts by name, or those of one rollout in plan order, that match; at most `query.limit`, and where to go on.
    async fn host_page(&self, query: HostQuery) -> Result<Page<view::Host>, StoreError>;
    /// One host with its part in `rollout`, or in its last one.
    async fn host_view(
        &self,
        name: &HostName,
        rollout: Option<RolloutId>,
    ) -> Result<Option<view::Host>, StoreError>;
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
    /// The rollout that a request was carried out as, if it was. Refused when its key stands for another request.
    async fn request_rollout(
        &self,
        request: &RequestKey,
    ) -> Result<Option<RolloutId>, TriggerError>;
    /// The number of the last event.
    async fn last_seq(&self) -> Result<Seq, StoreError>;
}
