//! What must hold after a cell, seen from the hosts: their commits, their services, and the log of their programs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_types::view::{Host, Status, StepOutput};
use fleet_types::{AttemptStatus, Event, EventKind, RolloutId, RolloutState, StepId};
use local_fleet::{ChangeKind, LogEntry, Truth};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use crate::program::Summary;
use crate::site::{Machine, Site};

use super::cell::Way;

/// The hosts' log has hundredths of a second, and the clocks of log and record are read one after the other.
const BLUR: i64 = 30;

/// How the hosts were before.
#[derive(Debug)]
pub(super) struct Before {
    /// The commit that all were on.
    pub(super) commit: String,
    /// How long each host's log was.
    logs: Vec<usize>,
}

/// A program that changes something, as the host logged it, by the wall clock in milliseconds.
#[derive(Clone, Debug)]
struct Change {
    command: String,
    kind: ChangeKind,
    process: u32,
    began: i64,
    /// None for one that was killed.
    ended: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Logs {
    steps: Vec<StepOutput>,
}

impl Before {
    pub(super) fn of(site: &Site, commit: String) -> Self {
        let log = |machine: &Machine| machine.host.log().unwrap().len();
        Self {
            commit,
            logs: site.machines.iter().map(log).collect(),
        }
    }
}

/// A host's part in the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Done,
    Skipped,
}

/// What went where it had to go.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) rollout: RolloutId,
    pub(super) target: &'a str,
    pub(super) way: Way,
    pub(super) end: RolloutState,
}

/// Everything that is wrong.
pub(super) fn violations(site: &Site, before: &Before, expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let id = expected.rollout.to_string();
    let status: Status = site.program.ask(&["status"]);
    if status.fleet.updating != 0 || status.fleet.needs_attention != 0 {
        wrong.push(format!("after the end: {:?}", status.fleet));
    }
    let end = expected.end;
    match &status.rollout {
        Some(rollout) if rollout.id == expected.rollout && rollout.state == end => {}
        // Nobody works on it any more, so no end would ever be seen.
        Some(rollout) if rollout.state.is_active() => {
            wrong.push(format!("left active: {rollout:?}"));
            return wrong;
        }
        other => wrong.push(format!("not {end:?}, but {other:?}")),
    }
    let watched = site.program.run(&["watch", &id, "--json"]);
    let (events, summary) = read(&watched.stdout);
    let mut touched = 0;
    for (machine, from) in site.machines.iter().zip(&before.logs) {
        let name = machine.host.name();
        let host = summary.host(name);
        let part = match host.update_status {
            Some(AttemptStatus::Skipped) => Part::Skipped,
            _ => Part::Done,
        };
        touched += usize::from(part == Part::Done);
        let home = match (expected.way, part) {
            (Way::Forward, _) | (Way::Aborts, Part::Done) => expected.target,
            _ => &before.commit,
        };
        let truth = site.truth(machine);
        if truth != Truth::well_on(home) {
            wrong.push(format!("{name} is not well on {home}: {truth:?}"));
        }
        wrong.extend(record(host, before, home, expected).map(|why| format!("{name}: {why}")));
        let changes = changes(&machine.host.log().unwrap()[*from..]);
        let finished: Vec<i64> = events
            .iter()
            .filter(|event| event.kind == EventKind::HostFinished)
            .filter(|event| event.host.as_deref() == Some(name))
            .map(|event| event.at.0)
            .collect();
        let steps: Logs = site.program.ask(&["logs", &id, "--host", name]);
        let found = match part {
            Part::Done => [order(&changes, &finished), unseen(&changes)].concat(),
            Part::Skipped => changes.iter().map(|c| format!("skipped: {c:?}")).collect(),
        };
        let found = found.into_iter().chain(unannounced(&changes, &steps.steps));
        wrong.extend(found.map(|why| format!("{name}: {why}")));
    }
    if touched == 0 {
        wrong.push("no host was touched".to_owned());
    }
    wrong
}

fn read(stdout: &str) -> (Vec<Event>, Summary) {
    let mut lines: Vec<&str> = stdout.lines().collect();
    let last = lines.pop().unwrap();
    let event = |line: &&str| serde_json::from_str(line).unwrap();
    (
        lines.iter().map(event).collect(),
        serde_json::from_str(last).unwrap(),
    )
}

/// What is wrong with a host's record.
fn record(host: &Host, before: &Before, home: &str, expected: &Expected<'_>) -> Option<String> {
    let right = matches!(
        (expected.way, host.update_status),
        (Way::Forward | Way::Aborts, Some(AttemptStatus::Success))
            | (Way::Back | Way::Halts, Some(AttemptStatus::RolledBack))
            | (Way::Halts | Way::Aborts, Some(AttemptStatus::Skipped))
    );
    let previous = host.update_status != Some(AttemptStatus::Success)
        || host.previous_version.as_ref() == Some(&before.commit);
    let current = host.current_version.as_deref();
    // One that no rollout has touched yet was never asked.
    let known = current == Some(home)
        || current.is_none() && host.update_status == Some(AttemptStatus::Skipped);
    let right = right && known && previous && !host.needs_attention;
    (!right).then(|| format!("on record: {host:?}"))
}

/// Commands that overlap, and those that went on after the outcome was on record, or of which there is not one.
fn order(changes: &[Change], finished: &[i64]) -> Vec<String> {
    let mut wrong = Vec::new();
    let [outcome] = finished else {
        return vec![format!("{} outcomes on record", finished.len())];
    };
    for (number, change) in changes.iter().enumerate() {
        let last = change.ended.unwrap_or(change.began);
        if last > outcome + BLUR {
            wrong.push(format!("after the outcome at {outcome}: {change:?}"));
        }
        for other in &changes[number + 1..] {
            if other.began < last && other.process != change.process {
                let (one, next) = (&change.command, &other.command);
                wrong.push(format!(
                    "{next} began while {one} ran: {change:?}, {other:?}"
                ));
            }
        }
    }
    wrong
}

/// What a host that went to the target, or there and back, cannot have done without.
fn unseen(changes: &[Change]) -> Vec<String> {
    [ChangeKind::Tree, ChangeKind::Install, ChangeKind::Service]
        .into_iter()
        .filter(|kind| changes.iter().all(|change| change.kind != *kind))
        .map(|kind| format!("nothing of the kind {kind:?} is in its log"))
        .collect()
}

/// Commands whose step was not on record when they ran.
fn unannounced(changes: &[Change], steps: &[StepOutput]) -> Vec<String> {
    let announced = |change: &Change| {
        steps.iter().any(|step| {
            belongs(change, step.step)
                && step.started_at.0 <= change.began + BLUR
                && step
                    .finished_at
                    .is_none_or(|end| end.0 >= change.ended.unwrap_or(change.began) - BLUR)
        })
    };
    changes
        .iter()
        .filter(|change| !announced(change))
        .map(|change| format!("not announced: {change:?}"))
        .collect()
}

/// Whether a step may call this.
fn belongs(change: &Change, step: StepId) -> bool {
    use StepId as S;
    match change.kind {
        ChangeKind::Install => matches!(step, S::Install | S::RollbackInstall),
        ChangeKind::Service => matches!(step, S::Restart | S::RollbackRestart),
        _ => matches!(step, S::Pull | S::RollbackCheckout),
    }
}

/// The programs that change something, in order.
fn changes(log: &[LogEntry]) -> Vec<Change> {
    let boot = wall_clock_at_boot();
    let wall = |at: Duration| boot + i64::try_from(at.as_millis()).unwrap();
    let on_the_wall = |change: local_fleet::Change| Change {
        began: wall(change.began),
        ended: change.ended.map(wall),
        command: change.command,
        kind: change.kind,
        process: change.process,
    };
    let changes = local_fleet::changes(log).into_iter();
    changes.map(on_the_wall).collect()
}

/// In milliseconds since 1970.
fn wall_clock_at_boot() -> i64 {
    let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    loop {
        let before = wall();
        let up = clock_gettime(ClockId::Boottime);
        // What comes between the two looks would be taken for time that all commands are off.
        if wall() - before < Duration::from_millis(2) {
            let up = Duration::try_from(up).unwrap();
            return i64::try_from((before - up).as_millis()).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(command: &str, process: u32, began: i64, ended: Option<i64>) -> Change {
        Change {
            command: command.to_owned(),
            kind: ChangeKind::Install,
            process,
            began,
            ended,
        }
    }

    #[test]
    fn what_is_out_of_order_is_found() {
        let install = |process, began, ended| change("bun install", process, began, Some(ended));
        for (changes, finished, wrong) in [
            (
                vec![install(1, 0, 500), install(2, 600, 900)],
                vec![1000],
                0,
            ),
            (
                vec![install(1, 0, 500), install(2, 400, 900)],
                vec![1000],
                1,
            ),
            (
                vec![install(1, 0, 500), install(2, 1100, 1200)],
                vec![1000],
                1,
            ),
            (
                vec![install(1, 0, 500), install(2, 490, 900)],
                vec![1000],
                1,
            ),
            (vec![install(1, 0, 1200)], vec![1000], 1),
            (vec![change("bun install", 1, 0, None)], vec![1000], 0),
            (vec![], vec![], 1),
            (vec![], vec![1000, 1001], 1),
        ] {
            let found = order(&changes, &finished);
            assert_eq!(found.len(), wrong, "{changes:?} {finished:?}: {found:?}");
        }
    }

    #[test]
    fn what_was_not_done_is_found() {
        let change = |kind| Change {
            kind,
            ..change("", 1, 0, None)
        };
        let all = [ChangeKind::Tree, ChangeKind::Install, ChangeKind::Service].map(change);
        assert!(unseen(&all).is_empty());
        for left_out in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(left_out);
            assert_eq!(unseen(&some).len(), 1, "{some:?}");
        }
    }

    #[test]
    fn what_was_not_on_record_before_is_found() {
        let step = |name: &str, from: i64, to: Option<i64>| StepOutput {
            step: name.parse().unwrap(),
            started_at: fleet_types::Timestamp(from),
            finished_at: to.map(fleet_types::Timestamp),
            duration_seconds: None,
            reason: None,
            message: None,
            exit: None,
            stdout: String::new(),
            stderr: String::new(),
            total_bytes: 0,
            removed_after_days: None,
        };
        let install = change("bun install", 1, 1000, Some(1300));
        for (on_record, wrong) in [
            (step("install", 900, Some(1400)), 0),
            (step("rollback_install", 900, None), 0),
            (step("install", 1100, Some(1400)), 1),
            (step("install", 900, Some(1200)), 1),
            (step("restart", 900, Some(1400)), 1),
        ] {
            let found = unannounced(
                std::slice::from_ref(&install),
                std::slice::from_ref(&on_record),
            );
            assert_eq!(found.len(), wrong, "{on_record:?}");
        }
    }
}
