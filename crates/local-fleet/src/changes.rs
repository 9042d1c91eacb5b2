//! What changed a host, read from its log.

use std::time::Duration;

use crate::folder::{LogEntry, LogEvent};

/// A run of a program that changes its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The program's name and arguments.
    pub command: String,
    /// What it changes.
    pub kind: ChangeKind,
    /// Its process.
    pub process: u32,
    /// When it began, since the machine was booted.
    pub began: Duration,
    /// When it ended. None for one that runs still or was killed.
    pub ended: Option<Duration>,
}

/// What a program changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// git brings objects or names commits; the checked-out files stay.
    Records,
    /// git moves `HEAD` or writes checked-out files.
    Tree,
    /// `bun` installs.
    Install,
    /// `systemctl` starts or stops the service.
    Service,
}

impl ChangeKind {
    /// What this command changes; none if it only looks.
    fn of(command: &str) -> Option<Self> {
        let mut words = command.split(' ');
        match words.next()? {
            "bun" => matches!(words.next()?, "install" | "i" | "ci").then_some(Self::Install),
            // A sudo that runs it is the same process and no change of its own.
            "systemctl" => {
                let verb = words.find(|word| !word.starts_with('-'))?;
                matches!(verb, "restart" | "start" | "stop" | "try-restart")
                    .then_some(Self::Service)
            }
            "git" => Self::of_git(words),
            _ => None,
        }
    }

    /// git's own options come before what it is to do.
    fn of_git<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let verb = loop {
            match words.next()? {
                "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" | "--exec-path" => {
                    words.next()?;
                }
                option if option.starts_with('-') => {}
                verb => break verb,
            }
        };
        let kind = match verb {
            "fetch" | "update-ref" => Self::Records,
            "merge" | "pull" | "reset" | "checkout" | "switch" | "restore" | "read-tree"
            | "symbolic-ref" | "rm" | "submodule" => Self::Tree,
            _ => return None,
        };
        // Asked for its help it does nothing. A fetch that leaves FETCH_HEAD alone is how one asks whether there is a
        // commit, which may be done at any time.
        let looks = words.any(|word| matches!(word, "-h" | "--no-write-fetch-head"));
        (!looks).then_some(kind)
    }
}

/// The changes in a host's log, in the order in which they began. git is seen only in a fleet that was told to log it.
#[must_use]
pub fn changes(log: &[LogEntry]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for entry in log {
        match &entry.event {
            LogEvent::Began(command) => {
                if let Some(kind) = ChangeKind::of(command) {
                    changes.push(Change {
                        command: command.clone(),
                        kind,
                        process: entry.process,
                        began: entry.at,
                        ended: None,
                    });
                }
            }
            LogEvent::Ended { program, .. } => {
                let is_this = |change: &&mut Change| {
                    change.process == entry.process
                        && change.command.split(' ').next() == Some(program)
                };
                // Numbers of processes come round: the latest of this number is the one that ended.
                let latest = changes.iter_mut().rev().find(is_this);
                if let Some(change) = latest.filter(|change| change.ended.is_none()) {
                    change.ended = Some(entry.at);
                }
            }
        }
    }
    changes
}

/// Pairs of changes of which the second began before the first had ended. One that was killed has no end and is in no
/// pair as the first.
#[must_use]
pub fn overlaps(changes: &[Change]) -> Vec<(&Change, &Change)> {
    let mut found = Vec::new();
    for (number, one) in changes.iter().enumerate() {
        let later = changes[number + 1..].iter();
        let inside = later.filter(|other| one.ended.is_some_and(|ended| other.began < ended));
        found.extend(inside.map(|other| (one, other)));
    }
    found
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::folder::parse;

    /// What our scripts put before git's verb.
    const OPTIONS: &str = "-c gc.auto=0 -c maintenance.auto=false -c core.hooksPath=/dev/null";

    fn log(lines: &[&str]) -> Vec<LogEntry> {
        let lines = lines.iter().map(|line| line.replace("OPTIONS", OPTIONS));
        lines.map(|line| parse(&line).unwrap()).collect()
    }

    #[test]
    fn what_changes_a_host() {
        use ChangeKind::{Install, Records, Service, Tree};
        for (command, kind) in [
            ("git OPTIONS merge --ff-only --quiet abc", Some(Tree)),
            ("git OPTIONS reset --hard --quiet abc --", Some(Tree)),
            ("git OPTIONS reset --keep --quiet abc --", Some(Tree)),
            ("git OPTIONS checkout --quiet --force HEAD -- x", Some(Tree)),
            ("git OPTIONS read-tree --reset abc", Some(Tree)),
            ("git -C /srv/app merge abc", Some(Tree)),
            ("git merge abc", Some(Tree)),
            (
                "git OPTIONS fetch --quiet -- origin refs/heads/main",
                Some(Records),
            ),
            (
                "git OPTIONS update-ref refs/rollout/previous abc",
                Some(Records),
            ),
            (
                "git OPTIONS fetch --quiet --no-write-fetch-head -- origin abc",
                None,
            ),
            ("git OPTIONS fetch -h", None),
            ("git OPTIONS status --porcelain=v2 --branch", None),
            (
                "git OPTIONS rev-parse --verify --quiet refs/heads/merge",
                None,
            ),
            ("git OPTIONS ls-remote -- origin reset", None),
            ("git", None),
            ("bun install", Some(Install)),
            ("bun --version", None),
            ("systemctl restart app", Some(Service)),
            ("systemctl --no-block restart app", Some(Service)),
            ("systemctl show -p Result restart", None),
            ("sudo -n systemctl restart app", None),
            ("sudo -n -l systemctl restart app", None),
        ] {
            let command = command.replace("OPTIONS", OPTIONS);
            assert_eq!(ChangeKind::of(&command), kind, "{command}");
        }
    }

    #[test]
    fn a_restart_through_sudo_is_one_change() {
        let log = log(&[
            "100 7 begin sudo -n systemctl restart app",
            "100 7 end sudo 0",
            "101 7 begin systemctl restart app",
            "130 7 end systemctl 0",
        ]);
        let [restart] = &changes(&log)[..] else {
            panic!("{:?}", changes(&log));
        };
        assert_eq!(restart.kind, ChangeKind::Service);
        assert_eq!(restart.began, Duration::from_millis(1010));
        assert_eq!(restart.ended, Some(Duration::from_millis(1300)));
    }

    #[test]
    fn what_overlaps_is_found() {
        let check = |lines: &[&str], expected: usize| {
            let changes = changes(&log(lines));
            let found = overlaps(&changes);
            assert_eq!(found.len(), expected, "{found:?}");
        };
        let pull = "100 7 begin git OPTIONS merge --ff-only --quiet abc";
        // Two pulls, and a pull in the midst of a way back.
        let end = "120 7 end git 0";
        check(
            &[
                pull,
                "110 8 begin git OPTIONS merge --ff-only --quiet def",
                end,
            ],
            1,
        );
        check(
            &[
                pull,
                "110 8 begin git OPTIONS reset --hard --quiet def --",
                end,
            ],
            1,
        );
        check(&[pull, "110 8 begin bun install", end], 1);
        check(&[pull, "110 8 begin git OPTIONS status", end], 0);
        check(&[pull, end, "120 8 begin bun install"], 0);
        // Not only its neighbour.
        let between = ["105 8 begin systemctl restart app", "106 8 end systemctl 0"];
        check(
            &[pull, between[0], between[1], "110 9 begin bun install", end],
            2,
        );
        // One that was killed is not held against the next.
        check(&[pull, "110 8 begin bun install"], 0);
        // Another program of the same number does not end it.
        let restart = [
            "100 7 begin bun install",
            "105 7 end systemctl 0",
            "110 8 begin bun install",
        ];
        check(&[restart[0], restart[1], restart[2], "120 7 end bun 0"], 1);
    }
}
