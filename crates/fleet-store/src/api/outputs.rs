//! What steps printed, which is kept for a while only.

use std::fmt;
use std::num::NonZeroU32;

use async_trait::async_trait;

use crate::error::StoreError;
use crate::records::OutputsRemoved;

/// Retention of what steps printed.
#[async_trait]
pub trait Outputs: fmt::Debug + Send + Sync {
    /// Removes what the steps of rollouts printed that ended so many days ago, the oldest first: in one short
    /// transaction, of at most `limit` steps, fewer where they printed much, but of one host at least. Call it again
    /// while there is more. What a rollout printed that is not over stays, and so does everything else: which steps there were, when, how they ended,
    /// their exit codes, and how much they printed.
    ///
    /// What was done is remembered, also half-way. Several processes may do it at once; they share what there is to do.
    async fn outputs_remove(
        &self,
        kept_days: NonZeroU32,
        limit: u32,
    ) -> Result<OutputsRemoved, StoreError>;
}
