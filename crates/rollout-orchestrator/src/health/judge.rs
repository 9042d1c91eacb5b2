//! What is shown of a host. No clock, no I/O.

use std::time::Duration;

use fleet_store::{HostRecord, RestartLimit};
use fleet_types::{HealthState, Timestamp};

/// How a host is after a look. Who was given up stays `unhealthy` until it is seen active again: otherwise its state would
/// change to and fro with every sweep.
pub(crate) fn shown(before: HealthState, seen: HealthState) -> HealthState {
    match (before, seen) {
        (HealthState::Unhealthy, HealthState::Inactive) => HealthState::Unhealthy,
        _ => seen,
    }
}

/// How a host is after the nth restart of the window.
pub(crate) fn after_restart(nth: u32, limit: RestartLimit, seen: HealthState) -> HealthState {
    match seen {
        HealthState::Inactive if nth >= limit.restarts => HealthState::Unhealthy,
        seen => seen,
    }
}

/// Why a service that is down is only looked at, if so.
pub(crate) fn only_observed(
    host: &HostRecord,
    now: Timestamp,
    quiet: Duration,
) -> Option<&'static str> {
    if host.needs_attention {
        return Some("the host needs attention");
    }
    let quiet = i64::try_from(quiet.as_millis()).unwrap_or(i64::MAX);
    let updated = host.last_update_at?;
    (now.0.saturating_sub(updated.0) < quiet).then_some("its update ended just now")
}

#[cfg(test)]
mod tests {
    use HealthState::{Active, Inactive, Unhealthy, Unknown, Unreachable};

    use super::*;

    #[test]
    fn given_up_stays_given_up_until_active() {
        let check = |before, seen, expected| assert_eq!(shown(before, seen), expected);
        check(Unhealthy, Inactive, Unhealthy);
        check(Unhealthy, Active, Active);
        check(Unhealthy, Unreachable, Unreachable);
        check(Unhealthy, Unknown, Unknown);
        check(Active, Inactive, Inactive);
        check(Unreachable, Inactive, Inactive);
    }

    #[test]
    fn the_last_restart_that_does_not_help_gives_up() {
        let check = |nth, seen, expected| {
            assert_eq!(after_restart(nth, RestartLimit::default(), seen), expected);
        };
        check(2, Inactive, Inactive);
        check(3, Inactive, Unhealthy);
        check(3, Active, Active);
        check(3, Unreachable, Unreachable);
    }
}
