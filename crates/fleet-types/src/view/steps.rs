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
    /// The text was removed, for it had been kept for so many days; null while it is there, or when there was none.
    #[serde(default)]
    pub removed_after_days: Option<u32>,
}

/// Why there is no text of a step that printed so many bytes, for people: it is a part of a sentence.
#[must_use]
pub fn output_removed(after_days: u32, total_bytes: u64) -> String {
    let days = if after_days == 1 { "day" } else { "days" };
    let bytes = if total_bytes == 1 { "byte" } else { "bytes" };
    format!("what it printed ({total_bytes} {bytes}) was removed after {after_days} {days}")
}

#[cfg(test)]
mod tests {
    use super::output_removed;

    #[test]
    fn one_is_said_as_one() {
        for (days, bytes, told) in [
            (1, 1, "what it printed (1 byte) was removed after 1 day"),
            (
                30,
                48_213,
                "what it printed (48213 bytes) was removed after 30 days",
            ),
        ] {
            assert_eq!(output_removed(days, bytes), told);
        }
    }
}
