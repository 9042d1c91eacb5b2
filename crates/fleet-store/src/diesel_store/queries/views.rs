//! What people and programs see. A bounded number of queries each, whatever the fleet.

use std::collections::BTreeMap;

use diesel::dsl::count_star;
use diesel::prelude::*;
use fleet_types::{AttemptStatus, HealthState, RolloutId, Seq, Timestamp, view};

use super::claim::UPDATE;
use super::{Conn, Db, advance, health, open, workers};
use crate::diesel_store::rows::{
    AttemptRow, HostRow, LastAttempt, RolloutRow, StepRow, count, word,
};
use crate::diesel_store::schema::{attempt_specs, attempts, hosts, rollouts, steps};
use crate::diesel_store::work::{Answer, Work};
use crate::records::{AttemptRecord, HostRecord, RolloutQuery, RolloutRecord, StepRecord};

/// Hosts in flight that a rollout shows by name.
const IN_FLIGHT: i64 = 50;

/// Versions that the fleet shows by themselves.
const VERSIONS: usize = 20;

fn record(row: Option<RolloutRow>) -> Answer<Option<RolloutRecord>> {
    Ok(row.as_ref().map(RolloutRow::record).transpose()?)
}

pub(crate) fn rollout_get(
    conn: &mut Conn,
    _: &mut Work,
    id: &str,
) -> Answer<Option<RolloutRecord>> {
    record(get(conn, id)?)
}

fn get(conn: &mut Conn, id: &str) -> QueryResult<Option<RolloutRow>> {
    rollouts::table
        .find(id)
        .select(RolloutRow::as_select())
        .get_result(conn)
        .optional()
}

pub(crate) fn rollout_active(conn: &mut Conn, _: &mut Work) -> Answer<Option<RolloutRecord>> {
    record(active(conn)?)
}

pub(super) fn active(conn: &mut Conn) -> QueryResult<Option<RolloutRow>> {
    rollouts::table
        .filter(active!())
        .select(RolloutRow::as_select())
        .get_result(conn)
        .optional()
}

pub(crate) fn rollout_latest(conn: &mut Conn, _: &mut Work) -> Answer<Option<RolloutRecord>> {
    record(latest(conn)?)
}

fn latest(conn: &mut Conn) -> QueryResult<Option<RolloutRow>> {
    one!(
        conn,
        rollouts::table
            .order(rollouts::number.desc())
            .select(RolloutRow::as_select())
    )
    .optional()
}

/// The filters stand in the query only where they are asked for.
pub(crate) fn rollouts_matching(
    conn: &mut Conn,
    _: &mut Work,
    query: &RolloutQuery,
) -> Answer<Vec<RolloutRecord>> {
    // No text in the store has one, and PostgreSQL refuses to compare with it.
    if query
        .started_by
        .as_deref()
        .is_some_and(|name| name.contains('\0'))
    {
        return Ok(Vec::new());
    }
    let mut rows = rollouts::table
        .order(rollouts::number.desc())
        .limit(i64::from(query.limit))
        .select(RolloutRow::as_select())
        .into_boxed::<Db>();
    if !query.state.is_empty() {
        let states: Vec<&str> = query.state.iter().map(|state| state.as_str()).collect();
        rows = rows.filter(rollouts::state.eq_any(states));
    }
    if let Some(name) = &query.started_by {
        rows = rows.filter(rollouts::started_by.eq(name.clone()));
    }
    if let Some(before) = query.before {
        let number: Option<i64> = rollouts::table
            .find(before.to_string())
            .select(rollouts::number)
            .get_result(conn)
            .optional()?;
        rows = rows.filter(rollouts::number.lt(number.unwrap_or(0)));
    }
    let rows: Vec<RolloutRow> = rows.load(conn)?;
    Ok(rows
        .iter()
        .map(RolloutRow::record)
        .collect::<Result<_, _>>()?)
}

pub(crate) fn rollout_list(
    conn: &mut Conn,
    _: &mut Work,
    before: Option<&str>,
    limit: i64,
) -> Answer<Vec<RolloutRecord>> {
    let number: Option<i64> = match before {
        None => Some(i64::MAX),
        Some(id) => rollouts::table
            .find(id)
            .select(rollouts::number)
            .get_result(conn)
            .optional()?,
    };
    let rows: Vec<RolloutRow> = rollouts::table
        .filter(rollouts::number.lt(number.unwrap_or(0)))
        .order(rollouts::number.desc())
        .limit(limit)
        .select(RolloutRow::as_select())
        .load(conn)?;
    Ok(rows
        .iter()
        .map(RolloutRow::record)
        .collect::<Result<_, _>>()?)
}

pub(crate) fn rollout_view(
    conn: &mut Conn,
    work: &mut Work,
    id: &str,
) -> Answer<Option<view::Rollout>> {
    match get(conn, id)? {
        Some(row) => shown(conn, work, &row).map(Some),
        None => Ok(None),
    }
}

fn shown(conn: &mut Conn, work: &mut Work, row: &RolloutRow) -> Answer<view::Rollout> {
    let record = row.record()?;
    let threshold = record.policy.max_failure_percent;
    let stages: Vec<view::Stage> = advance::all_stages(conn, &row.id)?
        .iter()
        .map(|stage| stage.view(threshold))
        .collect::<Result<_, _>>()?;
    let mut counts = view::Counts::default();
    for stage in &stages {
        let part = stage.counts;
        counts.pending += part.pending;
        counts.updating += part.updating;
        counts.success += part.success;
        counts.failed += part.failed;
        counts.rolled_back += part.rolled_back;
        counts.skipped += part.skipped;
    }
    let in_flight = if counts.updating > 0 {
        in_flight(conn, row)?
    } else {
        Vec::new()
    };
    let attended = record.state.is_active() && workers::attended(conn, work, row)?;
    let left_to_others = if record.state.is_active() {
        workers::left_to_others(conn, work, row)?
    } else {
        Vec::new()
    };
    let policy = record.policy;
    Ok(view::Rollout {
        id: record.id,
        state: record.state,
        kind: record.kind,
        target: view::Target {
            version: row.target.clone(),
            reference: record.target_ref,
        },
        started_by: record.started_by,
        message: record.message,
        created_at: record.created_at,
        finished_at: record.finished_at,
        policy: view::PolicyView {
            stages: policy.stages.percents().to_vec(),
            max_failure_percent: u32::from(policy.max_failure_percent),
            concurrency: policy.concurrency,
            max_in_flight: policy.max_in_flight,
            settle_seconds: policy.settle.as_secs_f64(),
        },
        stage: record.stage,
        stages,
        counts,
        reason: record.reason,
        source: record.source,
        in_flight,
        attended,
        left_to_others,
    })
}

fn in_flight(conn: &mut Conn, rollout: &RolloutRow) -> QueryResult<Vec<view::InFlight>> {
    let rows: Vec<AttemptRow> = attempts::table
        .filter(attempts::rollout.eq(&rollout.id))
        .filter(attempts::stage.eq(rollout.stage))
        .filter(attempts::status.eq(AttemptStatus::Updating.as_str()))
        .order(attempts::position)
        .limit(IN_FLIGHT)
        .select(AttemptRow::as_select())
        .load(conn)?;
    let in_flight = rows.into_iter().map(|row| view::InFlight {
        host: row.name,
        step: row.step,
        since: Timestamp(row.step_since.or(row.started_at).unwrap_or_default()),
        deadline: row.step_deadline.map(Timestamp),
    });
    Ok(in_flight.collect())
}

/// How many are at a step whose limit was over before this.
pub(crate) fn hosts_late(conn: &mut Conn, _: &mut Work, rollout: &str, before: i64) -> Answer<u32> {
    let late: i64 = attempts::table
        .filter(attempts::rollout.eq(rollout))
        .filter(attempts::status.eq(AttemptStatus::Updating.as_str()))
        .filter(attempts::step_deadline.lt(before))
        .count()
        .get_result(conn)?;
    Ok(count("attempts", late)?)
}

pub(crate) fn status(conn: &mut Conn, work: &mut Work) -> Answer<view::Status> {
    let seq = Seq(open::last_seq(conn)?);
    let fleet = fleet(conn)?;
    let row = match active(conn)? {
        Some(row) => Some(row),
        None => latest(conn)?,
    };
    let rollout = match row {
        Some(row) => Some(shown(conn, work, &row)?),
        None => None,
    };
    Ok(view::Status {
        fleet,
        rollout,
        seq,
    })
}

/// One walk over the index that has all three columns.
fn fleet(conn: &mut Conn) -> Answer<view::Fleet> {
    let groups: Vec<(Option<String>, String, bool, i64)> = hosts::table
        .filter(hosts::removed_at.is_null())
        .group_by((
            hosts::current_version,
            hosts::health,
            hosts::needs_attention,
        ))
        .select((
            hosts::current_version,
            hosts::health,
            hosts::needs_attention,
            count_star(),
        ))
        .load(conn)?;
    let updating: i64 = hosts::table
        .filter(hosts::lease_worker.is_not_null())
        .filter(hosts::lease_purpose.eq(UPDATE))
        .count()
        .get_result(conn)?;
    let mut fleet = view::Fleet {
        updating: count("hosts", updating)?,
        ..view::Fleet::default()
    };
    let mut versions: BTreeMap<Option<String>, u32> = BTreeMap::new();
    for (version, health, attention, number) in groups {
        let number = count("hosts", number)?;
        fleet.hosts += number;
        if attention {
            fleet.needs_attention += number;
        }
        *versions.entry(version).or_default() += number;
        let health: HealthState = word("hosts", &health)?;
        *(match health {
            HealthState::Active => &mut fleet.health.active,
            HealthState::Inactive => &mut fleet.health.inactive,
            HealthState::Unhealthy => &mut fleet.health.unhealthy,
            HealthState::Unreachable => &mut fleet.health.unreachable,
            _ => &mut fleet.health.unknown,
        }) += number;
    }
    fleet.versions = most_first(versions);
    Ok(fleet)
}

/// The most common versions, and the sum of the rest.
fn most_first(versions: BTreeMap<Option<String>, u32>) -> Vec<view::VersionCount> {
    let mut shown: Vec<view::VersionCount> = versions
        .into_iter()
        .map(|(version, hosts)| view::VersionCount { version, hosts })
        .collect();
    shown.sort_by(|a, b| b.hosts.cmp(&a.hosts).then(a.version.cmp(&b.version)));
    let other: u32 = shown.iter().skip(VERSIONS).map(|rest| rest.hosts).sum();
    shown.truncate(VERSIONS);
    if other > 0 {
        shown.push(view::VersionCount {
            version: Some("other".to_owned()),
            hosts: other,
        });
    }
    shown
}

/// The attempts of a rollout, each with what was frozen of its host.
macro_rules! attempts_of {
    ($rollout:expr) => {
        attempts::table
            .inner_join(
                attempt_specs::table.on(attempt_specs::rollout
                    .eq(attempts::rollout)
                    .and(attempt_specs::host.eq(attempts::host))),
            )
            .filter(attempts::rollout.eq($rollout))
    };
}

pub(crate) fn attempt_get(
    conn: &mut Conn,
    _: &mut Work,
    rollout: &str,
    host: &str,
) -> Answer<Option<AttemptRecord>> {
    let found: Option<(AttemptRow, String)> = attempts_of!(rollout)
        .filter(attempts::host.eq(host))
        .select((AttemptRow::as_select(), attempt_specs::spec))
        .get_result(conn)
        .optional()?;
    let record = found.map(|(row, spec)| row.record(&spec));
    Ok(record.transpose()?)
}

pub(crate) fn attempt_list(conn: &mut Conn, _: &mut Work, id: &str) -> Answer<Vec<AttemptRecord>> {
    let rows: Vec<(AttemptRow, String)> = attempts_of!(id)
        .order(attempts::position)
        .select((AttemptRow::as_select(), attempt_specs::spec))
        .load(conn)?;
    let records = rows.iter().map(|(row, spec)| row.record(spec));
    Ok(records.collect::<Result<_, _>>()?)
}

pub(crate) fn attempt_steps(
    conn: &mut Conn,
    _: &mut Work,
    rollout: &str,
    host: &str,
) -> Answer<Vec<StepRecord>> {
    let rows: Vec<StepRow> = steps::table
        .inner_join(
            attempts::table.on(attempts::rollout
                .eq(steps::rollout)
                .and(attempts::position.eq(steps::position))),
        )
        .filter(attempts::rollout.eq(rollout))
        .filter(attempts::name.eq(host))
        .order(steps::number)
        .select(StepRow::as_select())
        .load(conn)?;
    Ok(rows.iter().map(StepRow::record).collect::<Result<_, _>>()?)
}

/// The fleet with each host's last attempt; or the hosts of one rollout, in plan order, under the names they had then.
pub(crate) fn host_views(
    conn: &mut Conn,
    work: &mut Work,
    rollout: Option<RolloutId>,
) -> Answer<Vec<view::Host>> {
    let Some(rollout) = rollout else {
        let rows: Vec<(HostRow, Option<AttemptRow>)> = fleet!()
            .order(hosts::name)
            .select((HostRow::as_select(), Option::<AttemptRow>::as_select()))
            .load(conn)?;
        return of_fleet(conn, work, &rows);
    };
    let rows: Vec<(AttemptRow, HostRow)> = attempts::table
        .inner_join(hosts::table.on(hosts::id.eq(attempts::host)))
        .filter(attempts::rollout.eq(rollout.to_string()))
        .order(attempts::position)
        .select((AttemptRow::as_select(), HostRow::as_select()))
        .load(conn)?;
    of_rollout(conn, work, &rows)
}

/// Hosts of the fleet as they are shown.
pub(super) fn of_fleet(
    conn: &mut Conn,
    work: &Work,
    rows: &[(HostRow, Option<AttemptRow>)],
) -> Answer<Vec<view::Host>> {
    let hosts = rows.iter().map(|(host, attempt)| (host, attempt.as_ref()));
    with_findings(conn, work, hosts)
}

/// Hosts of a rollout as they are shown, under the names they had then, and marked for a person if it ended so.
pub(super) fn of_rollout(
    conn: &mut Conn,
    work: &Work,
    rows: &[(AttemptRow, HostRow)],
) -> Answer<Vec<view::Host>> {
    let hosts = rows.iter().map(|(attempt, host)| (host, Some(attempt)));
    let mut views = with_findings(conn, work, hosts)?;
    for (view, (attempt, _)) in views.iter_mut().zip(rows) {
        view.name.clone_from(&attempt.name);
        view.needs_attention = attempt.needs_attention;
    }
    Ok(views)
}

/// With what the health checker saw of each host, from one query more.
fn with_findings<'a>(
    conn: &mut Conn,
    work: &Work,
    hosts: impl Iterator<Item = (&'a HostRow, Option<&'a AttemptRow>)> + Clone,
) -> Answer<Vec<view::Host>> {
    let ids: Vec<&str> = hosts.clone().map(|(host, _)| host.id.as_str()).collect();
    let mut findings = health::findings(conn, &ids)?;
    let views = hosts.map(|(host, attempt)| {
        let mut view = host_view(host, attempt, work.now())?;
        if let Some((at, since, message)) = findings.remove(&host.id) {
            view.checked_at = at.map(Timestamp);
            view.health_since = since.map(Timestamp);
            view.health_message = message;
        }
        Ok(view)
    });
    views.collect()
}

fn host_view(host: &HostRow, attempt: Option<&AttemptRow>, now: Timestamp) -> Answer<view::Host> {
    let last = attempt.map(|attempt| LastAttempt {
        status: attempt.status.clone(),
        target: attempt.target_version.clone(),
    });
    let record: HostRecord = host.record(last.as_ref())?;
    Ok(view::Host {
        name: record.name.to_string(),
        address: record.spec.address.to_string(),
        port: record.spec.port,
        user: record.spec.user.to_string(),
        labels: record.labels,
        owner: record.owner,
        current_version: host.current_version.clone(),
        previous_version: host.previous_version.clone(),
        target_version: record.target_version.map(String::from),
        update_status: record.update_status,
        needs_attention: record.needs_attention,
        last_update_at: record.last_update_at,
        health: record.health,
        checked_at: None,
        health_since: None,
        health_message: None,
        attempt: attempt.map(|attempt| attempt.view(now)).transpose()?,
    })
}

pub(crate) fn known_bad(conn: &mut Conn, _: &mut Work, version: &str) -> Answer<Option<RolloutId>> {
    super::create::known_bad(conn, version)
}
