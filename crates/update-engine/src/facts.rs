//! What the bodies report, as types. A host may report anything: what does not parse counts as not reported.

use std::time::Duration;

use fleet_types::CommitHash;
use ssh_exec::CommandOutput;

/// What an inspection saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// Tools that are not there, separated by spaces. Nothing else was looked at then.
    pub(crate) missing: Option<String>,
    /// Why the repository cannot be used.
    pub(crate) repo_error: Option<String>,
    pub(crate) tree: Tree,
    /// Lock files in the way, separated by spaces.
    pub(crate) locks: Option<String>,
    /// The trace of a merge, rebase, cherry-pick or revert that was not finished.
    pub(crate) under_way: Option<String>,
    /// HEAD was moved here, and what runs since then was never proven.
    pub(crate) unproven: bool,
    /// Free space in KiB.
    pub(crate) free_kib: Option<u64>,
    /// Free inodes; none where the file system does not count them.
    pub(crate) free_inodes: Option<u64>,
    /// How HEAD and the target stand to each other; none when the target is not on the host yet.
    pub(crate) relation: Option<Relation>,
    /// The word of the install command that is not found.
    pub(crate) install_missing: Option<String>,
    /// What sudo said against restarting the service.
    pub(crate) sudo_error: Option<String>,
    /// The user's number.
    pub(crate) user: Option<String>,
    pub(crate) unit: Unit,
}

/// HEAD and the tracked files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    /// None for a repository without a commit.
    pub(crate) head: Option<CommitHash>,
    /// None when HEAD is detached.
    pub(crate) branch: Option<String>,
    /// How many tracked files have changes that are not the install command's; none when git could not tell.
    pub(crate) dirty: Option<u64>,
    /// At most 20 of them.
    pub(crate) dirty_files: Vec<String>,
}

/// How many commits each side has that the other lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    /// On the host alone.
    pub(crate) ahead: u64,
    /// In the target alone.
    pub(crate) behind: u64,
}

/// What systemd says of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) load_state: String,
    pub(crate) active_state: String,
    pub(crate) sub_state: String,
    pub(crate) kind: String,
    pub(crate) result: String,
    pub(crate) main_pid: String,
    pub(crate) restarts: String,
    /// Empty on systemd before 232.
    pub(crate) invocation: String,
    /// Which boot of the machine this was seen in; empty where the kernel does not tell.
    pub(crate) boot: String,
    pub(crate) start_limit: Option<Duration>,
    pub(crate) stop_limit: Option<Duration>,
    pub(crate) start_limit_interval: Option<Duration>,
}

impl Inspection {
    pub(crate) fn of(output: &CommandOutput) -> Self {
        Self {
            missing: text(output, "missing"),
            repo_error: text(output, "repo_error"),
            tree: Tree::of(output),
            locks: text(output, "locks"),
            under_way: text(output, "under_way"),
            unproven: output.fact("unproven").is_some(),
            free_kib: output.fact("space").and_then(df_available),
            free_inodes: output.fact("inodes").and_then(df_available),
            relation: output.fact("relation").and_then(relation),
            install_missing: text(output, "install_missing"),
            sudo_error: text(output, "sudo_error"),
            user: text(output, "user"),
            unit: Unit::of(output),
        }
    }

    /// The version; none for a repository without a commit.
    pub(crate) fn head(&self) -> Option<&CommitHash> {
        self.tree.head.as_ref()
    }
}

impl Tree {
    pub(crate) fn of(output: &CommandOutput) -> Self {
        let dirty_files = (1..=20)
            .map_while(|n| text(output, &format!("dirty_{n}")))
            .collect();
        Self {
            head: output.fact("head").and_then(|head| head.parse().ok()),
            branch: text(output, "branch"),
            dirty: output.fact("dirty").and_then(|count| count.parse().ok()),
            dirty_files,
        }
    }

    /// HEAD is this commit and no tracked file differs from it, but for generated ones.
    pub(crate) fn is_exactly(&self, commit: &CommitHash) -> bool {
        self.head.as_ref() == Some(commit) && self.dirty == Some(0)
    }
}

impl Unit {
    pub(crate) fn of(output: &CommandOutput) -> Self {
        let word = |name: &str| output.fact(name).unwrap_or_default().trim().to_owned();
        let span = |name: &str| output.fact(name).and_then(time_span);
        Self {
            load_state: word("unit_LoadState"),
            active_state: word("unit_ActiveState"),
            sub_state: word("unit_SubState"),
            kind: word("unit_Type"),
            result: word("unit_Result"),
            main_pid: word("unit_MainPID"),
            restarts: word("unit_NRestarts"),
            invocation: word("unit_InvocationID"),
            boot: word("boot"),
            start_limit: span("unit_TimeoutStartUSec"),
            stop_limit: span("unit_TimeoutStopUSec"),
            start_limit_interval: span("unit_StartLimitIntervalUSec"),
        }
    }

    /// A unit that says nothing about how long it may take.
    pub(crate) fn with_default_limits() -> Self {
        let limit = Some(Duration::from_secs(90));
        Self {
            start_limit: limit,
            stop_limit: limit,
            ..Self::default()
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active_state == "active"
    }

    /// `active (running)`, as people know it.
    pub(crate) fn shown(&self) -> String {
        match (self.active_state.as_str(), self.sub_state.as_str()) {
            ("", _) => "not known to systemctl".to_owned(),
            (active, "") => active.to_owned(),
            (active, sub) => format!("{active} ({sub})"),
        }
    }
}

fn text(output: &CommandOutput, name: &str) -> Option<String> {
    let value = output.fact(name)?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// `AHEAD<tab>BEHIND`, as `git rev-list --left-right --count` prints it.
fn relation(counts: &str) -> Option<Relation> {
    let mut numbers = counts.split_whitespace().map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(ahead), Ok(behind)) => Some(Relation { ahead, behind }),
        _ => None,
    }
}

/// The available blocks or inodes from the last line of `df -P`: the number before the percentage. A file system
/// without a fixed number of inodes prints `-`, or none at all of none.
fn df_available(table: &str) -> Option<u64> {
    let words: Vec<&str> = table.split_whitespace().collect();
    let is_percentage = |word: &&str| {
        word.strip_suffix('%')
            .is_some_and(|n| n.parse::<u64>().is_ok())
    };
    let at = words.iter().rposition(is_percentage)?;
    let number = |back: usize| words.get(at.checked_sub(back)?)?.parse::<u64>().ok();
    match (number(3), number(1)) {
        (Some(0), _) => None,
        (_, available) => available,
    }
}

/// A time as systemd prints it: `1min 30s`, `500ms`, `infinity`.
fn time_span(span: &str) -> Option<Duration> {
    if span.trim() == "infinity" {
        return Some(Duration::MAX);
    }
    let mut total = 0.0_f64;
    for word in span.split_whitespace() {
        let digits = word
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(word.len());
        let number: f64 = word[..digits].parse().ok()?;
        total += number
            * match &word[digits..] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" | "" => 1.0,
                "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                "month" => 2_629_800.0,
                "y" => 31_557_600.0,
                _ => return None,
            };
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_of_systemd() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (span, expected) in [
            ("1min 30s", seconds(90)),
            ("5s", seconds(5)),
            ("0", seconds(0)),
            ("1h 2min 3s", seconds(3723)),
            ("500ms", Some(Duration::from_millis(500))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("infinity", Some(Duration::MAX)),
            ("2d", seconds(172_800)),
            ("soon", None),
            ("5 parsecs", None),
            ("1e400s", None),
        ] {
            assert_eq!(time_span(span), expected, "{span}");
        }
    }

    #[test]
    fn free_space_of_df() {
        for (line, expected) in [
            (
                "/dev/vda1 20971520 9000000 11971520 43% /",
                Some(11_971_520),
            ),
            ("my disk 100 60 40 60% /srv/my app", Some(40)),
            ("/dev/vda1 0 0 0 - /", None),
            ("tmpfs 0 0 0 0% /x", None),
            ("/dev/vda1 20971520 20971520 0 100% /", Some(0)),
            ("", None),
        ] {
            let table = format!("Filesystem 1024-blocks Used Available Capacity Mounted on {line}");
            assert_eq!(df_available(&table), expected, "{line}");
        }
    }
}
