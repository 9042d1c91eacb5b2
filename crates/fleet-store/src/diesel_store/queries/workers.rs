//! Workers, their leases, and the connection slots they hold.

use std::collections::HashMap;

use diesel::prelude::*;
use fleet_types::{Planted, planted, view};

use super::claim::UPDATE;
use super::{Conn, lease_moment, open};
use crate::clock::LeaseMoment;
use crate::diesel_store::prepared::update_returning;
use crate::diesel_store::rows::{DriverRow, LeaseRow, RolloutRow, WorkerRow, from_json, to_json};
use crate::diesel_store::schema::{compatibility, drivers, hosts, meta, slots, workers};
use crate::diesel_store::work::{Answer, Work, millis, refuse, widen};
use crate::error::{LeaseError, StoreError};
use crate::records::{LeftToOthers, NewWorker, SlotId, WorkerRecord};

/// The rows of dead workers are of use to nobody after this long; they are swept when a new one registers.
const KEPT_DEAD_MS: i64 = 3_600_000;

pub(crate) fn worker_register(conn: &mut Conn, work: &mut Work, worker: &NewWorker) -> Answer<()> {
    open::require_compatible(conn, work)?;
    open::require_same_store(conn, work)?;
    let moment = lease_moment(conn, work)?;
    sweep(conn, &moment)?;
    let row = WorkerRow {
        id: worker.id.to_string(),
        label: fleet_types::printable(&worker.label),
        serves: worker.serves,
        process: worker.process.as_ref().map(to_json),
        since: work.now().0,
        schema: work.inputs.schema.0,
        lease: LeaseRow {
            lease_era: moment.era.to_string(),
            lease_until: work.lease_end(&moment),
            gone_at: None,
        },
    };
    diesel::insert_into(workers::table)
        .values(&row)
        .execute(conn)?;
    Ok(())
}

/// Forgets workers that have been dead for long and hold nothing.
fn sweep(conn: &mut Conn, moment: &LeaseMoment) -> QueryResult<()> {
    let long_dead = workers::lease_era
        .ne(moment.era.as_ref())
        .or(workers::lease_until.lt(moment.at - KEPT_DEAD_MS));
    let holds =
        diesel::dsl::exists(hosts::table.filter(hosts::lease_worker.eq(workers::id.nullable())));
    diesel::delete(workers::table.filter(long_dead.and(diesel::dsl::not(holds)))).execute(conn)?;
    let registered = workers::table.select(workers::id);
    diesel::delete(slots::table.filter(slots::worker.ne_all(registered))).execute(conn)?;
    diesel::delete(drivers::table.filter(drivers::worker.ne_all(registered))).execute(conn)?;
    Ok(())
}

/// What a worker calls itself, as long as it is on record.
pub(super) fn label(conn: &mut Conn, worker: &str) -> QueryResult<Option<String>> {
    workers::table
        .find(worker)
        .select(workers::label)
        .get_result(conn)
        .optional()
}

/// Whether this worker may write: its lease has not run out and nobody has found it dead.
pub(crate) fn require_lease(
    conn: &mut Conn,
    work: &mut Work,
    worker: &str,
) -> Answer<LeaseMoment, LeaseError> {
    let moment = lease_moment(conn, work)?;
    match lease_of(conn, worker)? {
        Some(lease) if lease.stands(&moment) => Ok(moment),
        lease => refuse(lease_lost(worker, lease.as_ref())),
    }
}

fn lease_of(conn: &mut Conn, worker: &str) -> QueryResult<Option<LeaseRow>> {
    workers::table
        .find(worker)
        .select(LeaseRow::as_select())
        .get_result(conn)
        .optional()
}

fn lease_lost(worker: &str, lease: Option<&LeaseRow>) -> LeaseError {
    let what = match lease {
        None => format!("worker {worker} is not registered"),
        Some(lease) if lease.gone_at.is_some() => format!("worker {worker} was found dead"),
        Some(_) => format!("the lease of worker {worker} ran out"),
    };
    LeaseError::Lost { what }
}

pub(crate) fn worker_renew(
    conn: &mut Conn,
    work: &mut Work,
    worker: &str,
) -> Answer<(), LeaseError> {
    let moment = lease_moment(conn, work)?;
    let until = work.lease_end(&moment);
    let compatible = compatibility::table.filter(compatibility::since.le(work.inputs.schema.0));
    let stands = workers::table
        .find(worker)
        .filter(workers::gone_at.is_null())
        .filter(workers::lease_era.eq(moment.era.as_ref()))
        .filter(workers::lease_until.gt(moment.at))
        .filter(diesel::dsl::exists(compatible));
    let renewed: Option<String> = update_returning!(
        conn,
        diesel::update(stands)
            .set(workers::lease_until.eq(until))
            .returning(workers::id),
    )
    .optional()?;
    if renewed.is_some() {
        return Ok(());
    }
    open::require_compatible(conn, work)?;
    require_lease(conn, work, worker)?;
    refuse(lease_lost(worker, None))
}

/// The row of one that leaves hosts in flight stays: whoever takes them over must know what its program knew.
pub(crate) fn worker_leave(conn: &mut Conn, work: &mut Work, worker: &str) -> Answer<()> {
    diesel::delete(slots::table.filter(slots::worker.eq(worker))).execute(conn)?;
    diesel::delete(drivers::table.filter(drivers::worker.eq(worker))).execute(conn)?;
    let held = hosts::table.filter(hosts::lease_worker.eq(worker));
    let holds: bool = diesel::select(diesel::dsl::exists(held)).get_result(conn)?;
    if !holds {
        diesel::delete(workers::table.find(worker)).execute(conn)?;
    } else if let Some(lease) = lease_of(conn, worker)? {
        let moment = lease_moment(conn, work)?;
        mark_gone(conn, worker, &lease, &moment)?;
    }
    Ok(())
}

/// The rows of those alive now.
pub(super) fn alive(conn: &mut Conn, work: &mut Work) -> QueryResult<Vec<WorkerRow>> {
    let moment = lease_moment(conn, work)?;
    let mut rows: Vec<WorkerRow> = workers::table
        .filter(workers::gone_at.is_null())
        .filter(workers::lease_until.gt(moment.at))
        .order((workers::since, workers::id))
        .select(WorkerRow::as_select())
        .load(conn)?;
    rows.retain(|row| work.is_alive(row, &moment));
    Ok(rows)
}

pub(crate) fn worker_alive(conn: &mut Conn, work: &mut Work) -> Answer<Vec<WorkerRecord>> {
    let rows = alive(conn, work)?;
    Ok(rows
        .iter()
        .map(WorkerRow::record)
        .collect::<Result<_, _>>()?)
}

/// Whether a live worker drives this rollout, or every one. Those of older versions than have written to it do not.
pub(crate) fn attended(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
) -> QueryResult<bool> {
    let mut alive = alive(conn, work)?;
    alive.retain(|worker| worker.schema >= rollout.schema);
    if alive.iter().any(|worker| worker.serves) {
        return Ok(true);
    }
    let drivers: Vec<String> = drivers::table
        .filter(drivers::rollout.eq(&rollout.id))
        .select(drivers::worker)
        .load(conn)?;
    Ok(alive.iter().any(|worker| drivers.contains(&worker.id)))
}

/// The hosts that the live workers which may drive this rollout leave to others.
pub(crate) fn left_to_others(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
) -> QueryResult<Vec<view::LeftToOthers>> {
    let said: Vec<(String, String)> = drivers::table
        .filter(drivers::rollout.eq(&rollout.id))
        .filter(drivers::left_to_others.is_not_null())
        .select((drivers::worker, drivers::left_to_others.assume_not_null()))
        .load(conn)?;
    if said.is_empty() {
        return Ok(Vec::new());
    }
    let said: HashMap<String, String> = said.into_iter().collect();
    let mut shown = Vec::new();
    for worker in alive(conn, work)? {
        let said = said
            .get(&worker.id)
            .filter(|_| worker.schema >= rollout.schema);
        // A note that only other versions understand is no reason to show nothing at all.
        let left = said.and_then(|text| from_json::<LeftToOthers>("drivers", text).ok());
        shown.extend(left.map(|left| left.shown(&worker.label)));
    }
    Ok(shown)
}

pub(crate) fn rollout_attend(
    conn: &mut Conn,
    _: &mut Work,
    rollout: &str,
    worker: &str,
) -> Answer<()> {
    let row = DriverRow {
        rollout: rollout.to_owned(),
        worker: worker.to_owned(),
    };
    diesel::insert_into(drivers::table)
        .values(&row)
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(())
}

pub(crate) fn rollout_leaves(
    conn: &mut Conn,
    _: &mut Work,
    rollout: &str,
    worker: &str,
    hosts: Option<&LeftToOthers>,
) -> Answer<()> {
    let text = hosts.map(to_json);
    diesel::update(drivers::table.find((rollout, worker)))
        .set(drivers::left_to_others.eq(text))
        .execute(conn)?;
    Ok(())
}

/// Whether anybody else who has hosts in flight is dead, by a look that locks and writes nothing: it is asked again and
/// again, and nearly always nobody is.
pub(super) fn others_are_dead(conn: &mut Conn, work: &mut Work, me: &str) -> QueryResult<bool> {
    let holders: Vec<Option<WorkerRow>> = hosts::table
        .left_join(workers::table.on(workers::id.nullable().eq(hosts::lease_worker)))
        .filter(hosts::lease_worker.is_not_null())
        .filter(hosts::lease_worker.ne(me))
        .filter(hosts::lease_purpose.eq(UPDATE))
        .select(Option::<WorkerRow>::as_select())
        .distinct()
        .load(conn)?;
    let moment = lease_moment(conn, work)?;
    let is_dead =
        |row: &Option<WorkerRow>| row.as_ref().is_none_or(|row| is_dead(work, row, &moment));
    Ok(holders.iter().any(is_dead))
}

fn is_dead(work: &Work, row: &WorkerRow, moment: &LeaseMoment) -> bool {
    !work.is_alive(row, moment) || planted(Planted::TakenFromTheLiving)
}

/// Those of `ids` that are dead, whatever their programs knew.
pub(super) fn dead_among(
    conn: &mut Conn,
    work: &mut Work,
    ids: Vec<String>,
) -> QueryResult<Vec<String>> {
    let dead = dead_with_schemas(conn, work, ids)?;
    Ok(dead.into_iter().map(|(id, _)| id).collect())
}

/// Those of `ids` that are dead and whose place this program may take: it knows all that theirs knew.
pub(super) fn dead_to_succeed(
    conn: &mut Conn,
    work: &mut Work,
    ids: Vec<String>,
) -> QueryResult<Vec<String>> {
    let mut dead = dead_with_schemas(conn, work, ids)?;
    dead.retain(|(_, schema)| *schema <= work.inputs.schema.0);
    Ok(dead.into_iter().map(|(id, _)| id).collect())
}

/// Those of `ids` that are dead, each marked as such when its process is gone: dead is for ever, so a worker that was
/// found dead once cannot write again. With the schema that its program knew, 0 when nothing is known of it any more.
fn dead_with_schemas(
    conn: &mut Conn,
    work: &mut Work,
    ids: Vec<String>,
) -> QueryResult<Vec<(String, i64)>> {
    let moment = lease_moment(conn, work)?;
    let mut dead = Vec::new();
    for id in ids {
        let row: Option<WorkerRow> = workers::table
            .find(&id)
            .select(WorkerRow::as_select())
            .get_result(conn)
            .optional()?;
        match row {
            Some(row) if !is_dead(work, &row, &moment) => {}
            Some(row) => {
                if mark_gone(conn, &id, &row.lease, &moment)? {
                    dead.push((id, row.schema));
                }
            }
            None => dead.push((id, 0)),
        }
    }
    Ok(dead)
}

/// A lease that ran out ended then; a process that is gone ended no later than now. Says whether it is dead: not when it
/// renewed its lease since that was looked at, in a transaction that was under way.
fn mark_gone(
    conn: &mut Conn,
    worker: &str,
    lease: &LeaseRow,
    moment: &LeaseMoment,
) -> QueryResult<bool> {
    if lease.gone_at.is_some() || *lease.lease_era != *moment.era {
        return Ok(true);
    }
    let as_seen = workers::table
        .find(worker)
        .filter(workers::lease_until.eq(lease.lease_until));
    let marked = diesel::update(as_seen)
        .set(workers::gone_at.eq(lease.lease_until.min(moment.at)))
        .execute(conn)?;
    Ok(marked > 0)
}

/// `checks`: it is for a health check, of which there may be so many.
pub(crate) fn slot_acquire(
    conn: &mut Conn,
    work: &mut Work,
    slot: SlotId,
    limit: i64,
    checks: Option<i64>,
) -> Answer<bool, LeaseError> {
    let worker = slot.worker.to_string();
    require_lease(conn, work, &worker)?;
    let limit = limit + i64::from(planted(Planted::OneSlotMore));
    lock_slots(conn)?;
    let held = slots::table.find(slot.number);
    let held = held.filter(slots::worker.eq(&worker));
    if diesel::select(diesel::dsl::exists(held)).get_result(conn)? {
        return Ok(true);
    }
    if !is_free(conn, limit, checks)? {
        widen(free_dead(conn, work))?;
        if !is_free(conn, limit, checks)? {
            return Ok(false);
        }
    }
    diesel::insert_into(slots::table)
        .values((
            slots::number.eq(slot.number),
            slots::worker.eq(&worker),
            slots::since.eq(work.now().0),
            slots::of_check.eq(checks.is_some()),
        ))
        .execute(conn)?;
    Ok(true)
}

/// All that count slots do this first, so that no two count the same free one; and who gives one back that is not there
/// waits here for the end of its taking, if the answer to that was lost on the way.
fn lock_slots(conn: &mut Conn) -> QueryResult<()> {
    let _: i64 = locked!(meta::table.select(meta::id)).get_result(conn)?;
    Ok(())
}

fn is_free(conn: &mut Conn, limit: i64, checks: Option<i64>) -> QueryResult<bool> {
    let held: i64 = slots::table.count().get_result(conn)?;
    let Some(checks) = checks.filter(|_| held < limit) else {
        return Ok(held < limit);
    };
    let of_checks = slots::table.filter(slots::of_check.eq(true));
    let held: i64 = of_checks.count().get_result(conn)?;
    Ok(held < checks)
}

/// Frees the slots of dead workers whose grace is over.
fn free_dead(conn: &mut Conn, work: &mut Work) -> Answer<(), StoreError> {
    let moment = lease_moment(conn, work)?;
    let grace = millis(work.inputs.times.slot_grace);
    let holders: Vec<String> = slots::table.select(slots::worker).distinct().load(conn)?;
    for id in dead_among(conn, work, holders)? {
        let lease = lease_of(conn, &id)?;
        // After a restart of the machine, or without a worker, no connection can be left.
        let over = lease.is_none_or(|lease| {
            let end = lease.gone_at.unwrap_or(lease.lease_until);
            *lease.lease_era != *moment.era || end.saturating_add(grace) <= moment.at
        });
        if over {
            diesel::delete(slots::table.filter(slots::worker.eq(&id))).execute(conn)?;
        }
    }
    Ok(())
}

pub(crate) fn slot_release(conn: &mut Conn, _: &mut Work, slot: SlotId) -> Answer<()> {
    if planted(Planted::SlotKept) {
        return Ok(());
    }
    let of_worker = slots::worker.eq(slot.worker.to_string());
    let held = slots::table.find(slot.number).filter(of_worker);
    if diesel::delete(held.clone()).execute(conn)? == 0 {
        // It is free already; or its taking, to which the answer was lost, has not ended yet and holds the lock.
        lock_slots(conn)?;
        diesel::delete(held).execute(conn)?;
    }
    Ok(())
}
