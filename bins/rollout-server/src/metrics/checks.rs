//! Counts checks of services.

use fleet_types::HealthState;
use metrics::counter;
use rollout_orchestrator::{CheckDone, Checked};

use super::{HEALTH_CHECKS, HEALTH_RESTARTS};

const LEFT_ALONE: &str = "left_alone";

/// Every outcome that there may be, none counted yet.
pub(super) fn begin() {
    for health in HealthState::ALL {
        counter!(HEALTH_CHECKS, "outcome" => health.as_str()).absolute(0);
        counter!(HEALTH_RESTARTS, "outcome" => health.as_str()).absolute(0);
    }
    counter!(HEALTH_CHECKS, "outcome" => LEFT_ALONE).absolute(0);
}

/// Counts one check by how the host was found in the end.
pub(crate) fn count(checked: &Checked) {
    let health = checked.health.as_str();
    let outcome = match checked.done {
        CheckDone::LeftAlone => LEFT_ALONE,
        CheckDone::Looked | CheckDone::Restarted | CheckDone::UsedUp => health,
    };
    counter!(HEALTH_CHECKS, "outcome" => outcome).increment(1);
    if checked.done == CheckDone::Restarted {
        counter!(HEALTH_RESTARTS, "outcome" => health).increment(1);
    }
}
