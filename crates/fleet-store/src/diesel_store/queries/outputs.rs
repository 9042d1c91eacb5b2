//! What steps printed, removed once it is old: one rollout after the other, and in it one host after the other in the order
//! of the plan. How far that came is on record, so that nothing is looked at again and again. It is the one thing that is
//! written to rollouts that are over, of whichever version: there is nothing to carry on in them.

use std::num::NonZeroU32;

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use super::{CHUNK, Conn, lease_moment, open};
use crate::diesel_store::history_rows::{KeptOutput, StepRow};
use crate::diesel_store::prepared::update;
use crate::diesel_store::schema::{rollouts, steps};
use crate::diesel_store::work::{Answer, Work};
use crate::records::OutputsRemoved;

const DAY_MS: i64 = 86_400_000;
/// So many bytes are read at most, or one host's: others wait for this transaction.
const ENOUGH: i64 = 1 << 20;

diesel::define_sql_function! {
    /// The bytes of a text, told without reading it.
    fn octet_length(text: Nullable<Text>) -> Nullable<Integer>;
}

/// Neighbouring hosts of a rollout, by their positions.
struct Hosts {
    /// They come after this one.
    after: i64,
    /// The last of them.
    to: i64,
    /// Whether these are the last ones.
    are_last: bool,
}

pub(crate) fn outputs_remove(
    conn: &mut Conn,
    work: &mut Work,
    kept_days: NonZeroU32,
    limit: i64,
) -> Answer<OutputsRemoved> {
    if open::found(conn)? > work.inputs.schema {
        // Rows are written anew below: what a newer program keeps beside it would be lost.
        return Ok(OutputsRemoved::default());
    }
    let now = moment(conn, work)?;
    let ended_by = now.saturating_sub(i64::from(kept_days.get()) * DAY_MS);
    let Some(rollout) = first_due(conn, ended_by)? else {
        return Ok(OutputsRemoved::default());
    };
    let still_due = rollouts::table
        .find(&rollout)
        .filter(rollouts::outputs_removed_at.is_null())
        .select(rollouts::outputs_removed_to);
    let done_to: Option<Option<i64>> = locked!(still_due).get_result(conn).optional()?;
    let Some(done_to) = done_to else {
        // Somebody else has just done the rest of it.
        return Ok(OutputsRemoved {
            outputs: 0,
            more: true,
        });
    };
    let hosts = next_hosts(conn, &rollout, done_to.unwrap_or(i64::MIN), limit)?;
    let outputs = remove_of(conn, &rollout, &hosts, kept_days)?;
    if !hosts.are_last {
        update!(
            conn,
            diesel::update(rollouts::table.find(&rollout))
                .set(rollouts::outputs_removed_to.eq(hosts.to)),
        )?;
        return Ok(OutputsRemoved {
            outputs,
            more: true,
        });
    }
    update!(
        conn,
        diesel::update(rollouts::table.find(&rollout)).set(rollouts::outputs_removed_at.eq(now)),
    )?;
    let more = first_due(conn, ended_by)?.is_some();
    Ok(OutputsRemoved { outputs, more })
}

/// The one that ended first of those that are still to be done. A rollout that is not over has no end.
fn first_due(conn: &mut Conn, ended_by: i64) -> QueryResult<Option<String>> {
    let due = rollouts::table
        .filter(rollouts::outputs_removed_at.is_null())
        .filter(rollouts::finished_at.le(ended_by))
        .order(rollouts::finished_at)
        .select(rollouts::id);
    one!(conn, due).optional()
}

/// As many hosts as have at most `limit` steps together and printed not too much, but one at least.
fn next_hosts(conn: &mut Conn, rollout: &str, after: i64, limit: i64) -> QueryResult<Hosts> {
    let limit = limit.max(1);
    let rows = steps::table
        .filter(steps::rollout.eq(rollout))
        .filter(steps::position.gt(after))
        .order((steps::position, steps::number))
        .select((steps::position, octet_length(steps::output)));
    // One more than is taken, to know whether there is more.
    let rows: Vec<(i64, Option<i32>)> = at_most!(conn, rows, limit + 1)?;
    let are_last = (rows.len() as i64) <= limit;
    let mut hosts = Hosts {
        after,
        to: rows.first().map_or(after, |(position, _)| *position),
        are_last,
    };
    let (mut count, mut bytes) = (0, 0);
    for host in rows.chunk_by(|one, other| one.0 == other.0) {
        count += host.len() as i64;
        bytes += host
            .iter()
            .map(|row| i64::from(row.1.unwrap_or(0)))
            .sum::<i64>();
        let is_first = host[0].0 == hosts.to;
        // Of the last one not all steps may be here; it is beyond the limit then.
        if !is_first && (count > limit || bytes > ENOUGH) {
            hosts.are_last = false;
            break;
        }
        hosts.to = host[0].0;
    }
    Ok(hosts)
}

/// The time that what is kept goes by: never one that is ahead of the database's, for what is removed does not come back.
fn moment(conn: &mut Conn, work: &mut Work) -> QueryResult<i64> {
    let own = work.now().0;
    let moment = lease_moment(conn, work)?;
    Ok(match moment.era.as_ref() {
        "database" => own.min(moment.at),
        _ => own,
    })
}

/// Removes what the steps of these hosts printed; says of how many steps.
fn remove_of(
    conn: &mut Conn,
    rollout: &str,
    hosts: &Hosts,
    kept_days: NonZeroU32,
) -> QueryResult<u32> {
    let rows = steps::table
        .filter(steps::rollout.eq(rollout))
        .filter(steps::position.gt(hosts.after))
        .filter(steps::position.le(hosts.to))
        .order((steps::position, steps::number))
        .select(StepRow::as_select());
    let mut removed = 0;
    let mut rest: Vec<StepRow> = Vec::new();
    // One after the other, for each may be long.
    for row in rows.load_iter::<StepRow, DefaultLoadingMode>(conn)? {
        let mut row = row?;
        let output = row.output.as_deref();
        if let Some(without) = output.and_then(|text| KeptOutput::without_text(text, kept_days)) {
            row.output = Some(without);
            removed += 1;
        }
        rest.push(row);
    }
    if removed == 0 {
        return Ok(0);
    }
    // All rows are written anew. SQLite leaves what an update takes out of a page empty for ever; pages that rows were
    // deleted from are put together, and used again.
    let old = steps::table
        .filter(steps::rollout.eq(rollout))
        .filter(steps::position.gt(hosts.after))
        .filter(steps::position.le(hosts.to));
    diesel::delete(old).execute(conn)?;
    for some in rest.chunks(CHUNK) {
        diesel::insert_into(steps::table)
            .values(some)
            .execute(conn)?;
    }
    Ok(removed)
}
