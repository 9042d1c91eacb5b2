//! The frozen plan of a rollout.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use fleet_types::{
    AttemptStatus, Event, EventKind, Invalid, Planted, Progress, RolloutId, RolloutKind,
    RolloutState, StageState, Timestamp, planted,
};

use super::inventory::hosts_in_words;
use super::{CHUNK, Conn, audit, views, workers};
use crate::diesel_store::rows::{AttemptRow, RolloutRow, SpecRow, StageRow, to_json, word};
use crate::diesel_store::schema::{
    attempt_specs, attempts, bad_versions, hosts, request_keys, rollouts, stages,
};
use crate::diesel_store::work::{Answer, Work, refuse, widen};
use crate::error::TriggerError;
use crate::records::{NewRollout, NewWorker, RequestKey};

pub(crate) fn rollout_create(
    conn: &mut Conn,
    work: &mut Work,
    plan: &NewRollout,
    worker: Option<&NewWorker>,
) -> Answer<RolloutId, TriggerError> {
    check_request(conn, plan)?;
    check_plan(plan)?;
    check_active(conn, work)?;
    check_known_bad(conn, plan)?;
    let planned = planned_hosts(conn, plan)?;

    let id = RolloutId(work.inputs.clock.fresh_id());
    let now = work.now();
    let sizes = stage_sizes(plan);
    insert_rollout(conn, work, id, plan)?;
    insert_stages(conn, id, &sizes)?;
    insert_attempts(conn, id, plan, &planned, &sizes)?;
    if let Some(worker) = worker {
        widen(workers::worker_register(conn, work, worker))?;
        let (id, worker) = (id.to_string(), worker.id.to_string());
        widen(workers::rollout_attend(conn, work, &id, &worker))?;
    }
    remember_request(conn, id, plan, now)?;
    tell(work, id, plan, now);
    let action = format!("rollout.{}", plan.kind);
    let detail = format!("{}, {}", plan.target_ref, hosts_in_words(plan.hosts.len()));
    let subject = id.to_string();
    audit::done(
        conn,
        work,
        &plan.actor,
        &action,
        Some(&subject),
        Some(detail),
    )?;
    Ok(id)
}

/// How long a request's key is remembered, in milliseconds.
const REMEMBERED: i64 = 48 * 3_600_000;

/// Longer keys are refused, for they are stored.
const LONGEST_KEY: usize = 500;

/// A request that was carried out already is not carried out again, whatever became of its rollout.
fn check_request(conn: &mut Conn, plan: &NewRollout) -> Answer<(), TriggerError> {
    let Some(request) = &plan.request else {
        return Ok(());
    };
    match request_rollout(conn, request)? {
        None => Ok(()),
        Some(rollout) => refuse(TriggerError::Repeated { rollout }),
    }
}

/// The rollout that a request was carried out as.
pub(crate) fn request_rollout(
    conn: &mut Conn,
    request: &RequestKey,
) -> Answer<Option<RolloutId>, TriggerError> {
    for (what, text) in [
        ("idempotency key", &request.key),
        ("fingerprint of the request", &request.fingerprint),
    ] {
        if text.is_empty() || text.len() > LONGEST_KEY || text.chars().any(char::is_control) {
            let why = format!("must have 1 to {LONGEST_KEY} bytes and no control characters");
            return refuse(Invalid::new(what, text, why));
        }
    }
    let found: Option<(String, String)> = request_keys::table
        .find(&request.key)
        .select((request_keys::fingerprint, request_keys::rollout))
        .get_result(conn)
        .optional()?;
    match found {
        None => Ok(None),
        Some((fingerprint, rollout)) if fingerprint == request.fingerprint => {
            Ok(Some(word("request_keys", &rollout)?))
        }
        Some(_) => refuse(TriggerError::KeyReused),
    }
}

fn remember_request(
    conn: &mut Conn,
    id: RolloutId,
    plan: &NewRollout,
    now: Timestamp,
) -> QueryResult<()> {
    let request = plan.request.as_ref();
    let Some(request) = request.filter(|_| !planted(Planted::RequestForgotten)) else {
        return Ok(());
    };
    let old = request_keys::at.lt(now.0.saturating_sub(REMEMBERED));
    diesel::delete(request_keys::table.filter(old)).execute(conn)?;
    diesel::insert_into(request_keys::table)
        .values((
            request_keys::request.eq(&request.key),
            request_keys::fingerprint.eq(&request.fingerprint),
            request_keys::rollout.eq(id.to_string()),
            request_keys::at.eq(now.0),
        ))
        .execute(conn)?;
    Ok(())
}

fn check_plan(plan: &NewRollout) -> Answer<(), TriggerError> {
    if plan.hosts.is_empty() {
        return refuse(TriggerError::NoHosts);
    }
    if let Err(invalid) = plan.policy.check() {
        return refuse(invalid);
    }
    let mut seen = HashSet::new();
    if let Some(twice) = plan.hosts.iter().find(|planned| !seen.insert(planned.host)) {
        let id = twice.host.to_string();
        return refuse(Invalid::new("plan", &id, "has this host twice"));
    }
    let rollback = plan.kind == RolloutKind::Rollback;
    if rollback && plan.hosts.iter().any(|planned| planned.to.is_none()) {
        let why = "has a host without a version to go back to";
        return refuse(Invalid::new("plan", &plan.target_ref, why));
    }
    Ok(())
}

fn check_active(conn: &mut Conn, work: &mut Work) -> Answer<(), TriggerError> {
    let Some(active) = views::active(conn)? else {
        return Ok(());
    };
    let attended = workers::attended(conn, work, &active)?;
    refuse(TriggerError::Active {
        id: active.id()?,
        started_by: active.started_by.clone(),
        created_at: Timestamp(active.created_at),
        attended,
        paused: active.state()? == RolloutState::Paused,
    })
}

fn check_known_bad(conn: &mut Conn, plan: &NewRollout) -> Answer<(), TriggerError> {
    let consent = plan.force || plan.kind != RolloutKind::Update;
    let Some(version) = plan.target.as_ref().filter(|_| !consent) else {
        return Ok(());
    };
    match widen(known_bad(conn, version.as_str()))? {
        None => Ok(()),
        Some(rollout) => refuse(TriggerError::KnownBad {
            version: version.to_string(),
            rollout,
        }),
    }
}

/// The rollout that this commit halted by failing on hosts it touched.
pub(crate) fn known_bad(conn: &mut Conn, version: &str) -> Answer<Option<RolloutId>> {
    let found: Option<String> = bad_versions::table
        .find(version)
        .select(bad_versions::rollout)
        .get_result(conn)
        .optional()?;
    Ok(crate::diesel_store::rows::word_opt(
        "bad_versions",
        found.as_deref(),
    )?)
}

struct Planned {
    name: String,
    machine: String,
    spec: String,
}

/// What is frozen of each host of the plan.
fn planned_hosts(
    conn: &mut Conn,
    plan: &NewRollout,
) -> Answer<HashMap<String, Planned>, TriggerError> {
    let ids: Vec<String> = plan
        .hosts
        .iter()
        .map(|planned| planned.host.to_string())
        .collect();
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(CHUNK) {
        // Locked, so that none of them is removed between this look and the commit.
        let rows: Vec<(String, String, String, String)> = locked!(
            hosts::table
                .filter(hosts::id.eq_any(some))
                .filter(hosts::removed_at.is_null())
                .order(hosts::id)
                .select((hosts::id, hosts::name, hosts::machine, hosts::spec))
        )
        .load(conn)?;
        found.extend(rows.into_iter().map(|(id, name, machine, spec)| {
            let planned = Planned {
                name,
                machine,
                spec,
            };
            (id, planned)
        }));
    }
    if found.len() < ids.len() {
        return refuse(TriggerError::HostGone);
    }
    Ok(found)
}

/// Percentage and size of the stages that have hosts.
fn stage_sizes(plan: &NewRollout) -> Vec<(u32, u32)> {
    let hosts = u32::try_from(plan.hosts.len()).unwrap_or(u32::MAX);
    let percents = plan.policy.stages.percents().iter().copied();
    percents
        .zip(plan.policy.stages.sizes(hosts))
        .filter(|(_, size)| *size > 0)
        .collect()
}

fn insert_rollout(
    conn: &mut Conn,
    work: &Work,
    id: RolloutId,
    plan: &NewRollout,
) -> QueryResult<()> {
    let last: Option<i64> = rollouts::table
        .select(diesel::dsl::max(rollouts::number))
        .get_result(conn)?;
    let row = RolloutRow {
        id: id.to_string(),
        number: last.unwrap_or(0) + 1,
        kind: plan.kind.as_str().to_owned(),
        state: RolloutState::Running.as_str().to_owned(),
        target: plan.target.as_ref().map(ToString::to_string),
        target_ref: fleet_types::printable(&plan.target_ref),
        policy: to_json(&plan.policy),
        source: plan.source.map(|id| id.to_string()),
        started_by: fleet_types::printable(&plan.actor.name),
        message: plan.message.as_deref().map(fleet_types::printable),
        created_at: work.now().0,
        finished_at: None,
        stage: 1,
        reason: None,
        hosts: i64::try_from(plan.hosts.len()).unwrap_or(i64::MAX),
        forced: plan.force,
        schema: work.inputs.schema.0,
    };
    diesel::insert_into(rollouts::table)
        .values(&row)
        .execute(conn)?;
    Ok(())
}

fn insert_stages(conn: &mut Conn, id: RolloutId, sizes: &[(u32, u32)]) -> QueryResult<()> {
    for (position, (percent, size)) in (1..).zip(sizes) {
        let state = if position == 1 {
            StageState::Running
        } else {
            StageState::Pending
        };
        let row = StageRow {
            rollout: id.to_string(),
            position,
            percent: i64::from(*percent),
            size: i64::from(*size),
            state: state.as_str().to_owned(),
            updating: 0,
            updated: 0,
            unchanged: 0,
            failed: 0,
            rolled_back: 0,
            skipped: 0,
            blamed: 0,
        };
        diesel::insert_into(stages::table)
            .values(&row)
            .execute(conn)?;
    }
    Ok(())
}

fn insert_attempts(
    conn: &mut Conn,
    id: RolloutId,
    plan: &NewRollout,
    planned: &HashMap<String, Planned>,
    sizes: &[(u32, u32)],
) -> QueryResult<()> {
    let stage_of = (1..)
        .zip(sizes)
        .flat_map(|(stage, (_, size))| (0..*size).map(move |_| stage));
    let mut attempts_rows = Vec::with_capacity(plan.hosts.len());
    let mut spec_rows = Vec::with_capacity(plan.hosts.len());
    for ((position, stage), host) in (1..).zip(stage_of).zip(&plan.hosts) {
        let key = host.host.to_string();
        let frozen = &planned[&key];
        let target = host.to.as_ref().or(plan.target.as_ref());
        attempts_rows.push(AttemptRow {
            rollout: id.to_string(),
            host: key.clone(),
            position,
            stage,
            name: frozen.name.clone(),
            machine: frozen.machine.clone(),
            status: AttemptStatus::Pending.as_str().to_owned(),
            reason: None,
            touched: false,
            needs_attention: false,
            progress: to_json(&Progress::default()),
            step: None,
            step_since: None,
            step_deadline: None,
            message: None,
            previous_version: None,
            target_version: target.map(ToString::to_string),
            from_version: host.from.as_ref().map(ToString::to_string),
            takeovers: 0,
            steps: 0,
            started_at: None,
            finished_at: None,
        });
        spec_rows.push(SpecRow {
            rollout: id.to_string(),
            host: key,
            spec: frozen.spec.clone(),
        });
    }
    for some in attempts_rows.chunks(CHUNK) {
        diesel::insert_into(attempts::table)
            .values(some)
            .execute(conn)?;
    }
    for some in spec_rows.chunks(CHUNK) {
        diesel::insert_into(attempt_specs::table)
            .values(some)
            .execute(conn)?;
    }
    let rollout = id.to_string();
    let chosen = attempts::table
        .filter(attempts::rollout.eq(&rollout))
        .select(attempts::host);
    diesel::update(hosts::table.filter(hosts::id.eq_any(chosen)))
        .set(hosts::last_rollout.eq(&rollout))
        .execute(conn)?;
    Ok(())
}

fn tell(work: &mut Work, id: RolloutId, plan: &NewRollout, now: Timestamp) {
    work.tell(Event {
        rollout: Some(id),
        status: Some(RolloutState::Running.as_str().to_owned()),
        message: plan.message.clone(),
        to: plan.target.as_ref().map(ToString::to_string),
        actor: Some(plan.actor.name.clone()),
        ..Event::new(EventKind::RolloutStarted, now)
    });
    work.tell(Event {
        rollout: Some(id),
        stage: Some(1),
        status: Some(StageState::Running.as_str().to_owned()),
        ..Event::new(EventKind::StageStarted, now)
    });
}
