//! Counts checks of services.

use metrics::counter;
use rollout_orchestrator::{CheckDone, Checked};

use super::HEALTH_CHECKS;

/// Counts one check by how the host was found in the end.
pub(crate) fn count(checked: &Checked) {
    let outcome = match checked.done {
        CheckDone::LeftAlone => "left_alone",
        CheckDone::Looked | CheckDone::Restarted | CheckDone::UsedUp => checked.health.as_str(),
    };
    counter!(HEALTH_CHECKS, "outcome" => outcome).increment(1);
}
