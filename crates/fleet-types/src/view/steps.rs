//! What the steps of an attempt did and printed.

use serde::{Deserialize, Serialize};

use crate::status::{Reason, StepId};
use crate::time::Timestamp;

/// One step with what it printed: the last 64 KiB of each stream, control characters shown escaped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StepOutput {
    /// Which step.
    pub step: StepId,
    /// When it began.
    pub started_at: Timestamp,
    /// Null while it runs, or when its end was not seen.
    pub finished_at: Option<Timestamp>,
    /// From start to end.
    pub duration_seconds: Option<f64>,
    /// Why it failed; null when it did not.
    pub reason: Option<Reason>,
    /// The same, for people.
    pub message: Option<String>,
    /// Exit code of its last command, if that ended by itself.
    pub exit: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Bytes that it printed, before they were cut.
    pub total_bytes: u64,
}
