//! The event feed.

use diesel::prelude::*;
use fleet_types::{Event, EventKind};

use super::{Conn, insert_events};
use crate::diesel_store::prepared::update_returning;
use crate::diesel_store::rows::EventRow;
use crate::diesel_store::schema::{events, feed};
use crate::diesel_store::work::{Answer, Work};

/// Numbers the events and writes them: the last thing that a transaction does. The counter's row stays locked until the
/// commit, so numbers are in commit order and a reader never sees a number before a smaller one.
pub(crate) fn append(conn: &mut Conn, rows: &mut [EventRow]) -> QueryResult<i64> {
    let number = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let last: i64 = update_returning!(
        conn,
        diesel::update(feed::table)
            .set(feed::seq.eq(feed::seq + number))
            .returning(feed::seq),
    )?;
    for (row, seq) in rows.iter_mut().zip(last - number + 1..) {
        row.seq = seq;
    }
    insert_events(conn, rows)?;
    Ok(last)
}

/// Events after `after`, oldest first; fewer than `limit` only if there are no more. Kinds that a newer program wrote are
/// left out.
pub(crate) fn events_after(
    conn: &mut Conn,
    _: &mut Work,
    mut after: i64,
    rollout: Option<&str>,
    limit: i64,
) -> Answer<Vec<Event>> {
    let most = usize::try_from(limit).unwrap_or(0);
    let mut found = Vec::new();
    loop {
        let base = events::table
            .filter(events::seq.gt(after))
            .order(events::seq)
            .limit(limit)
            .select(EventRow::as_select());
        let rows: Vec<EventRow> = match rollout {
            Some(rollout) => base.filter(events::rollout.eq(rollout)).load(conn)?,
            None => base.load(conn)?,
        };
        let last = rows
            .last()
            .filter(|_| rows.len() >= most)
            .map(|row| row.seq);
        for row in rows {
            found.extend(row.event()?);
        }
        found.truncate(most);
        match last {
            Some(last) if found.len() < most => after = last,
            _ => return Ok(found),
        }
    }
}

/// Events of a rollout before `before`, the latest first, but for those of single steps, of which there are most. Kinds
/// that a newer program wrote are left out.
pub(crate) fn rollout_told(
    conn: &mut Conn,
    _: &mut Work,
    rollout: &str,
    mut before: i64,
    limit: i64,
) -> Answer<Vec<Event>> {
    let most = usize::try_from(limit).unwrap_or(0);
    let mut told = Vec::new();
    loop {
        let rows: Vec<EventRow> = events::table
            .filter(events::rollout.eq(rollout))
            .filter(events::seq.lt(before))
            .filter(events::kind.ne(EventKind::HostStep.as_str()))
            .order(events::seq.desc())
            .limit(limit)
            .select(EventRow::as_select())
            .load(conn)?;
        let last = rows.last().map(|row| row.seq);
        for row in rows {
            told.extend(row.event()?);
        }
        told.truncate(most);
        match last {
            Some(last) if told.len() < most => before = last,
            _ => return Ok(told),
        }
    }
}

/// The number of the last event.
pub(crate) fn last(conn: &mut Conn, _: &mut Work) -> Answer<i64> {
    Ok(super::open::last_seq(conn)?)
}
