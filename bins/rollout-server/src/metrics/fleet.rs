//! Shows how the fleet is.

use std::fmt::Write;

use fleet_types::view::{Rollout, Status};
use metrics::{counter, gauge};

use super::*;

/// Sets the numbers that tell how things are now.
pub(crate) fn show(status: &Status) {
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

fn show_rollout(rollout: Option<&Rollout>) {
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
