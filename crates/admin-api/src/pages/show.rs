//! How things look in HTML: moments, bars, words for states.

use std::fmt;

use askama::filters::HtmlSafe;
use fleet_types::{AttemptStatus, HealthState, RolloutState, Timestamp, view};

/// The first ten digits of a commit, or a text as it is.
pub(crate) fn short(version: &str) -> &str {
    let commit = version.len() >= 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    if commit {
        version.get(..10).unwrap_or(version)
    } else {
        version
    }
}

/// The same, with a word for none.
pub(crate) fn short_or(version: Option<&String>, none: &'static str) -> String {
    version.map_or(none, |version| short(version)).to_owned()
}

/// `1 host`, `2 hosts`.
pub(crate) fn hosts(count: u32) -> String {
    plural(count, "host")
}

/// `1 thing`, `2 things`.
pub(crate) fn plural(count: u32, what: &str) -> String {
    let tail = if count == 1 { "" } else { "s" };
    format!("{count} {what}{tail}")
}

/// A part of a whole in percent: neither none nor all where it is some.
pub(crate) fn share(part: u32, whole: u32) -> String {
    match u64::from(part) * 100 / u64::from(whole.max(1)) {
        0 if part > 0 => "<1 %".to_owned(),
        percent => format!("{percent} %"),
    }
}

/// `1st`, `2nd`, `3rd`, `4th`, `11th`.
pub(crate) fn ordinal(number: u32) -> String {
    let tail = match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{tail}")
}

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    // At most 52 bits of seconds are left of the float: no sign, no overflow.
    let whole = std::time::Duration::try_from_secs_f64(seconds.round())
        .map_or(0, |duration| duration.as_secs());
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A moment: how long ago for people, exact for machines and on hovering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) at: Timestamp,
    pub(crate) now: Timestamp,
}

impl Time {
    /// `2026-11-23 12:00:00 UTC`
    fn exact(self) -> String {
        let text = self.at.to_string();
        match (text.get(..10), text.get(11..19)) {
            (Some(day), Some(hour)) => format!("{day} {hour} UTC"),
            _ => text,
        }
    }

    fn ago(self) -> String {
        let seconds = self.now.since(self.at).as_secs();
        match seconds {
            0..5 => "just now".to_owned(),
            5..90 => format!("{seconds} s ago"),
            90..5400 => format!("{} min ago", (seconds + 30) / 60),
            5400..129_600 => format!("{} h ago", (seconds + 1800) / 3600),
            _ => format!("{} d ago", (seconds + 43_200) / 86_400),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iso, exact) = (self.at, self.exact());
        if self.at > self.now {
            return write!(f, r#"<time datetime="{iso}">{exact}</time>"#);
        }
        write!(
            f,
            r#"<time datetime="{iso}" title="{exact}" data-ago>{}</time>"#,
            self.ago()
        )
    }
}

// Digits and fixed words only.
impl HtmlSafe for Time {}

/// One piece of a bar.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// What it counts, by which a script finds it.
    pub(crate) kind: &'static str,
    pub(crate) count: u32,
    pub(crate) class: &'static str,
    /// Laid over the colour, so that it does not stand alone.
    pub(crate) pattern: Option<&'static str>,
}

/// A stacked bar. Widths are attributes: styles in place are not allowed, and not needed.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) of: u32,
}

/// The patterns, once a page.
pub(crate) const PATTERNS: &str = r##"<svg class="patterns" aria-hidden="true" focusable="false"><defs>
<pattern id="p-hatch" width="6" height="6" patternUnits="userSpaceOnUse"><path class="hatch" d="M-1 1l2-2M0 6l6-6M5 7l2-2"/></pattern>
<pattern id="p-cross" width="6" height="6" patternUnits="userSpaceOnUse"><path class="hatch" d="M0 0l6 6M0 6l6-6"/></pattern>
<pattern id="p-dots" width="5" height="5" patternUnits="userSpaceOnUse"><circle class="dots" cx="2.5" cy="2.5" r="1"/></pattern>
</defs></svg>"##;

impl Bar {
    /// Hosts by status.
    pub(crate) fn of_counts(counts: &view::Counts, of: u32) -> Self {
        let piece = |kind, count, class, pattern| Piece {
            kind,
            count,
            class,
            pattern,
        };
        Self {
            pieces: vec![
                piece("success", counts.success, "f-success", None),
                piece(
                    "rolled_back",
                    counts.rolled_back,
                    "f-rolled_back",
                    Some("p-hatch"),
                ),
                piece("failed", counts.failed, "f-failed", Some("p-cross")),
                piece("updating", counts.updating, "f-updating", Some("p-dots")),
                piece("skipped", counts.skipped, "f-skipped", Some("p-hatch")),
            ],
            of,
        }
    }

    fn rects(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = 0.0;
        for piece in &self.pieces {
            let width = f64::from(piece.count) * 100.0 / f64::from(self.of.max(1));
            let kind = piece.kind;
            let place =
                format!(r#"data-kind="{kind}" x="{at:.3}%" width="{width:.3}%" height="14""#);
            write!(f, r#"<rect class="{}" {place}/>"#, piece.class)?;
            if let Some(pattern) = piece.pattern {
                write!(f, r#"<rect fill="url(#{pattern})" {place}/>"#)?;
            }
            at += width;
        }
        Ok(())
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"<svg class="bar" aria-hidden="true" focusable="false">"#)?;
        self.rects(f)?;
        f.write_str("</svg>")
    }
}

// Numbers and fixed words only.
impl HtmlSafe for Bar {}

/// What a cell of the matrix shows.
pub(crate) fn cell_state(
    status: AttemptStatus,
    reason: Option<&str>,
    needs_attention: bool,
) -> &'static str {
    match status {
        AttemptStatus::Success if reason == Some("unchanged") => "unchanged",
        AttemptStatus::Failed if needs_attention => "attention",
        other => other.as_str(),
    }
}

/// The word for what a cell shows.
pub(crate) fn words(state: &str) -> String {
    match state {
        "attention" => "failed, needs attention".to_owned(),
        "pending" => "waiting".to_owned(),
        "success" => "updated".to_owned(),
        "unchanged" => "there already".to_owned(),
        other => other.replace('_', " "),
    }
}

/// What an attempt shows.
pub(crate) fn attempt_state(attempt: &view::Attempt, needs_attention: bool) -> &'static str {
    cell_state(attempt.status, attempt.reason.as_deref(), needs_attention)
}

/// The sign of a health, as one of the states of cells.
pub(crate) fn health_state(health: HealthState) -> &'static str {
    match health {
        HealthState::Active => "success",
        HealthState::Inactive | HealthState::Unhealthy => "failed",
        HealthState::Unreachable => "attention",
        _ => "pending",
    }
}

/// The sign of a rollout, as one of the states of cells.
pub(crate) fn rollout_state(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Running => "updating",
        RolloutState::Completed => "success",
        RolloutState::CompletedWithFailures => "rolled_back",
        RolloutState::Halted | RolloutState::Halting => "failed",
        _ => "skipped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_read_well() {
        for (number, text) in [
            (1, "1st"),
            (2, "2nd"),
            (3, "3rd"),
            (4, "4th"),
            (11, "11th"),
            (12, "12th"),
            (21, "21st"),
            (113, "113th"),
        ] {
            assert_eq!(ordinal(number), text);
        }
        for (seconds, text) in [
            (-1.0, "0.0 s"),
            (0.44, "0.4 s"),
            (12.4, "12 s"),
            (59.9, "1 min 0 s"),
            (200.0, "3 min 20 s"),
            (7500.0, "2 h 5 min"),
            (f64::INFINITY, "0 s"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_few_of_many_are_not_none() {
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 5020, "0 %"),
            (19, 5020, "<1 %"),
            (51, 5020, "1 %"),
            (5019, 5020, "99 %"),
            (u32::MAX, u32::MAX, "100 %"),
        ] {
            assert_eq!(share(part, whole), text, "{part} of {whole}");
        }
    }

    #[test]
    fn a_bar_fills_its_width() {
        let counts = view::Counts {
            success: 1,
            failed: 1,
            pending: 2,
            ..view::Counts::default()
        };
        let bar = Bar::of_counts(&counts, 4).to_string();
        assert!(
            bar.contains(r#"data-kind="success" x="0.000%" width="25.000%""#),
            "{bar}"
        );
        assert!(
            bar.contains(r#"data-kind="failed" x="25.000%" width="25.000%""#),
            "{bar}"
        );
        assert!(!bar.contains("style"));
        assert!(!Bar::of_counts(&counts, 0).to_string().contains("NaN"));
    }

    #[test]
    fn a_moment_to_come_is_not_ago() {
        let time = |at| Time {
            at: Timestamp(at),
            now: Timestamp(100_000),
        };
        assert!(
            time(0).to_string().contains(">100 s ago<")
                || time(0).to_string().contains(">2 min ago<")
        );
        assert!(
            time(200_000)
                .to_string()
                .contains(">1970-01-01 00:03:20 UTC<")
        );
    }
}
