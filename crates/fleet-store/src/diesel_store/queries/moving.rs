//! A whole fleet into a file, and from a file into an empty database.

use std::path::Path;

use diesel::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Conn, allow_audit_ids, inventory, open, renumber_audit, take_your_time};
use crate::diesel_store::moved_file::{Head, Reader, Writer};
use crate::diesel_store::moved_rows::*;
use crate::diesel_store::schema::*;
use crate::diesel_store::work::{Answer, Work, refuse, widen};
use crate::error::MoveError;
use crate::records::{Moved, Schema};

/// So many rows are in memory at once, of those that there may be any number of.
const PAGE: i64 = 200;

/// So far an import goes ahead of the database that the file is from: hosts take both for the same store, and whoever still
/// works with the old one is turned away by each host that was touched since.
const AHEAD: i64 = 1_000_000;

/// Writes all rows of a table of which there are few.
macro_rules! all {
    ($conn:ident, $file:ident, $table:ident as $row:ident by $order:expr) => {{
        let rows: Vec<$row> = $table::table
            .order($order)
            .select($row::as_select())
            .load($conn)?;
        for row in &rows {
            $file.row(stringify!($table), row)?;
        }
        rows.len()
    }};
}

/// Writes all rows of a table in the order of a number.
macro_rules! numbered {
    ($conn:ident, $file:ident, $table:ident as $row:ident by $number:ident) => {{
        let mut after = i64::MIN;
        let mut written = 0;
        loop {
            let rows: Vec<$row> = $table::table
                .filter($table::$number.gt(after))
                .order($table::$number)
                .limit(PAGE)
                .select($row::as_select())
                .load($conn)?;
            let Some(last) = rows.last() else {
                break written;
            };
            after = last.$number;
            written += rows.len();
            for row in &rows {
                $file.row(stringify!($table), row)?;
            }
        }
    }};
}

/// Writes everything to a file, from one snapshot. Run again, it begins the file anew.
pub(crate) fn export(conn: &mut Conn, work: &mut Work, path: &Path) -> Answer<Moved, MoveError> {
    require_known(work, &work.inputs.database, open::found(conn)?)?;
    let active: Option<String> = rollouts::table
        .filter(active!())
        .select(rollouts::id)
        .first(conn)
        .optional()?;
    if let Some(rollout) = active {
        return refuse(MoveError::Active { rollout });
    }
    let (store_id, created_at) = meta::table
        .select((meta::store_id, meta::created_at))
        .first(conn)?;
    let seq = open::last_seq(conn)?;
    let head = Head {
        store_id,
        created_at,
        seq,
        schema: work.inputs.schema.0,
    };
    take_your_time(conn)?;
    let mut file = Writer::begin(path, head)?;
    let mut moved = Moved {
        hosts: all!(conn, file, hosts as HostMoved by hosts::id),
        rollouts: all!(conn, file, rollouts as RolloutMoved by rollouts::number),
        ..Moved::default()
    };
    all!(conn, file, stages as StageMoved by (stages::rollout, stages::position));
    attempts_of_all(conn, &mut file)?;
    all!(conn, file, bad_versions as BadVersionMoved by bad_versions::version);
    all!(conn, file, request_keys as RequestKeyMoved by request_keys::request);
    all!(conn, file, health_checks as HealthCheckMoved by health_checks::host);
    all!(conn, file, health_restarts as HealthRestartMoved by (health_restarts::host, health_restarts::epoch));
    moved.users = all!(conn, file, users as UserMoved by users::name);
    moved.tokens = all!(conn, file, tokens as TokenMoved by tokens::id);
    moved.audit = numbered!(conn, file, audit as AuditMoved by id);
    moved.events = numbered!(conn, file, events as EventMoved by seq);
    file.end()?;
    Ok(moved)
}

/// The attempts of every rollout, a few at a time, each with what belongs to it.
fn attempts_of_all(conn: &mut Conn, file: &mut Writer) -> Answer<(), MoveError> {
    let ids: Vec<String> = rollouts::table
        .order(rollouts::number)
        .select(rollouts::id)
        .load(conn)?;
    for id in &ids {
        let mut after = i64::MIN;
        loop {
            let rows: Vec<AttemptMoved> = attempts::table
                .filter(attempts::rollout.eq(id))
                .filter(attempts::position.gt(after))
                .order(attempts::position)
                .limit(PAGE)
                .select(AttemptMoved::as_select())
                .load(conn)?;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                break;
            };
            let (from, to) = (first.position, last.position);
            after = to;
            for row in &rows {
                file.row("attempts", row)?;
            }
            let hosts: Vec<&str> = rows.iter().map(|row| row.host.as_str()).collect();
            let specs: Vec<SpecMoved> = attempt_specs::table
                .filter(attempt_specs::rollout.eq(id))
                .filter(attempt_specs::host.eq_any(hosts))
                .order(attempt_specs::host)
                .select(SpecMoved::as_select())
                .load(conn)?;
            for row in &specs {
                file.row("attempt_specs", row)?;
            }
            let printed: Vec<StepMoved> = steps::table
                .filter(steps::rollout.eq(id))
                .filter(steps::position.ge(from))
                .filter(steps::position.le(to))
                .order((steps::position, steps::number))
                .select(StepMoved::as_select())
                .load(conn)?;
            for row in &printed {
                file.row("steps", row)?;
            }
        }
    }
    Ok(())
}

/// Reads everything from a file; all of it or nothing is in the database afterwards.
pub(crate) fn import(conn: &mut Conn, work: &mut Work, path: &Path) -> Answer<Moved, MoveError> {
    // Whoever is about to work on it was there before, or comes after and finds another fleet.
    open::require_compatible(conn, work)?;
    check_empty(conn)?;
    let (mut file, head) = Reader::begin(path)?;
    require_known(work, &path.display().to_string(), Schema(head.schema))?;
    allow_audit_ids(conn)?;
    let mut moved = Moved::default();
    let mut table = String::new();
    let mut rows: Vec<Value> = Vec::new();
    while let Some((next, row)) = file.row()? {
        if next != table || rows.len() == PAGE as usize {
            insert(conn, &file, &table, std::mem::take(&mut rows))?;
            table = next;
        }
        match table.as_str() {
            "hosts" => moved.hosts += 1,
            "rollouts" => moved.rollouts += 1,
            "users" => moved.users += 1,
            "tokens" => moved.tokens += 1,
            "audit" => moved.audit += 1,
            "events" => moved.events += 1,
            _ => {}
        }
        rows.push(row);
    }
    insert(conn, &file, &table, rows)?;
    renumber_audit(conn)?;
    diesel::update(meta::table)
        .set((
            meta::store_id.eq(&head.store_id),
            meta::created_at.eq(head.created_at),
        ))
        .execute(conn)?;
    diesel::update(feed::table)
        .set(feed::seq.eq(head.seq))
        .execute(conn)?;
    diesel::update(hosts::table)
        .set(hosts::lease_epoch.eq(hosts::lease_epoch + AHEAD))
        .execute(conn)?;
    // What this program could not read afterwards is not let in.
    crate::diesel_store::work::store_id(&head.store_id)?;
    widen(inventory::host_list(conn, work))?;
    Ok(moved)
}

/// What a newer program made may hold more than this one can read.
fn require_known(work: &Work, what: &str, found: Schema) -> Answer<(), MoveError> {
    let known = work.inputs.schema;
    if found <= known {
        return Ok(());
    }
    refuse(MoveError::Newer {
        what: what.to_owned(),
        found,
        known,
    })
}

/// Refuses a database in which something has happened already.
fn check_empty(conn: &mut Conn) -> Answer<(), MoveError> {
    macro_rules! empty {
        ($($table:ident: $what:literal)+) => { $(
            if $table::table.count().get_result::<i64>(conn)? > 0 {
                return refuse(MoveError::NotEmpty { what: $what });
            }
        )+ };
    }
    empty! {
        hosts: "hosts"
        rollouts: "rollouts"
        users: "users"
        tokens: "tokens"
        workers: "a server or another program that works on it"
        audit: "entries in its audit trail"
        events: "events"
    }
    Ok(())
}

/// Puts rows into a table.
fn insert(conn: &mut Conn, file: &Reader, table: &str, rows: Vec<Value>) -> Answer<(), MoveError> {
    macro_rules! into_tables {
        ($($table:ident as $row:ident)+) => {
            match table {
                _ if rows.is_empty() => {}
                $(stringify!($table) => {
                    let rows: Vec<$row> = read(file, rows)?;
                    diesel::insert_into($table::table).values(&rows).execute(conn)?;
                })+
                other => return refuse(file.damaged(format!("there is no table {other:?}"))),
            }
        };
    }
    into_tables! {
        hosts as HostMoved
        rollouts as RolloutMoved
        stages as StageMoved
        attempts as AttemptMoved
        attempt_specs as SpecMoved
        steps as StepMoved
        bad_versions as BadVersionMoved
        request_keys as RequestKeyMoved
        health_checks as HealthCheckMoved
        health_restarts as HealthRestartMoved
        users as UserMoved
        tokens as TokenMoved
        audit as AuditMoved
        events as EventMoved
    }
    Ok(())
}

fn read<R: DeserializeOwned>(file: &Reader, rows: Vec<Value>) -> Answer<Vec<R>, MoveError> {
    let rows: Result<Vec<R>, _> = rows.into_iter().map(serde_json::from_value).collect();
    rows.or_else(|error| refuse(file.damaged(error)))
}
