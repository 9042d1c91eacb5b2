//! The health checker's turns, leases and findings.

use std::collections::HashMap;
use std::time::Duration;

use diesel::prelude::*;
use fleet_types::{
    Epoch, Event, EventKind, HealthState, HostId, Planted, Timestamp, WorkerId, planted, printable,
};

use super::claim::UPDATE;
use super::record::raised;
use super::settle::nobody;
use super::{CHUNK, Conn, Db, audit, workers};
use crate::diesel_store::rows::{HostRow, LastAttempt, count};
use crate::diesel_store::schema::{attempts, health_checks, health_restarts, hosts};
use crate::diesel_store::work::{Answer, Work, millis, refuse, widen};
use crate::error::LeaseError;
use crate::records::{
    Actor, Due, FenceSeen, Freshness, HealthLease, HealthSeen, RestartLimit, RestartSent,
    RestartTurn, Turns,
};

/// What a host is leased for when its service is restarted outside of a rollout.
pub(crate) const HEALTH: &str = "health";
/// Who looks at hosts and starts services again, in the audit trail.
const CHECKER: &str = "health check";
/// For so long after it was counted, a restart may still be under way on the host: it may have waited for a connection
/// and for the host's lock, and ends only by the unit's own limits.
const RESTART_REMAINS_MS: i64 = 20 * 60_000;
/// For so long after it was counted one keeps the machine, should nobody tell of its end: two minutes for a connection, half
/// a one for the host's lock, and systemd's own limits for a stop and a start.
const RESTART_TAKES: Duration = Duration::from_secs(350);

pub(crate) fn health_due(
    conn: &mut Conn,
    work: &mut Work,
    worker: WorkerId,
    every: Duration,
    limit: i64,
    turns: &Turns,
) -> Answer<Vec<Due>, LeaseError> {
    workers::require_lease(conn, work, &worker.to_string())?;
    widen(enter_new_hosts(conn))?;
    let now = work.now().0;
    let every = millis(every).max(1);
    // A turn further off than any can be was written by a clock that ran ahead.
    let due = health_checks::next_at
        .le(now)
        .or(health_checks::next_at.gt(now.saturating_add(every.saturating_mul(2))));
    let mut rows = health_checks::table
        .inner_join(hosts::table.on(hosts::id.eq(health_checks::host)))
        .left_join(
            attempts::table.on(attempts::rollout
                .nullable()
                .eq(hosts::last_rollout)
                .and(attempts::host.eq(hosts::id))),
        )
        .filter(hosts::removed_at.is_null())
        .filter(
            hosts::lease_purpose
                .is_null()
                .or(hosts::lease_purpose.ne(UPDATE)),
        )
        .order((health_checks::next_at, hosts::name))
        .select((
            health_checks::next_at,
            HostRow::as_select(),
            Option::<LastAttempt>::as_select(),
        ))
        .into_boxed::<Db>();
    match turns {
        Turns::Due => rows = rows.filter(due),
        Turns::All => {}
        Turns::Of(hosts) => {
            let ids: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            rows = rows.filter(health_checks::host.eq_any(ids));
        }
    }
    let rows: Vec<(i64, HostRow, Option<LastAttempt>)> = at_most!(conn, rows, limit)?;
    let mut taken = Vec::with_capacity(rows.len());
    for (was, row, last) in rows {
        // A look that somebody asked for takes no turn: who asks often must not keep the sweep, and its restarts, away.
        if *turns != Turns::Due || take_turn(conn, work, &row.id, was, every)? {
            taken.push(Due {
                host: row.record(last.as_ref())?,
                since: Timestamp(now),
                epoch: Epoch(row.lease_epoch),
            });
        }
    }
    Ok(taken)
}

/// Puts the host's next look off. Of several who take the same turn, one does.
fn take_turn(conn: &mut Conn, work: &Work, host: &str, was: i64, every: i64) -> QueryResult<bool> {
    let next = work
        .now()
        .0
        .saturating_add(every)
        .saturating_add(jitter(work, every));
    let turn = health_checks::table
        .find(host)
        .filter(health_checks::next_at.eq(was));
    let taken = diesel::update(turn)
        .set(health_checks::next_at.eq(next))
        .execute(conn)?;
    Ok(taken == 1)
}

/// Up to a tenth of the time between two looks, so that hosts added together do not stay together.
fn jitter(work: &Work, every: i64) -> i64 {
    let number = work.inputs.clock.fresh_id().as_u128() % 1000;
    every / 10 * i64::try_from(number).unwrap_or(0) / 1000
}

fn enter_new_hosts(conn: &mut Conn) -> Answer<()> {
    let entered = health_checks::table.select(health_checks::host);
    let new: Vec<String> = hosts::table
        .filter(hosts::removed_at.is_null())
        .filter(hosts::id.ne_all(entered))
        .select(hosts::id)
        .load(conn)?;
    for id in new {
        diesel::insert_into(health_checks::table)
            .values((health_checks::host.eq(id), health_checks::next_at.eq(0)))
            .on_conflict_do_nothing()
            .execute(conn)?;
    }
    Ok(())
}

/// The host's row, locked, unless it was removed.
fn lock(conn: &mut Conn, host: HostId) -> QueryResult<Option<HostRow>> {
    locked!(
        hosts::table
            .find(host.to_string())
            .filter(hosts::removed_at.is_null())
            .select(HostRow::as_select())
    )
    .get_result(conn)
    .optional()
}

pub(crate) fn health_record(
    conn: &mut Conn,
    work: &mut Work,
    host: HostId,
    seen: &HealthSeen,
) -> Answer<bool> {
    let Some(row) = lock(conn, host)? else {
        return Ok(false);
    };
    if row.lease_epoch != seen.epoch.0 || row.lease_purpose.as_deref() == Some(UPDATE) {
        return Ok(false);
    }
    let last: Option<Option<i64>> = health_checks::table
        .find(&row.id)
        .select(health_checks::checked_at)
        .get_result(conn)
        .optional()?;
    // Who looked later and was faster knows better. A time ahead of ours was written by a wrong clock.
    let newer = |at: i64| at > seen.since.0 && at <= work.now().0;
    if last.flatten().is_some_and(newer) {
        return Ok(false);
    }
    write(conn, work, &row, seen)?;
    Ok(true)
}

fn write(conn: &mut Conn, work: &mut Work, row: &HostRow, seen: &HealthSeen) -> QueryResult<()> {
    let message = printable(&seen.message);
    if seen.key_changed {
        let before: Option<Option<String>> = health_checks::table
            .find(&row.id)
            .select(health_checks::message)
            .get_result(conn)
            .optional()?;
        // Once, and not with every sweep.
        if before.flatten().as_deref() != Some(&*message) {
            audit::host_key_changed(conn, work, CHECKER, &row.name, &row.machine, &message)?;
        }
    }
    diesel::insert_into(health_checks::table)
        .values((
            health_checks::host.eq(&row.id),
            health_checks::next_at.eq(0),
            health_checks::checked_at.eq(work.now().0),
            health_checks::message.eq(&message),
        ))
        .on_conflict(health_checks::host)
        .do_update()
        .set((
            health_checks::checked_at.eq(work.now().0),
            health_checks::message.eq(&message),
        ))
        .execute(conn)?;
    if row.health == seen.health.as_str() {
        return Ok(());
    }
    diesel::update(hosts::table.find(&row.id))
        .set(hosts::health.eq(seen.health.as_str()))
        .execute(conn)?;
    diesel::update(health_checks::table.find(&row.id))
        .set(health_checks::since.eq(work.now().0))
        .execute(conn)?;
    work.tell(Event {
        host: Some(row.name.clone()),
        status: Some(seen.health.as_str().to_owned()),
        message: Some(message),
        ..Event::new(EventKind::HostHealth, work.now())
    });
    Ok(())
}

pub(crate) fn health_claim(
    conn: &mut Conn,
    work: &mut Work,
    worker: WorkerId,
    host: HostId,
    seen: Option<Epoch>,
) -> Answer<Option<HealthLease>, LeaseError> {
    let me = worker.to_string();
    workers::require_lease(conn, work, &me)?;
    // What would be refused all the same frees nothing.
    let own = host.to_string();
    let wanted: Option<(i64, bool)> = hosts::table
        .find(&own)
        .select((hosts::lease_epoch, hosts::needs_attention))
        .get_result(conn)
        .optional()?;
    let refused = wanted.is_none_or(|(epoch, needs_attention)| {
        needs_attention || seen.is_some_and(|seen| seen.0 != epoch)
    });
    free_dead(conn, work, (!refused).then_some(&*own))?;
    let Some(row) = lock(conn, host)? else {
        return Ok(None);
    };
    let busy: i64 = hosts::table
        .filter(hosts::lease_machine.eq(&row.machine))
        .filter(hosts::lease_worker.is_not_null())
        .count()
        .get_result(conn)?;
    let changed = seen.is_some_and(|seen| seen.0 != row.lease_epoch);
    let taken = changed || row.lease_worker.is_some() || row.needs_attention || busy > 0;
    if taken && !planted(Planted::HealthInUpdates) {
        return Ok(None);
    }
    let epoch: i64 = diesel::update(hosts::table.find(&row.id))
        .set((
            hosts::lease_worker.eq(&me),
            hosts::lease_machine.eq(&row.machine),
            hosts::lease_purpose.eq(HEALTH),
            hosts::lease_epoch.eq(hosts::lease_epoch + 1),
        ))
        .returning(hosts::lease_epoch)
        .get_result(conn)?;
    Ok(Some(HealthLease {
        host,
        worker,
        epoch: Epoch(epoch),
    }))
}

/// What came of the leases of checkers that died.
#[derive(Debug, Default)]
pub(super) struct OfDead {
    /// So many were freed.
    pub(super) freed: usize,
    /// These hosts are held still: a restart may be under way on them. Only who comes for that very host may have it.
    pub(super) kept: Vec<String>,
}

/// A checker that died leaves nothing to settle: what it had sent is waited for under the host's own lock, and whoever
/// comes next outranks it, whichever version it was of. The lock is one repository's, though, and the lease keeps the whole
/// machine: where a restart may be under way it stays until that is over, but for who comes for this host, `own`.
pub(super) fn free_dead(
    conn: &mut Conn,
    work: &mut Work,
    own: Option<&str>,
) -> QueryResult<OfDead> {
    let holders: Vec<Option<String>> = hosts::table
        .filter(hosts::lease_worker.is_not_null())
        .filter(hosts::lease_purpose.eq(HEALTH))
        .select(hosts::lease_worker)
        .distinct()
        .load(conn)?;
    let mut of_dead = OfDead::default();
    for dead in workers::dead_among(conn, work, holders.into_iter().flatten().collect())? {
        let held: Vec<(String, String, i64)> = hosts::table
            .filter(hosts::lease_worker.eq(&dead))
            .filter(hosts::lease_purpose.eq(HEALTH))
            .select((hosts::id, hosts::name, hosts::lease_epoch))
            .load(conn)?;
        for (id, name, epoch) in held {
            let counted = counted(conn, &id, epoch)?;
            if own != Some(&*id) && counted.is_some_and(|at| may_go_on(work, at)) {
                of_dead.kept.push(id);
                continue;
            }
            if counted.is_some() {
                let detail = "perhaps: who was to do it died";
                restarted(conn, work, &name, &dead, detail)?;
            }
            let held = hosts::table
                .find(&id)
                .filter(hosts::lease_worker.eq(&dead))
                .filter(hosts::lease_epoch.eq(epoch));
            of_dead.freed += diesel::update(held).set(nobody()).execute(conn)?;
        }
    }
    Ok(of_dead)
}

/// When a restart under this epoch of a host was counted.
fn counted(conn: &mut Conn, host: &str, epoch: i64) -> QueryResult<Option<i64>> {
    health_restarts::table
        .find((host, epoch))
        .select(health_restarts::at)
        .get_result(conn)
        .optional()
}

/// Whether a restart may be under way under the lease on this host, whose row is locked: until who counted it gives the host
/// back, or has been dead for long enough.
pub(super) fn may_be_restarting(conn: &mut Conn, work: &mut Work, host: &HostRow) -> Answer<bool> {
    let Some(holder) = host.lease_worker.clone() else {
        return Ok(false);
    };
    if host.lease_purpose.as_deref() != Some(HEALTH) {
        return Ok(false);
    }
    let Some(at) = counted(conn, &host.id, host.lease_epoch)? else {
        return Ok(false);
    };
    Ok(may_go_on(work, at) || workers::dead_among(conn, work, vec![holder])?.is_empty())
}

/// Whether a restart that was counted then may still be under way. By the clock of another machine that may be a little ahead of
/// ours; one that is further ahead than a restart takes was wrong.
fn may_go_on(work: &Work, counted: i64) -> bool {
    work.now().0.abs_diff(counted) < millis(RESTART_TAKES).unsigned_abs()
}

/// The host under this lease, its row locked.
fn held(conn: &mut Conn, work: &mut Work, lease: &HealthLease) -> Answer<HostRow, LeaseError> {
    let me = lease.worker.to_string();
    workers::require_lease(conn, work, &me)?;
    let row = lock(conn, lease.host)?.filter(|row| {
        row.lease_epoch == lease.epoch.0
            && row.lease_worker.as_deref() == Some(&me)
            && row.lease_purpose.as_deref() == Some(HEALTH)
    });
    row.map_or_else(
        || {
            let what = format!("the checker's hold on host {} is over", lease.host);
            refuse(LeaseError::Lost { what })
        },
        Ok,
    )
}

pub(crate) fn health_restart(
    conn: &mut Conn,
    work: &mut Work,
    lease: &HealthLease,
    limit: RestartLimit,
) -> Answer<RestartTurn, LeaseError> {
    let row = held(conn, work, lease)?;
    let now = work.now().0;
    let since = now.saturating_sub(millis(limit.window));
    let of_host = health_restarts::table.filter(health_restarts::host.eq(&row.id));
    diesel::delete(of_host.filter(health_restarts::at.le(since))).execute(conn)?;
    let lately: i64 = of_host.count().get_result(conn)?;
    if lately >= i64::from(limit.restarts) {
        return Ok(RestartTurn::UsedUp);
    }
    diesel::insert_into(health_restarts::table)
        .values((
            health_restarts::host.eq(&row.id),
            health_restarts::epoch.eq(lease.epoch.0),
            health_restarts::at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(RestartTurn::Go(
        u32::try_from(lately + 1).unwrap_or(u32::MAX),
    ))
}

pub(crate) fn health_raise(
    conn: &mut Conn,
    work: &mut Work,
    lease: &HealthLease,
    on_record: Option<&FenceSeen>,
) -> Answer<HealthLease, LeaseError> {
    let row = held(conn, work, lease)?;
    let above = on_record.map_or(lease.epoch, |on_record| on_record.above);
    let epoch = raised(lease.epoch, above)?;
    diesel::update(hosts::table.find(&row.id))
        .set(hosts::lease_epoch.eq(epoch.0))
        .execute(conn)?;
    diesel::update(health_restarts::table.find((&row.id, lease.epoch.0)))
        .set(health_restarts::epoch.eq(epoch.0))
        .execute(conn)?;
    if let Some(FenceSeen {
        store, epoch: seen, ..
    }) = on_record
    {
        let message = format!(
            "the host was on record for store {store} at epoch {seen}; to restart its service, its record is replaced by this store at epoch {epoch}"
        );
        work.tell(Event {
            host: Some(row.name),
            status: Some(row.health),
            message: Some(printable(&message)),
            ..Event::new(EventKind::HostHealth, work.now())
        });
    }
    Ok(HealthLease {
        epoch,
        ..lease.clone()
    })
}

/// Whether a restart that was counted may still be under way.
pub(super) fn restarted_lately(conn: &mut Conn, work: &Work, host: &str) -> QueryResult<bool> {
    let since = work.now().0.saturating_sub(RESTART_REMAINS_MS);
    let lately = health_restarts::table
        .filter(health_restarts::host.eq(host))
        .filter(health_restarts::at.gt(since))
        .select(health_restarts::epoch);
    let found: Option<i64> = one!(conn, lately).optional()?;
    Ok(found.is_some())
}

pub(crate) fn health_settle(
    conn: &mut Conn,
    work: &mut Work,
    lease: &HealthLease,
    seen: &HealthSeen,
    restart: RestartSent,
) -> Answer<(), LeaseError> {
    let row = held(conn, work, lease)?;
    let health = row.health.clone();
    write(conn, work, &row, seen)?;
    let counted = health_restarts::table.find((&row.id, lease.epoch.0));
    match restart {
        RestartSent::No => {
            diesel::delete(counted).execute(conn)?;
        }
        RestartSent::Perhaps => {
            let message = printable(&seen.message);
            restarted(conn, work, &row.name, &lease.worker.to_string(), &message)?;
            // A service that has to be started again and again is told of, although it is found active each time.
            if seen.health == HealthState::Active && health == seen.health.as_str() {
                work.tell(Event {
                    host: Some(row.name.clone()),
                    status: Some(health),
                    message: Some(format!("started again: {message}")),
                    ..Event::new(EventKind::HostHealth, work.now())
                });
            }
        }
    }
    diesel::update(hosts::table.find(&row.id))
        .set(nobody())
        .execute(conn)?;
    Ok(())
}

/// Puts on record that a service was started again.
fn restarted(
    conn: &mut Conn,
    work: &Work,
    host: &str,
    worker: &str,
    detail: &str,
) -> QueryResult<()> {
    let label = workers::label(conn, worker)?;
    let actor = Actor::new(CHECKER, label.as_deref().unwrap_or(worker));
    let detail = Some(detail.to_owned());
    audit::done(conn, work, &actor, "host.restart", Some(host), detail)
}

/// An update proved the service active, which is as good as a look.
pub(super) fn proven_active(conn: &mut Conn, host: &str, now: i64) -> QueryResult<()> {
    let was_not = hosts::table
        .find(host)
        .filter(hosts::health.ne(HealthState::Active.as_str()))
        .select(hosts::id);
    diesel::update(health_checks::table.filter(health_checks::host.eq_any(was_not)))
        .set(health_checks::since.eq(now))
        .execute(conn)?;
    diesel::update(health_checks::table.find(host))
        .set((
            health_checks::checked_at.eq(now),
            health_checks::message.eq("proven active by an update"),
        ))
        .execute(conn)?;
    Ok(())
}

/// When a host was last looked at, since when it is as it is, and what was seen.
type Finding = (Option<i64>, Option<i64>, Option<String>);

/// What the checker saw of these hosts last, by their ids.
pub(crate) fn findings(conn: &mut Conn, ids: &[&str]) -> QueryResult<HashMap<String, Finding>> {
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(CHUNK) {
        let rows: Vec<(String, Finding)> = health_checks::table
            .filter(health_checks::host.eq_any(some.to_vec()))
            .select((
                health_checks::host,
                (
                    health_checks::checked_at,
                    health_checks::since,
                    health_checks::message,
                ),
            ))
            .load(conn)?;
        found.extend(rows);
    }
    Ok(found)
}

/// When the last look of all was, and how many hosts were last looked at before this, or never though they were there.
pub(crate) fn freshness(conn: &mut Conn, _: &mut Work, before: i64) -> Answer<Freshness> {
    macro_rules! looked_at {
        () => {
            health_checks::table
                .inner_join(hosts::table.on(hosts::id.eq(health_checks::host)))
                .filter(hosts::removed_at.is_null())
        };
    }
    let last: Option<i64> = looked_at!()
        .select(diesel::dsl::max(health_checks::checked_at))
        .get_result(conn)?;
    let older: i64 = looked_at!()
        .filter(health_checks::checked_at.lt(before))
        .count()
        .get_result(conn)?;
    let looked: i64 = looked_at!()
        .filter(health_checks::checked_at.is_not_null())
        .filter(hosts::added_at.lt(before))
        .count()
        .get_result(conn)?;
    let there: i64 = hosts::table
        .filter(hosts::removed_at.is_null())
        .filter(hosts::added_at.lt(before))
        .count()
        .get_result(conn)?;
    let never = (there - looked).max(0);
    Ok(Freshness {
        last: last.map(Timestamp),
        older: count("health_checks", older + never)?,
    })
}
