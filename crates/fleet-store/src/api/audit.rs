//! Who did what, when, from where, and what came of it.

use std::fmt;

use async_trait::async_trait;

use crate::error::StoreError;
use crate::records::{AuditId, AuditQuery, AuditRecord, NewAudit};

/// The audit trail: rows are only ever added. Every call of the store that takes an [`Actor`](crate::Actor) and changes
/// something adds its row in the same transaction; what is not a change of the store is noted here.
#[async_trait]
pub trait Audit: fmt::Debug + Send + Sync {
    /// Adds a row: a denial, a sign-in that failed, a host that was looked at.
    async fn audit_note(&self, entry: NewAudit) -> Result<AuditId, StoreError>;
    /// Rows that match, the newest first.
    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError>;
}
