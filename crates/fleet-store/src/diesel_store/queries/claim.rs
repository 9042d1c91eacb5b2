//! Which host a worker works on next.

use std::collections::HashSet;

use diesel::prelude::*;
use fleet_types::{
    AttemptStatus, Epoch, Event, EventKind, Planted, RolloutId, RolloutState, Verdict, WorkerId,
    planted,
};

use super::{Conn, advance, health, versions, workers};
use crate::api::{Claim, Idle};
use crate::diesel_store::prepared::{update, update_returning};
use crate::diesel_store::rows::{AttemptRow, HostRow, RolloutRow, StageRow, count, word};
use crate::diesel_store::schema::{attempt_specs, attempts, hosts, rollouts, stages};
use crate::diesel_store::work::{Answer, Trouble, Work, widen};
use crate::error::LeaseError;
use crate::records::{Claimed, HostLease};

/// What a host is leased for when it is being updated.
pub(crate) const UPDATE: &str = "update";

/// So many hosts are looked at in one go when some are excepted.
const PAGE: i64 = 64;

pub(crate) fn attempt_claim(
    conn: &mut Conn,
    work: &mut Work,
    rollout: RolloutId,
    worker: WorkerId,
    except: &HashSet<String>,
) -> Answer<Claim, LeaseError> {
    workers::require_lease(conn, work, &worker.to_string())?;
    let row = advance::find_locked(conn, &rollout.to_string())?;
    let runs = |row: &RolloutRow| {
        row.state == RolloutState::Running.as_str()
            || (planted(Planted::ClaimedWhilePaused) && row.state == RolloutState::Paused.as_str())
    };
    let Some(rollout) = row.filter(runs) else {
        return Ok(Claim::Nothing(Idle::NotRunning));
    };
    if versions::is_left_to_newer(work, &rollout) {
        return Ok(Claim::Nothing(Idle::LeftToNewer));
    }
    let policy = rollout.policy()?;
    let stage = advance::current_stage(conn, &rollout)?;
    let idle = if stage.gate()?.verdict(policy.max_failure_percent) == Verdict::Halt {
        Some(Idle::NotRunning)
    } else if stage.pending() == 0 {
        Some(Idle::StageTaken)
    } else if stage.updating >= i64::from(policy.max_in_flight) {
        Some(Idle::Full)
    } else {
        None
    };
    if let Some(idle) = idle {
        return Ok(Claim::Nothing(idle));
    }
    // A health checker does not lock the rollout's row: it may be faster.
    loop {
        let mut found = next(conn, &stage, except)?;
        if found.is_none() {
            let of_dead = health::free_dead(conn, work, None)?;
            if of_dead.freed > 0 {
                found = next(conn, &stage, except)?;
            }
            if found.is_none() {
                found = next_of(conn, &stage, except, &of_dead.kept)?;
            }
            if let Some(attempt) = &found {
                health::free_dead(conn, work, Some(&attempt.host))?;
            }
        }
        let Some(attempt) = found else {
            return Ok(Claim::Nothing(Idle::NoneSuitable));
        };
        if attempt.target_version.is_none() {
            return Ok(Claim::Nothing(Idle::Unresolved));
        }
        if let Some(claimed) = take(conn, work, &rollout, attempt, worker)? {
            return Ok(Claim::Claimed(Box::new(claimed)));
        }
    }
}

/// The next pending attempt of the stage, in order, whose machine nobody works on.
fn next(
    conn: &mut Conn,
    stage: &StageRow,
    except: &HashSet<String>,
) -> QueryResult<Option<AttemptRow>> {
    let busy = diesel::alias!(hosts as busy);
    let mut after = 0;
    loop {
        let same_machine = busy
            .filter(
                busy.field(hosts::lease_machine)
                    .eq(attempts::machine.nullable()),
            )
            .filter(busy.field(hosts::lease_worker).is_not_null())
            .select(busy.field(hosts::id));
        let waiting = attempts::table
            .inner_join(hosts::table.on(hosts::id.eq(attempts::host)))
            .filter(attempts::rollout.eq(&stage.rollout))
            .filter(attempts::stage.eq(stage.position))
            .filter(attempts::status.eq(AttemptStatus::Pending.as_str()))
            .filter(attempts::position.gt(after))
            .filter(hosts::lease_worker.is_null())
            .filter(diesel::dsl::not(diesel::dsl::exists(same_machine)))
            .order(attempts::position)
            .select(AttemptRow::as_select());
        if except.is_empty() {
            return one!(conn, waiting).optional();
        }
        let page: Vec<AttemptRow> = waiting.limit(PAGE).load(conn)?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        after = last.position;
        let suitable = page.into_iter().find(|row| !except.contains(&row.host));
        if suitable.is_some() {
            return Ok(suitable);
        }
    }
}

/// The next pending attempt of the stage on one of these hosts, on whose machine nobody works on another one.
fn next_of(
    conn: &mut Conn,
    stage: &StageRow,
    except: &HashSet<String>,
    kept: &[String],
) -> QueryResult<Option<AttemptRow>> {
    if kept.is_empty() {
        return Ok(None);
    }
    let waiting: Vec<AttemptRow> = attempts::table
        .filter(attempts::rollout.eq(&stage.rollout))
        .filter(attempts::stage.eq(stage.position))
        .filter(attempts::status.eq(AttemptStatus::Pending.as_str()))
        .filter(attempts::host.eq_any(kept))
        .order(attempts::position)
        .select(AttemptRow::as_select())
        .load(conn)?;
    for attempt in waiting {
        let others: i64 = hosts::table
            .filter(hosts::lease_machine.eq(&attempt.machine))
            .filter(hosts::lease_worker.is_not_null())
            .filter(hosts::id.ne(&attempt.host))
            .count()
            .get_result(conn)?;
        if others == 0 && !except.contains(&attempt.host) {
            return Ok(Some(attempt));
        }
    }
    Ok(None)
}

/// Puts the host under the worker's lease and the attempt into `updating`. None when somebody else took the host meanwhile.
fn take(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
    mut attempt: AttemptRow,
    worker: WorkerId,
) -> Answer<Option<Claimed>, LeaseError> {
    let now = work.now();
    let free = hosts::table
        .find(&attempt.host)
        .filter(hosts::lease_worker.is_null());
    let host: Option<HostRow> = update_returning!(
        conn,
        diesel::update(free)
            .set((
                hosts::lease_worker.eq(worker.to_string()),
                hosts::lease_machine.eq(match planted(Planted::MachinesShared) {
                    true => &attempt.host,
                    false => &attempt.machine,
                }),
                hosts::lease_purpose.eq(UPDATE),
                hosts::lease_epoch.eq(hosts::lease_epoch + 1),
            ))
            .returning(HostRow::as_returning()),
    )
    .optional()?;
    let Some(host) = host else { return Ok(None) };
    AttemptStatus::Updating
        .as_str()
        .clone_into(&mut attempt.status);
    attempt.started_at = Some(now.0);
    update!(
        conn,
        diesel::update(attempts::table.find((&attempt.rollout, &attempt.host))).set((
            attempts::status.eq(&attempt.status),
            attempts::started_at.eq(attempt.started_at),
        )),
    )?;
    update!(
        conn,
        diesel::update(stages::table.find((&attempt.rollout, attempt.stage)))
            .set(stages::updating.eq(stages::updating + 1)),
    )?;
    versions::mark(conn, work, rollout)?;
    let claimed = claimed(conn, work, rollout, &attempt, &host, worker)?;
    work.tell(Event {
        from: host.current_version,
        ..about(EventKind::HostStarted, &attempt, work)?
    });
    Ok(Some(claimed))
}

/// An event about this attempt.
pub(crate) fn about(kind: EventKind, attempt: &AttemptRow, work: &Work) -> Result<Event, Trouble> {
    Ok(Event {
        rollout: Some(word("attempts", &attempt.rollout)?),
        stage: Some(count("attempts", attempt.stage)?),
        host: Some(attempt.name.clone()),
        status: Some(attempt.status.clone()),
        to: attempt.target_version.clone(),
        ..Event::new(kind, work.now())
    })
}

fn claimed(
    conn: &mut Conn,
    work: &Work,
    rollout: &RolloutRow,
    attempt: &AttemptRow,
    host: &HostRow,
    worker: WorkerId,
) -> Answer<Claimed, LeaseError> {
    let spec: String = attempt_specs::table
        .find((&attempt.rollout, &attempt.host))
        .select(attempt_specs::spec)
        .get_result(conn)?;
    let record = attempt.record(match planted(Planted::PlanNotFrozen) {
        true => &host.spec,
        false => &spec,
    })?;
    let policy = rollout.policy()?;
    let left_behind =
        health::restarted_lately(conn, work, &host.id)? || ended_unproven(conn, &host.id)?;
    Ok(Claimed {
        lease: HostLease {
            rollout: record.rollout,
            host: record.host,
            worker,
            epoch: Epoch(host.lease_epoch),
        },
        attempt: record,
        host_keys: host.keys()?,
        target_ref: rollout.target_ref.clone(),
        settle: policy.settle,
        concurrency: policy.concurrency,
        kind: rollout.kind()?,
        left_behind,
    })
}

/// Whether the last of the earlier attempts that touched the host ended without proof. Who ended it may have given up on a
/// command that reaches the host later.
fn ended_unproven(conn: &mut Conn, host: &str) -> QueryResult<bool> {
    let touched = attempts::table
        .filter(attempts::rollout.eq(rollouts::id))
        .filter(attempts::host.eq(host))
        .filter(attempts::touched.eq(true))
        .filter(attempts::finished_at.is_not_null());
    // From the newest back to the first that did: a host has as many attempts as there ever were rollouts.
    let last = rollouts::table
        .filter(diesel::dsl::exists(touched))
        .order(rollouts::number.desc())
        .select(rollouts::id);
    let Some(last): Option<String> = one!(conn, last).optional()? else {
        return Ok(false);
    };
    let status: String = attempts::table
        .find((last, host))
        .select(attempts::status)
        .get_result(conn)?;
    Ok(status == AttemptStatus::Failed.as_str())
}

pub(crate) fn attempt_take_over(
    conn: &mut Conn,
    work: &mut Work,
    worker: WorkerId,
    except: &HashSet<String>,
) -> Answer<Option<Claimed>, LeaseError> {
    let me = worker.to_string();
    workers::require_lease(conn, work, &me)?;
    if planted(Planted::NobodyTakesOver) {
        return Ok(None);
    }
    if !workers::others_are_dead(conn, work, &me)? {
        return Ok(None);
    }
    for rollout in rollouts_of_others(conn, &me)? {
        // The order of locks everywhere: the rollout, then workers, then hosts.
        let rollout = widen(advance::lock(conn, &rollout))?;
        if versions::is_left_to_newer(work, &rollout) {
            continue;
        }
        for (attempt, dead) in orphans(conn, work, &rollout, &me)? {
            if except.contains(&attempt.host) {
                continue;
            }
            if let Some(claimed) = take_over(conn, work, &rollout, attempt, &dead, worker)? {
                return Ok(Some(claimed));
            }
        }
    }
    Ok(None)
}

/// The attempts under way, by the leases of their hosts.
macro_rules! under_way {
    () => {
        attempts::table
            .inner_join(
                hosts::table.on(hosts::id
                    .eq(attempts::host)
                    .and(hosts::last_rollout.eq(attempts::rollout.nullable()))),
            )
            .filter(hosts::lease_purpose.eq(UPDATE))
            .filter(attempts::status.eq(AttemptStatus::Updating.as_str()))
    };
}

/// The rollouts in which others have hosts in flight: one, but for what went wrong. Told by the hosts, for attempts are as
/// many as all rollouts together had.
fn rollouts_of_others(conn: &mut Conn, me: &str) -> QueryResult<Vec<String>> {
    let rollouts: Vec<Option<String>> = hosts::table
        .filter(hosts::lease_worker.is_not_null())
        .filter(hosts::lease_worker.ne(me))
        .filter(hosts::lease_purpose.eq(UPDATE))
        .select(hosts::last_rollout)
        .distinct()
        .order(hosts::last_rollout)
        .load(conn)?;
    Ok(rollouts.into_iter().flatten().collect())
}

/// What dead workers of this version, or of older ones, have in flight there, each with its worker.
fn orphans(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
    me: &str,
) -> QueryResult<Vec<(AttemptRow, String)>> {
    let holders: Vec<Option<String>> = under_way!()
        .filter(attempts::rollout.eq(&rollout.id))
        .filter(hosts::lease_worker.ne(me))
        .select(hosts::lease_worker)
        .distinct()
        .load(conn)?;
    let holders = holders.into_iter().flatten().collect();
    let mut orphans = Vec::new();
    for dead in workers::dead_to_succeed(conn, work, holders)? {
        let held: Vec<AttemptRow> = under_way!()
            .filter(attempts::rollout.eq(&rollout.id))
            .filter(hosts::lease_worker.eq(&dead))
            .order(attempts::position)
            .select(AttemptRow::as_select())
            .load(conn)?;
        orphans.extend(held.into_iter().map(|attempt| (attempt, dead.clone())));
    }
    Ok(orphans)
}

/// None when another worker was faster.
fn take_over(
    conn: &mut Conn,
    work: &mut Work,
    rollout: &RolloutRow,
    attempt: AttemptRow,
    dead: &str,
    worker: WorkerId,
) -> Answer<Option<Claimed>, LeaseError> {
    let host: Option<HostRow> = update_returning!(
        conn,
        diesel::update(
            hosts::table
                .find(&attempt.host)
                .filter(hosts::lease_worker.eq(dead)),
        )
        .set((
            hosts::lease_worker.eq(worker.to_string()),
            hosts::lease_epoch
                .eq(hosts::lease_epoch + i64::from(!planted(Planted::TakeoverKeepsEpoch))),
        ))
        .returning(HostRow::as_returning()),
    )
    .optional()?;
    let Some(host) = host else { return Ok(None) };
    // Read only now that the host is ours: its last worker may have written until this moment.
    let attempt: AttemptRow = update_returning!(
        conn,
        diesel::update(attempts::table.find((&attempt.rollout, &attempt.host)))
            .set(attempts::takeovers.eq(attempts::takeovers + 1))
            .returning(AttemptRow::as_returning()),
    )?;
    versions::mark(conn, work, rollout)?;
    let claimed = claimed(conn, work, rollout, &attempt, &host, worker)?;
    work.tell(Event {
        step: attempt.step.clone(),
        message: Some("its worker is gone; another one goes on".to_owned()),
        ..about(EventKind::HostTakenOver, &attempt, work)?
    });
    Ok(Some(claimed))
}
