//! The same words and symbols everywhere; never colour alone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_types::view::{Counts, Rollout, Target};
use fleet_types::{
    AttemptStatus, HealthState, HostName, Reason, RolloutKind, RolloutState, Timestamp,
};

use crate::output::Paint;

/// How one host's part is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// One column wide.
    pub symbol: &'static str,
    /// The word beside it.
    pub word: &'static str,
    /// The colour that goes with it.
    pub paint: Option<Paint>,
}

impl Mark {
    /// The mark of a status in a rollout of this kind: what an update calls updated, a rollback brought back.
    pub(crate) fn in_rollout(
        kind: RolloutKind,
        status: AttemptStatus,
        reason: Option<&str>,
    ) -> Self {
        let mark = Self::of(status, reason);
        match (kind, mark.word) {
            (RolloutKind::Rollback, "updated") => Self {
                word: "brought back",
                ..mark
            },
            _ => mark,
        }
    }

    /// The mark of a status; the reason tells an update from a host that was there already.
    pub(crate) fn of(status: AttemptStatus, reason: Option<&str>) -> Self {
        let mark = |symbol, word, paint| Self {
            symbol,
            word,
            paint,
        };
        match status {
            AttemptStatus::Success if reason == Some(Reason::Unchanged.as_str()) => {
                mark("=", "unchanged", Some(Paint::Dim))
            }
            AttemptStatus::Success => mark("✓", "updated", Some(Paint::Green)),
            AttemptStatus::RolledBack => mark("↩", "rolled back", Some(Paint::Yellow)),
            AttemptStatus::Failed => mark("✗", "failed", Some(Paint::Red)),
            AttemptStatus::Skipped => mark("–", "not started", Some(Paint::Dim)),
            AttemptStatus::Updating => mark("▸", "updating", None),
            _ => mark("·", "waiting", Some(Paint::Dim)),
        }
    }

    /// The symbol in its colour.
    pub(crate) fn painted(&self) -> String {
        self.paint
            .map_or_else(|| self.symbol.to_owned(), |paint| paint.on(self.symbol))
    }
}

/// The state of a rollout as people read it.
pub(crate) fn state(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Completed => "completed",
        RolloutState::CompletedWithFailures => "completed with failures",
        other => other.as_str(),
    }
}

/// The colour that goes with a state.
pub(crate) fn state_paint(state: RolloutState) -> Paint {
    match state {
        RolloutState::Completed => Paint::Green,
        RolloutState::CompletedWithFailures | RolloutState::Paused => Paint::Yellow,
        RolloutState::Halting
        | RolloutState::Halted
        | RolloutState::Aborting
        | RolloutState::Aborted => Paint::Red,
        _ => Paint::Bold,
    }
}

/// A health word with its symbol.
pub(crate) fn health(health: HealthState) -> &'static str {
    match health {
        HealthState::Active => "✓ active",
        HealthState::Inactive => "✗ inactive",
        HealthState::Unhealthy => "✗ unhealthy",
        HealthState::Unreachable => "✗ unreachable",
        _ => "· unknown",
    }
}

/// The first digits of a commit; any other text as it is.
pub(crate) fn short(version: &str) -> &str {
    let is_hash =
        matches!(version.len(), 40 | 64) && version.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { &version[..10] } else { version }
}

/// A version that may not be known.
pub(crate) fn version(version: Option<&str>) -> &str {
    version.map_or("-", short)
}

/// Where a rollout goes: `main (3f2a…)`, a short commit, or `back from …`.
pub(crate) fn target(rollout: &Rollout) -> String {
    let Target { version, reference } = &rollout.target;
    if rollout.kind == RolloutKind::Rollback {
        let source = rollout
            .source
            .map_or_else(|| reference.clone(), |id| id.short());
        return format!("back to before {source}");
    }
    match version {
        Some(version) if version == reference => short(version).to_owned(),
        Some(version) => format!("{reference} ({})", short(version)),
        None => reference.clone(),
    }
}

/// `8.1s`, `3m12s`, `2h05m`.
pub(crate) fn duration(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Seconds as shown.
pub(crate) fn seconds(time: f64) -> String {
    duration(Duration::try_from_secs_f64(time).unwrap_or_default())
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `12 s ago`, `3 min ago`, `5 h ago`, `6 d ago`.
pub(crate) fn ago(moment: Timestamp) -> String {
    let seconds = now().since(moment).as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// The moment without fractions: `2026-11-23T12:04:20Z`.
pub(crate) fn moment(moment: Timestamp) -> String {
    let text = moment.to_string();
    match text.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => text,
    }
}

/// The names of at most ten hosts, and how many more there are.
pub(crate) fn names(hosts: &[HostName]) -> String {
    let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
    names_of(&names, hosts.len())
}

/// The same of `all` hosts of which these are the first.
pub(crate) fn names_of(first: &[impl AsRef<str>], all: usize) -> String {
    const SHOWN: usize = 10;
    let names: Vec<&str> = first.iter().map(AsRef::as_ref).take(SHOWN).collect();
    let more = all.saturating_sub(names.len());
    let names = names.join(", ");
    match more {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// `1 host`, `2 hosts`.
pub(crate) fn hosts(count: u32) -> String {
    plural(count, "host")
}

/// `1 thing`, `2 things`.
pub(crate) fn plural(count: u32, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// The counts that are not zero, in a fixed order, with symbol and word.
pub(crate) fn counts(counts: &Counts) -> String {
    let parts = [
        (counts.success, "✓", "on target", Paint::Green),
        (counts.rolled_back, "↩", "rolled back", Paint::Yellow),
        (counts.failed, "✗", "failed", Paint::Red),
        (counts.updating, "▸", "updating", Paint::Bold),
        (counts.pending, "·", "waiting", Paint::Dim),
        (counts.skipped, "–", "not started", Paint::Dim),
    ];
    let shown = |(count, symbol, word, paint): (u32, &str, &str, Paint)| {
        (count > 0).then(|| format!("{} {count} {word}", paint.on(symbol)))
    };
    parts
        .into_iter()
        .filter_map(shown)
        .collect::<Vec<_>>()
        .join("   ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_read_them() {
        for (millis, shown) in [
            (0, "0.0s"),
            (8_140, "8.1s"),
            (192_000, "3m12s"),
            (7_500_000, "2h05m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
        assert_eq!(moment(Timestamp(1_795_435_200_123)), "2026-11-23T12:00:00Z");
        assert_eq!(ago(Timestamp(now().0 - 200_000)), "3 min ago");
    }
}
