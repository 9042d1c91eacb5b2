//! Counts everything anew and compares it with what is on record. For tests: it reads the whole store.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::prelude::*;
use fleet_types::{AttemptStatus, Progress, Reason, RolloutState, StageState};

use super::claim::UPDATE;
use super::{Conn, advance, integrity, open};
use crate::diesel_store::rows::{
    AttemptRow, EventRow, HostRow, RolloutRow, StageRow, StepRow, from_json,
};
use crate::diesel_store::schema::{attempts, events, hosts, rollouts, steps};
use crate::diesel_store::work::{Answer, Work};

/// What does not hold, a line each; nothing when all is well.
pub(crate) fn consistency(conn: &mut Conn, _: &mut Work) -> Answer<Vec<String>> {
    let mut wrong = integrity(conn)?;
    let rows: Vec<RolloutRow> = rollouts::table
        .order(rollouts::number)
        .select(RolloutRow::as_select())
        .load(conn)?;
    let all: Vec<EventRow> = events::table
        .order(events::seq)
        .select(EventRow::as_select())
        .load(conn)?;
    check_feed(&all, open::last_seq(conn)?, &mut wrong);
    let mut active = 0;
    for rollout in &rows {
        active += usize::from(rollout.state()?.is_active());
        check_rollout(conn, rollout, &all, &mut wrong)?;
    }
    if active > 1 {
        wrong.push(format!("{active} rollouts are active"));
    }
    check_leases(conn, &rows, &mut wrong)?;
    Ok(wrong)
}

fn check_feed(all: &[EventRow], last: i64, wrong: &mut Vec<String>) {
    for (event, expected) in all.iter().zip(1..) {
        if event.seq != expected {
            return wrong.push(format!("event {} is where {expected} must be", event.seq));
        }
    }
    if all.len() as i64 != last {
        wrong.push(format!("{} events, counted {last}", all.len()));
    }
}

/// How many events of a kind and status there are about each host of a rollout.
struct Told<'a>(HashMap<(&'a str, &'a str, &'a str), i64>);

impl<'a> Told<'a> {
    fn new(rollout: &str, all: &'a [EventRow]) -> Self {
        let mut told = HashMap::new();
        let own = all
            .iter()
            .filter(|event| event.rollout.as_deref() == Some(rollout));
        for event in own {
            let host = event.host.as_deref().unwrap_or_default();
            let status = event.status.as_deref().unwrap_or_default();
            *told.entry((event.kind.as_str(), host, status)).or_default() += 1;
        }
        Self(told)
    }

    fn of(&self, kind: &str, host: &str, status: &str) -> i64 {
        let key = (kind, host, status);
        self.0.get(&key).copied().unwrap_or(0)
    }

    fn all_of(&self, kind: &str, host: &str) -> i64 {
        let fits = |key: &&(&str, &str, &str)| key.0 == kind && key.1 == host;
        self.0.keys().filter(fits).map(|key| self.0[key]).sum()
    }
}

fn check_rollout(
    conn: &mut Conn,
    rollout: &RolloutRow,
    all: &[EventRow],
    wrong: &mut Vec<String>,
) -> Answer<()> {
    let told = Told::new(&rollout.id, all);
    let rows: Vec<AttemptRow> = attempts::table
        .filter(attempts::rollout.eq(&rollout.id))
        .select(AttemptRow::as_select())
        .load(conn)?;
    let done: Vec<StepRow> = steps::table
        .filter(steps::rollout.eq(&rollout.id))
        .select(StepRow::as_select())
        .load(conn)?;
    let stages = advance::all_stages(conn, &rollout.id)?;
    if rows.len() as i64 != rollout.hosts {
        wrong.push(format!("{} attempts, {} hosts", rows.len(), rollout.hosts));
    }
    for stage in &stages {
        check_stage(rollout, stage, &rows, wrong)?;
    }
    for attempt in &rows {
        check_attempt(attempt, &done, &told, wrong)?;
    }
    check_rollout_events(rollout, &stages, &told, wrong)
}

fn check_stage(
    rollout: &RolloutRow,
    stage: &StageRow,
    rows: &[AttemptRow],
    wrong: &mut Vec<String>,
) -> Answer<()> {
    let own = || rows.iter().filter(|row| row.stage == stage.position);
    let number = |status: AttemptStatus| {
        let fits = |row: &&AttemptRow| row.status == status.as_str();
        own().filter(fits).count() as i64
    };
    let unchanged = own()
        .filter(|row| row.reason.as_deref() == Some(Reason::Unchanged.as_str()))
        .count() as i64;
    let counted = [
        ("size", stage.size, own().count() as i64),
        ("pending", stage.pending(), number(AttemptStatus::Pending)),
        ("updating", stage.updating, number(AttemptStatus::Updating)),
        (
            "updated",
            stage.updated,
            number(AttemptStatus::Success) - unchanged,
        ),
        ("unchanged", stage.unchanged, unchanged),
        ("failed", stage.failed, number(AttemptStatus::Failed)),
        (
            "rolled back",
            stage.rolled_back,
            number(AttemptStatus::RolledBack),
        ),
        ("skipped", stage.skipped, number(AttemptStatus::Skipped)),
    ];
    for (what, kept, found) in counted {
        if kept != found {
            wrong.push(format!(
                "stage {} counts {kept} {what}, there are {found}",
                stage.position
            ));
        }
    }
    if stage.updating > i64::from(rollout.policy()?.max_in_flight) {
        wrong.push(format!("{} hosts in updating", stage.updating));
    }
    if stage.position > rollout.stage && stage.settled() > stage.skipped {
        wrong.push(format!("stage {} began before its turn", stage.position));
    }
    Ok(())
}

fn check_attempt(
    attempt: &AttemptRow,
    done: &[StepRow],
    told: &Told<'_>,
    wrong: &mut Vec<String>,
) -> Answer<()> {
    let name = attempt.name.as_str();
    let own = || done.iter().filter(|step| step.position == attempt.position);
    let ended = own().filter(|step| step.finished_at.is_some()).count() as i64;
    let begun = i64::from(attempt.started_at.is_some());
    let settled = attempt.status != AttemptStatus::Pending.as_str()
        && attempt.status != AttemptStatus::Updating.as_str();
    let not_started = attempt.reason.as_deref() == Some(Reason::NotStarted.as_str());
    let steps_ended = told.of("host.step", name, "ok") + told.of("host.step", name, "failed");
    let pairs = [
        ("started", told.all_of("host.started", name), begun),
        (
            "finished",
            told.all_of("host.finished", name),
            i64::from(settled && !not_started),
        ),
        (
            "taken over",
            told.all_of("host.taken_over", name),
            attempt.takeovers,
        ),
        (
            "step started",
            told.of("host.step", name, "started"),
            attempt.steps,
        ),
        ("step rows", own().count() as i64, attempt.steps),
        ("step ended", steps_ended, ended),
        (
            "previous version",
            told.of("host.step", name, "previous_known"),
            i64::from(attempt.previous_version.is_some()),
        ),
    ];
    for (what, found, expected) in pairs {
        if found != expected {
            wrong.push(format!("{name}: {found} times {what}, expected {expected}"));
        }
    }
    if settled != attempt.finished_at.is_some() {
        wrong.push(format!("{name} is {} without its time", attempt.status));
    }
    let progress: Progress = from_json("attempts", &attempt.progress)?;
    let previous = progress
        .previous
        .map(|previous| previous.version.to_string());
    if previous != attempt.previous_version {
        wrong.push(format!("{name} has two previous versions"));
    }
    Ok(())
}

fn check_rollout_events(
    rollout: &RolloutRow,
    stages: &[StageRow],
    told: &Told<'_>,
    wrong: &mut Vec<String>,
) -> Answer<()> {
    let state = rollout.state()?;
    let ends = [
        ("rollout.halted", RolloutState::Halted),
        ("rollout.aborted", RolloutState::Aborted),
    ];
    let finished = matches!(
        state,
        RolloutState::Completed | RolloutState::CompletedWithFailures
    );
    let opened = stages
        .iter()
        .filter(|stage| stage.position <= rollout.stage)
        .count();
    let closed = [StageState::Passed, StageState::Failed];
    let closed = stages
        .iter()
        .filter(|stage| closed.iter().any(|state| stage.state == state.as_str()))
        .count();
    let mut pairs = vec![
        ("rollout.started", 1),
        ("rollout.finished", i64::from(finished)),
        ("stage.started", opened as i64),
        ("stage.finished", closed as i64),
    ];
    pairs.extend(ends.map(|(kind, end)| (kind, i64::from(state == end))));
    for (kind, expected) in pairs {
        let found = told.all_of(kind, "");
        if found != expected {
            wrong.push(format!("{found} times {kind}, expected {expected}"));
        }
    }
    if state.is_active() == rollout.finished_at.is_some() {
        wrong.push(format!("the rollout is {state}, its end is not"));
    }
    Ok(())
}

/// A host is leased for an update exactly while its attempt in the active rollout is in `updating`.
fn check_leases(conn: &mut Conn, rollouts: &[RolloutRow], wrong: &mut Vec<String>) -> Answer<()> {
    let mut active = HashSet::new();
    for rollout in rollouts {
        if rollout.state()?.is_active() {
            active.insert(rollout.id.clone());
        }
    }
    let leased: Vec<HostRow> = hosts::table
        .filter(hosts::lease_purpose.eq(UPDATE))
        .select(HostRow::as_select())
        .load(conn)?;
    let updating: Vec<AttemptRow> = attempts::table
        .filter(attempts::status.eq(AttemptStatus::Updating.as_str()))
        .select(AttemptRow::as_select())
        .load(conn)?;
    let mut held: BTreeMap<String, Option<String>> = leased
        .into_iter()
        .map(|host| (host.id, host.lease_machine))
        .collect();
    for attempt in updating {
        if !active.contains(&attempt.rollout) {
            wrong.push(format!(
                "{} is updating in a rollout that is over",
                attempt.name
            ));
        }
        match held.remove(&attempt.host) {
            Some(Some(machine)) if machine == attempt.machine => {}
            lease => wrong.push(format!("{} is updating under {lease:?}", attempt.name)),
        }
    }
    for host in held.keys() {
        wrong.push(format!("host {host} is leased and not updating"));
    }
    Ok(())
}
