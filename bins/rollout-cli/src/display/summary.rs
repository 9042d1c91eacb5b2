//! The end of a rollout on one screen: the part that people paste into a chat.

use std::collections::BTreeMap;

use fleet_types::view::{Attempt, Host, Rollout};
use fleet_types::{AttemptStatus, RolloutKind, RolloutState};

use super::model::settled;
use super::table::Table;
use super::words::{self, Mark, hosts as count_hosts};
use crate::exit::{self, Exit};
use crate::failure::one_line;
use crate::output::{Paint, next_lines};

/// What is known beyond rollout and hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    /// Why it ended, for people.
    pub why: Option<String>,
    /// The last lines that the deciding step printed, by host.
    pub output: BTreeMap<String, String>,
}

/// The whole summary, ending with the next commands. Hosts are those of the rollout.
pub(crate) fn summary(rollout: &Rollout, hosts: &[Host], exit: Exit, details: &Details) -> String {
    let mut text = result(rollout, hosts, details);
    let next = next(rollout, hosts);
    if !next.is_empty() {
        text.push_str(&format!("\n{}\n", next_lines(&next)));
    }
    if exit != Exit::Done {
        text.push_str(&format!("exit code {}\n", exit.code()));
    }
    text
}

/// The summary without what to do next.
pub(crate) fn result(rollout: &Rollout, hosts: &[Host], details: &Details) -> String {
    let mut text = format!("\n{}\n", headline(rollout, details));
    let bad = bad_hosts(hosts);
    if !bad.is_empty() {
        text.push_str(&format!("\n{}", failed(&bad, details)));
    }
    text.push_str(&format!("\n  {}\n", counts(rollout.kind, hosts)));
    text
}

/// The last step lines worth showing are those of hosts that a person must look at, and one for each cause.
pub(crate) fn worth_a_look(hosts: &[Host]) -> Vec<&Host> {
    let mut seen = Vec::new();
    bad_hosts(hosts)
        .into_iter()
        .filter(|host| {
            let cause = Cause::of(host);
            let new = !seen.contains(&cause);
            seen.push(cause);
            new || exit::needs_attention(host)
        })
        .take(10)
        .collect()
}

fn headline(rollout: &Rollout, details: &Details) -> String {
    let took = rollout
        .finished_at
        .unwrap_or_else(words::now)
        .since(rollout.created_at);
    let state = capitalised(words::state(rollout.state));
    let state = words::state_paint(rollout.state).on(state);
    let counts = &rollout.counts;
    let bad = counts.failed + counts.rolled_back;
    let what = match rollout.state {
        RolloutState::Halted => halted(rollout, details),
        RolloutState::Aborted | RolloutState::Aborting => {
            format!("in stage {}/{}", rollout.stage, rollout.stages.len())
        }
        RolloutState::Completed | RolloutState::CompletedWithFailures => {
            let total = count_hosts(counts.total());
            let of = if counts.success == counts.total() {
                total
            } else {
                format!("{} of {total}", counts.success)
            };
            let place = match rollout.kind {
                RolloutKind::Rollback => "back on their own previous version".to_owned(),
                _ => format!("on {}", words::target(rollout)),
            };
            if bad == 0 {
                format!("{of} {place}")
            } else {
                format!("{of} {place}, {bad} failed")
            }
        }
        _ => format!(
            "in stage {}/{}, {} of {} hosts settled",
            rollout.stage,
            rollout.stages.len(),
            settled(counts),
            counts.total()
        ),
    };
    format!("{state}   {what}   {}", words::duration(took))
}

fn halted(rollout: &Rollout, details: &Details) -> String {
    let stage = rollout
        .stages
        .iter()
        .find(|stage| stage.index == rollout.stage);
    let bad = stage.map_or(0, |stage| stage.counts.failed + stage.counts.rolled_back);
    match (stage, bad) {
        (Some(stage), 1..) => format!(
            "in stage {}/{}: {bad} of {} failed, {} may fail",
            stage.index,
            rollout.stages.len(),
            stage.hosts,
            stage.may_fail
        ),
        _ => {
            let why = details
                .why
                .as_deref()
                .or(rollout.reason.as_deref())
                .unwrap_or("nothing was touched");
            format!("before any host was touched: {}", one_line(why))
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Hosts that did not make it, those that a person must look at first, then by cause and name.
fn bad_hosts(hosts: &[Host]) -> Vec<&Host> {
    let is_bad = |host: &&Host| {
        let status = host.attempt.as_ref().map(|attempt| attempt.status);
        matches!(
            status,
            Some(AttemptStatus::Failed | AttemptStatus::RolledBack)
        )
    };
    let mut bad: Vec<&Host> = hosts.iter().filter(is_bad).collect();
    bad.sort_by_key(|host| {
        (
            !exit::needs_attention(host),
            Cause::of(host),
            host.name.clone(),
        )
    });
    bad
}

/// What two hosts have in common that failed alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    step: String,
    reason: String,
}

impl Cause {
    fn of(host: &Host) -> Self {
        let attempt = host.attempt.as_ref();
        let part = |part: fn(&Attempt) -> Option<&String>| {
            attempt.and_then(part).cloned().unwrap_or_default()
        };
        Self {
            step: part(|attempt| attempt.step.as_ref()),
            reason: part(|attempt| attempt.reason.as_ref()),
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.step.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.step, self.reason)
        }
    }
}

fn failed(bad: &[&Host], details: &Details) -> String {
    let mut table = Table::new(&[
        &format!("  failed ({})", bad.len()),
        "",
        "stage",
        "step",
        "cause",
    ]);
    for host in bad {
        let Some(attempt) = &host.attempt else {
            continue;
        };
        let mark = Mark::of(attempt.status, attempt.reason.as_deref());
        let reason = attempt.reason.clone().unwrap_or_default();
        let cause = match attempt
            .message
            .as_deref()
            .filter(|message| !message.is_empty())
        {
            Some(message) => format!("{reason}: {}", one_line(message)),
            None => reason,
        };
        table.row(vec![
            format!("  {} {}", mark.painted(), host.name),
            place(host, attempt),
            attempt.stage.to_string(),
            attempt.step.clone().unwrap_or_default(),
            cause,
        ]);
        if let Some(output) = details.output.get(&host.name) {
            table.text(format!("     └ last output: {output}"));
        }
    }
    format!("{table}{}", grouped(bad))
}

/// Where the host is now.
fn place(host: &Host, attempt: &Attempt) -> String {
    match attempt.status {
        AttemptStatus::RolledBack => {
            format!(
                "back on {}, active",
                words::version(host.current_version.as_deref())
            )
        }
        _ if exit::needs_attention(host) => Paint::Red.on("NEEDS ATTENTION"),
        _ if attempt.touched => "touched".to_owned(),
        _ => "nothing changed".to_owned(),
    }
}

fn grouped(bad: &[&Host]) -> String {
    let mut causes: BTreeMap<Cause, u32> = BTreeMap::new();
    for host in bad {
        *causes.entry(Cause::of(host)).or_default() += 1;
    }
    let line = |(cause, count): (Cause, u32)| {
        (count > 1).then(|| format!("  same cause on {}: {cause}\n", count_hosts(count)))
    };
    causes.into_iter().filter_map(line).collect()
}

fn counts(kind: RolloutKind, hosts: &[Host]) -> String {
    let mut by_word: Vec<(Mark, u32)> = Vec::new();
    for attempt in hosts.iter().filter_map(|host| host.attempt.as_ref()) {
        let mark = Mark::in_rollout(kind, attempt.status, attempt.reason.as_deref());
        match by_word.iter_mut().find(|(known, _)| *known == mark) {
            Some((_, count)) => *count += 1,
            None => by_word.push((mark, 1)),
        }
    }
    let order = [
        "updated",
        "brought back",
        "unchanged",
        "rolled back",
        "failed",
        "updating",
        "waiting",
        "not started",
    ];
    by_word.sort_by_key(|(mark, _)| order.iter().position(|word| *word == mark.word));
    let mut parts: Vec<String> = by_word
        .iter()
        .map(|(mark, count)| format!("{} {count} {}", mark.painted(), mark.word))
        .collect();
    let attention = hosts
        .iter()
        .filter(|host| exit::needs_attention(host))
        .count();
    if attention > 0 {
        parts.push(Paint::Red.on(format!("! {attention} NEED ATTENTION")));
    }
    parts.join("   ")
}

fn next(rollout: &Rollout, hosts: &[Host]) -> Vec<(String, &'static str)> {
    let bad = bad_hosts(hosts);
    let id = rollout.id.short();
    let mut commands = Vec::new();
    if let Some(host) = bad.first() {
        commands.push((
            format!("rollout-cli logs {id} --host {}", host.name),
            "what its steps printed",
        ));
    }
    if rollout.state.is_active() {
        commands.push((format!("rollout-cli resume {id}"), "go on"));
        commands.push((
            format!("rollout-cli abort {id}"),
            "end it; what is done stays done",
        ));
        return commands;
    }
    if rollout.reason.as_deref() == Some("known_bad") {
        commands.push((
            "rollout-cli update … --force".to_owned(),
            "start it all the same",
        ));
    }
    let counts = &rollout.counts;
    let untouched = exit::is_before_any_host(rollout);
    if counts.failed + counts.rolled_back + counts.skipped > 0 && !untouched {
        commands.push((
            format!("rollout-cli retry {id}"),
            "the failed and the never started ones again",
        ));
    }
    let updated = hosts.iter().any(|host| {
        host.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.reason.as_deref() == Some("updated"))
    });
    if updated && rollout.kind != RolloutKind::Rollback {
        commands.push((
            format!("rollout-cli rollback {id}"),
            "bring the updated ones back",
        ));
    }
    commands.push(("rollout-cli status".to_owned(), "the fleet as it is now"));
    commands
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "01939e1f-0000-7000-8000-0000c0ffee01";

    fn host(name: &str, status: &str, reason: &str, touched: bool) -> Value {
        let step = if reason == "updated" {
            Value::Null
        } else {
            json!("verify")
        };
        let attention = status == "failed" && touched;
        json!({
            "name": name, "address": "192.0.2.1", "port": 22, "user": "u", "labels": {}, "owner": null,
            "current_version": "a".repeat(40), "previous_version": null, "target_version": null,
            "update_status": status, "needs_attention": attention, "last_update_at": null, "health": "unknown",
            "attempt": {
                "rollout": ID, "stage": 2, "status": status, "reason": reason, "touched": touched, "step": step,
                "message": format!("{name} says\nso"), "duration_seconds": 1.0
            }
        })
    }

    fn rollout(state: &str, failed: u32) -> Rollout {
        let counts = json!({
            "pending": 0, "updating": 0, "success": 10, "failed": failed, "rolled_back": 0, "skipped": 5
        });
        let rollout = json!({
            "id": ID, "state": state, "kind": "update", "target": { "version": "b".repeat(40), "ref": "main" },
            "started_by": "anna", "message": null, "created_at": "2026-11-23T12:00:00Z",
            "finished_at": "2026-11-23T12:06:41Z",
            "policy": {
                "stages": [50, 100], "max_failure_percent": 30, "concurrency": 5, "max_in_flight": 20,
                "settle_seconds": 5.0
            },
            "stage": 2,
            "stages": [
                { "index": 1, "percent": 50, "hosts": 5, "may_fail": 1, "state": "passed", "counts": counts },
                { "index": 2, "percent": 100, "hosts": 10, "may_fail": 3, "state": "failed", "counts": counts }
            ],
            "counts": counts, "reason": null
        });
        serde_json::from_value(rollout).unwrap()
    }

    fn shown(state: &str, hosts: &[Value]) -> String {
        let hosts: Vec<Host> = serde_json::from_value(Value::from(hosts.to_vec())).unwrap();
        let failed = u32::try_from(bad_hosts(&hosts).len()).unwrap();
        let rollout = rollout(state, failed);
        let exit = Exit::of_rollout(&rollout, &hosts);
        let details = Details {
            why: None,
            output: [("b".to_owned(), "boom".to_owned())].into(),
        };
        anstream::adapter::strip_str(&summary(&rollout, &hosts, exit, &details)).to_string()
    }

    #[test]
    fn the_screen_that_people_paste() {
        let hosts = [
            host("d", "rolled_back", "unhealthy", true),
            host("c", "rolled_back", "crash_loop", true),
            host("a", "rolled_back", "unhealthy", true),
            host("b", "failed", "rollback_failed", true),
            host("e", "success", "updated", true),
            host("f", "failed", "unreachable", false),
        ];
        let expected = "
Halted   in stage 2/2: 5 of 10 failed, 3 may fail   6m41s

  failed (5)                              stage  step    cause
  ✗ b         NEEDS ATTENTION             2      verify  rollback_failed: b says; so
     └ last output: boom
  ↩ c         back on aaaaaaaaaa, active  2      verify  crash_loop: c says; so
  ↩ a         back on aaaaaaaaaa, active  2      verify  unhealthy: a says; so
  ↩ d         back on aaaaaaaaaa, active  2      verify  unhealthy: d says; so
  ✗ f         nothing changed             2      verify  unreachable: f says; so
  same cause on 2 hosts: verify: unhealthy

  ✓ 1 updated   ↩ 3 rolled back   ✗ 2 failed   ! 1 NEED ATTENTION

Next:  rollout-cli logs c0ffee01 --host b   what its steps printed
       rollout-cli retry c0ffee01           the failed and the never started ones again
       rollout-cli rollback c0ffee01        bring the updated ones back
       rollout-cli status                   the fleet as it is now
exit code 5
";
        assert_eq!(shown("halted", &hosts), expected);
    }

    #[test]
    fn the_worst_exit_code_wins() {
        let good = host("e", "success", "updated", true);
        let down = host("f", "failed", "unreachable", false);
        let stuck = host("b", "failed", "rollback_failed", true);
        for (state, hosts, code) in [
            ("completed", vec![good.clone()], 0),
            (
                "completed_with_failures",
                vec![good.clone(), down.clone()],
                3,
            ),
            ("halted", vec![down.clone()], 4),
            ("aborted", vec![good], 4),
            ("completed_with_failures", vec![stuck.clone(), down], 5),
            ("aborted", vec![stuck], 5),
        ] {
            let hosts: Vec<Host> = serde_json::from_value(Value::from(hosts)).unwrap();
            let rollout = rollout(state, 1);
            assert_eq!(Exit::of_rollout(&rollout, &hosts).code(), code, "{state}");
        }
        let mut unresolved = rollout("halted", 0);
        unresolved.reason = Some("cannot_resolve_target".to_owned());
        assert_eq!(Exit::of_rollout(&unresolved, &[]).code(), 8);
    }
}
