//! Carries a rollout on: closes stages, opens them, ends it.

use diesel::prelude::*;
use fleet_types::{
    AttemptStatus, CommitHash, Event, EventKind, Planted, Reason, RolloutKind, RolloutState,
    StageState, Verdict, planted,
};

use super::{Conn, create, settle, versions};
use crate::diesel_store::prepared::update;
use crate::diesel_store::rows::{BadVersionRow, RolloutRow, StageRow};
use crate::diesel_store::schema::{attempts, bad_versions, rollouts, stages};
use crate::diesel_store::work::{Answer, Trouble, Work, refuse};
use crate::error::StoreError;
use crate::records::{Resolution, RolloutRecord};

pub(crate) fn rollout_advance(conn: &mut Conn, work: &mut Work, id: &str) -> Answer<RolloutRecord> {
    let mut rollout = lock(conn, id)?;
    if versions::is_left_to_newer(work, &rollout) {
        return Ok(rollout.record()?);
    }
    let told = work.events.len();
    while step(conn, work, &rollout)? {
        rollout = lock(conn, id)?;
    }
    // Nothing changes without an event. Who only looked has not written.
    if work.events.len() > told {
        versions::mark(conn, work, &rollout)?;
    }
    Ok(lock(conn, id)?.record()?)
}

/// Locks the rollout's row: claims, outcomes, verbs and this all do, so none decides on old numbers.
pub(super) fn find_locked(conn: &mut Conn, id: &str) -> QueryResult<Option<RolloutRow>> {
    locked!(rollouts::table.find(id).select(RolloutRow::as_select()))
        .get_result(conn)
        .optional()
}

/// The same for one that is there.
pub(super) fn lock(conn: &mut Conn, id: &str) -> Answer<RolloutRow> {
    find_locked(conn, id)?.map_or_else(
        || {
            refuse(StoreError::Database {
                cause: format!("there is no rollout {id}"),
            })
        },
        Ok,
    )
}

pub(super) fn current_stage(conn: &mut Conn, rollout: &RolloutRow) -> QueryResult<StageRow> {
    stages::table
        .find((&rollout.id, rollout.stage))
        .select(StageRow::as_select())
        .get_result(conn)
}

/// One move, if there is one. True when there may be another.
fn step(conn: &mut Conn, work: &mut Work, rollout: &RolloutRow) -> Answer<bool> {
    let state = rollout.state()?;
    let stage = current_stage(conn, rollout)?;
    match state {
        RolloutState::Halting | RolloutState::Aborting => {
            if stage.updating > 0 {
                return Ok(false);
            }
            let last = if state == RolloutState::Halting {
                RolloutState::Halted
            } else {
                RolloutState::Aborted
            };
            end(conn, work, rollout, last)?;
            Ok(false)
        }
        RolloutState::Running | RolloutState::Paused => {
            if stage.state == StageState::Running.as_str() {
                return judge(conn, work, rollout, &stage);
            }
            go_on(conn, work, rollout, &stage, state)
        }
        _ => Ok(false),
    }
}

/// The running stage, by its gate.
fn judge(conn: &mut Conn, work: &mut Work, rollout: &RolloutRow, stage: &StageRow) -> Answer<bool> {
    match stage.gate()?.verdict(rollout.policy()?.max_failure_percent) {
        Verdict::Open
            if planted(Planted::StageClosedEarly) && stage.pending() == 0 && stage.updating > 0 =>
        {
            close(conn, work, stage, StageState::Passed)?;
            Ok(true)
        }
        Verdict::Open => Ok(false),
        Verdict::Halt => {
            settle::halt_if_certain(conn, work, stage)?;
            Ok(true)
        }
        Verdict::Pass => {
            close(conn, work, stage, StageState::Passed)?;
            Ok(true)
        }
    }
}

/// The stage has passed: opens the next one, or ends the rollout after the last.
fn go_on(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
    stage: &StageRow,
    state: RolloutState,
) -> Answer<bool> {
    let next = rollout.stage + 1;
    let there = stages::table.find((&rollout.id, next));
    let exists: bool = diesel::select(diesel::dsl::exists(there)).get_result(conn)?;
    if !exists {
        let bad = all_stages(conn, &rollout.id)?
            .iter()
            .any(|stage| stage.bad() > 0);
        let last = if bad {
            RolloutState::CompletedWithFailures
        } else {
            RolloutState::Completed
        };
        finish(conn, work, rollout, stage, last)?;
        return Ok(false);
    }
    if state == RolloutState::Paused {
        return Ok(false);
    }
    update!(
        conn,
        diesel::update(there).set(stages::state.eq(StageState::Running.as_str()))
    )?;
    update!(
        conn,
        diesel::update(rollouts::table.find(&rollout.id)).set(rollouts::stage.eq(next))
    )?;
    work.tell(Event {
        rollout: Some(rollout.id()?),
        stage: u32::try_from(next).ok(),
        status: Some(StageState::Running.as_str().to_owned()),
        ..Event::new(EventKind::StageStarted, work.now())
    });
    Ok(true)
}

fn close(conn: &mut Conn, work: &mut Work, stage: &StageRow, state: StageState) -> Answer<()> {
    update!(
        conn,
        diesel::update(stages::table.find((&stage.rollout, stage.position)))
            .set(stages::state.eq(state.as_str())),
    )?;
    work.tell(Event {
        rollout: Some(crate::diesel_store::rows::word("stages", &stage.rollout)?),
        stage: u32::try_from(stage.position).ok(),
        status: Some(state.as_str().to_owned()),
        message: Some(tally(std::slice::from_ref(stage))),
        ..Event::new(EventKind::StageFinished, work.now())
    });
    Ok(())
}

/// Halted or aborted: the hosts that had no turn get none.
fn end(conn: &mut Conn, work: &mut Work, rollout: &RolloutRow, last: RolloutState) -> Answer<()> {
    if !planted(Planted::OpenHostsLeft) {
        skip_pending(conn, work, &rollout.id)?;
    }
    let stage = current_stage(conn, rollout)?;
    if stage.state == StageState::Running.as_str() {
        close(conn, work, &stage, StageState::Failed)?;
    }
    if last == RolloutState::Halted {
        remember_bad(conn, work, rollout, &stage)?;
    }
    finish(conn, work, rollout, &stage, last)
}

/// One statement a table, however many hosts there are.
fn skip_pending(conn: &mut Conn, work: &mut Work, rollout: &str) -> QueryResult<()> {
    let pending = attempts::table
        .filter(attempts::rollout.eq(rollout))
        .filter(attempts::status.eq(AttemptStatus::Pending.as_str()));
    update!(
        conn,
        diesel::update(pending).set((
            attempts::status.eq(AttemptStatus::Skipped.as_str()),
            attempts::reason.eq(Reason::NotStarted.as_str()),
            attempts::finished_at.eq(work.now().0),
        ))
    )?;
    let settled = stages::updated
        + stages::unchanged
        + stages::failed
        + stages::rolled_back
        + stages::updating;
    update!(
        conn,
        diesel::update(stages::table.filter(stages::rollout.eq(rollout)))
            .set(stages::skipped.eq(stages::size - settled)),
    )?;
    Ok(())
}

/// A commit that failed on hosts it touched must not be started again by accident.
fn remember_bad(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
    stage: &StageRow,
) -> Answer<()> {
    let Some(version) = rollout.target.clone() else {
        return Ok(());
    };
    if stage.blamed == 0 || rollout.kind()? == RolloutKind::Rollback {
        return Ok(());
    }
    let row = BadVersionRow {
        version,
        rollout: rollout.id.clone(),
        at: work.now().0,
    };
    diesel::insert_into(bad_versions::table)
        .values(&row)
        .on_conflict(bad_versions::version)
        .do_update()
        .set((
            bad_versions::rollout.eq(&row.rollout),
            bad_versions::at.eq(row.at),
        ))
        .execute(conn)?;
    Ok(())
}

/// How many hosts of these stages ended how, for people.
fn tally(stages: &[StageRow]) -> String {
    let sum = |part: fn(&StageRow) -> i64| -> i64 { stages.iter().map(part).sum() };
    format!(
        "{} updated, {} unchanged, {} rolled back, {} failed, {} skipped",
        sum(|stage| stage.updated),
        sum(|stage| stage.unchanged),
        sum(|stage| stage.rolled_back),
        sum(|stage| stage.failed),
        sum(|stage| stage.skipped),
    )
}

fn finish(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
    stage: &StageRow,
    last: RolloutState,
) -> Answer<()> {
    let now = work.now();
    update!(
        conn,
        diesel::update(rollouts::table.find(&rollout.id)).set((
            rollouts::state.eq(last.as_str()),
            rollouts::finished_at.eq(now.0),
        ))
    )?;
    let message = tally(&all_stages(conn, &rollout.id)?);
    let kind = match last {
        RolloutState::Halted => EventKind::RolloutHalted,
        RolloutState::Aborted => EventKind::RolloutAborted,
        _ => EventKind::RolloutFinished,
    };
    work.tell(Event {
        rollout: Some(rollout.id()?),
        stage: u32::try_from(stage.position).ok(),
        status: Some(last.as_str().to_owned()),
        reason: rollout.reason.clone(),
        message: Some(message),
        to: rollout.target.clone(),
        duration_seconds: Some(
            now.since(fleet_types::Timestamp(rollout.created_at))
                .as_secs_f64(),
        ),
        ..Event::new(kind, now)
    });
    Ok(())
}

pub(crate) fn all_stages(conn: &mut Conn, rollout: &str) -> QueryResult<Vec<StageRow>> {
    stages::table
        .filter(stages::rollout.eq(rollout))
        .order(stages::position)
        .select(StageRow::as_select())
        .load(conn)
}

/// The first resolution stands.
pub(crate) fn rollout_resolve(
    conn: &mut Conn,
    work: &mut Work,
    id: &str,
    target: &Resolution,
) -> Answer<RolloutRecord> {
    let rollout = lock(conn, id)?;
    let open = matches!(
        rollout.state()?,
        RolloutState::Running | RolloutState::Paused
    );
    let has_own_targets = rollout.kind()? == RolloutKind::Rollback;
    let ours = !versions::is_left_to_newer(work, &rollout);
    if ours && open && rollout.target.is_none() && !has_own_targets {
        versions::mark(conn, work, &rollout)?;
        match target {
            Resolution::Commit(commit) => resolved(conn, work, &rollout, commit)?,
            Resolution::Impossible(why) => {
                give_up(conn, work, rollout, "cannot_resolve_target", why)?;
            }
        }
    }
    Ok(lock(conn, id)?.record()?)
}

fn resolved(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
    commit: &CommitHash,
) -> Answer<()> {
    update!(
        conn,
        diesel::update(rollouts::table.find(&rollout.id)).set(rollouts::target.eq(commit.as_str())),
    )?;
    update!(
        conn,
        diesel::update(
            attempts::table
                .filter(attempts::rollout.eq(&rollout.id))
                .filter(attempts::target_version.is_null()),
        )
        .set(attempts::target_version.eq(commit.as_str())),
    )?;
    work.tell(Event {
        rollout: Some(rollout.id()?),
        to: Some(commit.to_string()),
        ..Event::new(EventKind::RolloutResolved, work.now())
    });
    // A branch may lead to a commit that is known bad: the consent that a commit needs is needed here too.
    let consent = rollout.forced || rollout.kind()? != RolloutKind::Update;
    let bad = create::known_bad(conn, commit.as_str())?;
    if let Some(before) = bad.filter(|_| !consent) {
        let why = format!("{commit} halted rollout {before} by failing on hosts it touched");
        let rollout = lock(conn, &rollout.id)?;
        give_up(conn, work, rollout, "known_bad", &why)?;
    }
    Ok(())
}

/// Ends a rollout that has touched nothing yet.
fn give_up(
    conn: &mut Conn,
    work: &mut Work,
    mut rollout: RolloutRow,
    reason: &str,
    why: &str,
) -> Answer<(), StoreError> {
    update!(
        conn,
        diesel::update(rollouts::table.find(&rollout.id)).set((
            rollouts::state.eq(RolloutState::Halting.as_str()),
            rollouts::reason.eq(reason),
        ))
    )?;
    rollout.reason = Some(reason.to_owned());
    work.tell(Event {
        rollout: Some(rollout.id()?),
        status: Some(RolloutState::Halting.as_str().to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(why.to_owned()),
        ..Event::new(EventKind::RolloutHalting, work.now())
    });
    let stage = current_stage(conn, &rollout)?;
    if stage.updating > 0 {
        return Err(Trouble::Refused("hosts are in updating without a target".to_owned()).into());
    }
    end(conn, work, &rollout, RolloutState::Halted)
}
