//! Counts outputs of steps that were removed.

use metrics::counter;

use super::OUTPUTS_REMOVED;

/// Counts so many more.
pub(crate) fn count(outputs: u32) {
    counter!(OUTPUTS_REMOVED).increment(u64::from(outputs));
}
