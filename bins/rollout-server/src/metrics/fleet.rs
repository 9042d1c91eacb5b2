//! Shows how the fleet is.

use std::fmt::Write;

use fleet_types::Timestamp;
use fleet_types::view::{InFlight, Rollout, Status};
use metrics::{counter, gauge};

use super::*;

/// A step may be a little over its limit: the host ends it, and then tells us.
const GRACE_MILLIS: i64 = 60_000;

/// Sets the numbers that tell how things are now.
pub(crate) fn show(status: &Status, now: Timestamp) {
    let fleet = &status.fleet;
    let health = &fleet.health;
    for (word, hosts) in [
        ("active", health.active),
        ("inactive", health.inactive),
        ("unhealthy", health.unhealthy),
        ("unreachable", health.unreachable),
        ("unknown", health.unknown),
    ] {
        gauge!(HOSTS, "health" => word).set(hosts);
    }
    gauge!(HOSTS_ATTENTION).set(fleet.needs_attention);
    gauge!(HOSTS_UPDATING).set(fleet.updating);
    counter!(SEQ).absolute(u64::try_from(status.seq.0).unwrap_or(0));
    show_rollout(
        status
            .rollout
            .as_ref()
            .filter(|rollout| rollout.state.is_active()),
        now,
    );
}

/// Hosts by version, in the text format of Prometheus. Made anew each time: a version that is gone must not stay for ever.
pub(crate) fn versions(status: &Status) -> String {
    let mut text = format!(
        "# HELP {HOSTS_BY_VERSION} Hosts by version, the twenty commonest.\n# TYPE {HOSTS_BY_VERSION} gauge\n"
    );
    for count in &status.fleet.versions {
        let version = count.version.as_deref().unwrap_or("unknown");
        let version: String = version
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let _ = writeln!(
            text,
            "{HOSTS_BY_VERSION}{{version=\"{version}\"}} {}",
            count.hosts
        );
    }
    text
}

/// Hosts that most likely go on by themselves no more.
fn stuck(rollout: &Rollout, now: Timestamp) -> u32 {
    if !rollout.attended {
        return rollout.counts.updating;
    }
    let late = |flight: &&InFlight| {
        let deadline = flight.deadline;
        deadline.is_some_and(|deadline| now.0 > deadline.0.saturating_add(GRACE_MILLIS))
    };
    u32::try_from(rollout.in_flight.iter().filter(late).count()).unwrap_or(u32::MAX)
}

fn show_rollout(rollout: Option<&Rollout>, now: Timestamp) {
    gauge!(HOSTS_STUCK).set(rollout.map_or(0, |rollout| stuck(rollout, now)));
    gauge!(ROLLOUT_ACTIVE).set(u32::from(rollout.is_some()));
    gauge!(ROLLOUT_STAGE).set(rollout.map_or(0, |rollout| rollout.stage));
    let counts = rollout.map(|rollout| rollout.counts).unwrap_or_default();
    for (word, hosts) in [
        ("pending", counts.pending),
        ("updating", counts.updating),
        ("success", counts.success),
        ("failed", counts.failed),
        ("rolled_back", counts.rolled_back),
        ("skipped", counts.skipped),
    ] {
        gauge!(ROLLOUT_HOSTS, "state" => word).set(hosts);
    }
    gauge!(FAILURES_ALLOWED).set(rollout.map_or(0, failures_allowed));
}

/// How many more may fail in the current stage.
fn failures_allowed(rollout: &Rollout) -> u32 {
    let stage = rollout
        .stages
        .iter()
        .find(|stage| stage.index == rollout.stage);
    stage.map_or(0, |stage| {
        stage
            .may_fail
            .saturating_sub(stage.counts.failed + stage.counts.rolled_back)
    })
}

/// One line for people.
pub(crate) fn in_words(status: &Status) -> String {
    let fleet = &status.fleet;
    let attention = match fleet.needs_attention {
        0 => String::new(),
        hosts => format!(", {hosts} need attention"),
    };
    let Some(rollout) = status
        .rollout
        .as_ref()
        .filter(|rollout| rollout.state.is_active())
    else {
        return format!("{} hosts, no rollout{attention}", fleet.hosts);
    };
    let counts = &rollout.counts;
    let all = counts.pending
        + counts.updating
        + counts.success
        + counts.failed
        + counts.rolled_back
        + counts.skipped;
    format!(
        "rollout {} {}, stage {}/{}, {}/{all} hosts done{attention}",
        rollout.id.short(),
        rollout.state,
        rollout.stage,
        rollout.stages.len(),
        all - counts.pending - counts.updating,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_stuck_when_nobody_works_on_it_or_its_step_is_long_over() {
        let flight = |deadline| serde_json::json!({ "host": "a", "step": "install", "since": "2026-01-01T00:00:00Z", "deadline": deadline });
        let rollout = |attended: bool, flights: serde_json::Value| -> Rollout {
            let counts = serde_json::json!({ "pending": 1, "updating": 2, "success": 0, "failed": 0, "rolled_back": 0, "skipped": 0 });
            let text = serde_json::json!({
                "id": "0192f0c4-0000-7000-8000-000000000000", "state": "running", "kind": "update",
                "target": { "version": null, "ref": "main" }, "started_by": "ann", "message": null,
                "created_at": "2026-01-01T00:00:00Z", "finished_at": null,
                "policy": { "stages": [100], "max_failure_percent": 30, "concurrency": 5, "max_in_flight": 20, "settle_seconds": 5.0 },
                "stage": 1, "stages": [], "counts": counts, "reason": null, "in_flight": flights, "attended": attended,
            });
            serde_json::from_value(text).unwrap_or_else(|error| panic!("{error}"))
        };
        let now: Timestamp = serde_json::from_value("2026-01-01T00:10:00Z".into())
            .unwrap_or_else(|error| panic!("{error}"));
        let flights = serde_json::json!([
            flight(Some("2026-01-01T00:08:59Z")),
            flight(Some("2026-01-01T00:09:30Z")),
            flight(None),
        ]);
        assert_eq!(stuck(&rollout(true, flights.clone()), now), 1);
        assert_eq!(
            stuck(&rollout(false, flights), now),
            2,
            "all that are updating"
        );
    }
}
