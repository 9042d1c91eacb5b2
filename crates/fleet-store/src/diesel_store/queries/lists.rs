//! Lists in pages: as many rows are read as are asked for, and the rest is counted.

use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::sql_types::Text;
use fleet_types::{AttemptStatus, view};

use super::views::{of_fleet, of_rollout};
use super::{Conn, Db};
use crate::diesel_store::rows::{AttemptRow, HostRow, count, word, word_opt};
use crate::diesel_store::schema::{attempts, hosts, rollouts};
use crate::diesel_store::work::{Answer, Work};
use crate::records::{HostQuery, Page, PastAttempt};

/// At most this many entries in one page, whatever is asked for.
const LARGEST_PAGE: u32 = 1000;

diesel::define_sql_function! {
    fn lower(text: Text) -> Text;
}

/// What a search comes to: a pattern, or nothing that a host name could match.
enum Search {
    All,
    Pattern(String),
    Nothing,
}

impl Search {
    fn of(query: &HostQuery) -> Self {
        let Some(text) = query.search.as_deref().filter(|text| !text.is_empty()) else {
            return Self::All;
        };
        let fits = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if fits {
            let text = text.to_ascii_lowercase().replace('_', "\\_");
            Self::Pattern(format!("%{text}%"))
        } else {
            Self::Nothing
        }
    }
}

/// The filters that every list of hosts has.
macro_rules! matching {
    ($rows:ident, $query:expr) => {
        if let Some(health) = $query.health {
            $rows = $rows.filter(hosts::health.eq(health.as_str()));
        }
        if let Some(version) = &$query.version {
            $rows = $rows.filter(hosts::current_version.eq(version.clone()));
        }
        if let Some(owner) = &$query.owner {
            $rows = $rows.filter(hosts::owner.eq(owner.clone()));
        }
        match Search::of($query) {
            Search::All => {}
            Search::Pattern(like) => {
                $rows = $rows.filter(lower(hosts::name).like(like).escape('\\'));
            }
            Search::Nothing => $rows = $rows.filter(hosts::id.eq("")),
        }
    };
}

fn words(status: &[AttemptStatus]) -> Vec<&'static str> {
    status.iter().map(|status| status.as_str()).collect()
}

pub(crate) fn host_page(
    conn: &mut Conn,
    work: &mut Work,
    query: &HostQuery,
) -> Answer<Page<view::Host>> {
    let limit = query.limit.clamp(1, LARGEST_PAGE);
    // No text in the store has one, and PostgreSQL refuses to compare with it.
    let texts = [&query.version, &query.owner, &query.search, &query.after];
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        return Ok(Page {
            items: Vec::new(),
            next: None,
            total: 0,
        });
    }
    match &query.rollout {
        None => fleet_page(conn, work, query, limit),
        Some(rollout) => rollout_page(conn, work, query, &rollout.to_string(), limit),
    }
}

/// The fleet by name; the cursor is the last name.
fn fleet_page(
    conn: &mut Conn,
    work: &mut Work,
    query: &HostQuery,
    limit: u32,
) -> Answer<Page<view::Host>> {
    macro_rules! chosen {
        ($columns:expr) => {{
            let mut rows = fleet!().select($columns).into_boxed::<Db>();
            if !query.status.is_empty() {
                let status = words(&query.status);
                rows = rows.filter(attempts::status.nullable().eq_any(status));
            }
            if query.needs_attention {
                rows = rows.filter(hosts::needs_attention.eq(true));
            }
            matching!(rows, query);
            rows
        }};
    }
    let total: i64 = chosen!(count_star()).get_result(conn)?;
    let mut rows = chosen!((HostRow::as_select(), Option::<AttemptRow>::as_select()));
    if let Some(after) = &query.after {
        rows = rows.filter(hosts::name.gt(after.clone()));
    }
    let mut found: Vec<(HostRow, Option<AttemptRow>)> = rows
        .order(hosts::name)
        .limit(i64::from(limit) + 1)
        .load(conn)?;
    let more = cut(&mut found, limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|(host, _)| host.name.clone());
    let items = of_fleet(conn, work, &found)?;
    let total = count("hosts", total)?;
    Ok(Page { items, next, total })
}

/// The hosts of a rollout in the order of its plan, under the names they had then; the cursor is the last position.
fn rollout_page(
    conn: &mut Conn,
    work: &mut Work,
    query: &HostQuery,
    rollout: &str,
    limit: u32,
) -> Answer<Page<view::Host>> {
    macro_rules! chosen {
        ($columns:expr) => {{
            let mut rows = attempts::table
                .inner_join(hosts::table.on(hosts::id.eq(attempts::host)))
                .filter(attempts::rollout.eq(rollout))
                .select($columns)
                .into_boxed::<Db>();
            if !query.status.is_empty() {
                rows = rows.filter(attempts::status.eq_any(words(&query.status)));
            }
            if query.needs_attention {
                rows = rows.filter(attempts::needs_attention.eq(true));
            }
            if let Some(stage) = query.stage {
                rows = rows.filter(attempts::stage.eq(i64::from(stage)));
            }
            matching!(rows, query);
            rows
        }};
    }
    let total: i64 = chosen!(count_star()).get_result(conn)?;
    let mut rows = chosen!((AttemptRow::as_select(), HostRow::as_select()));
    if let Some(after) = &query.after {
        // Nothing comes behind a cursor that was never given out.
        let position: i64 = after.parse().unwrap_or(i64::MAX);
        rows = rows.filter(attempts::position.gt(position));
    }
    let mut found: Vec<(AttemptRow, HostRow)> = rows
        .order(attempts::position)
        .limit(i64::from(limit) + 1)
        .load(conn)?;
    let more = cut(&mut found, limit);
    let last = found.last().filter(|_| more);
    let next = last.map(|(attempt, _)| attempt.position.to_string());
    let items = of_rollout(conn, work, &found)?;
    let total = count("attempts", total)?;
    Ok(Page { items, next, total })
}

/// One row more than asked for tells whether there is a next page.
fn cut<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}

pub(crate) fn host_view(
    conn: &mut Conn,
    work: &mut Work,
    name: &str,
    rollout: Option<&str>,
) -> Answer<Option<view::Host>> {
    if let Some(rollout) = rollout {
        // A host that was removed or renamed since is still part of the rollout's history.
        let found: Option<(AttemptRow, HostRow)> = attempts::table
            .inner_join(hosts::table.on(hosts::id.eq(attempts::host)))
            .filter(attempts::rollout.eq(rollout))
            .filter(attempts::name.eq(name))
            .select((AttemptRow::as_select(), HostRow::as_select()))
            .get_result(conn)
            .optional()?;
        return Ok(of_rollout(conn, work, found.as_slice())?.pop());
    }
    let found: Option<(HostRow, Option<AttemptRow>)> = fleet!()
        .filter(hosts::name.eq(name))
        .select((HostRow::as_select(), Option::<AttemptRow>::as_select()))
        .get_result(conn)
        .optional()?;
    Ok(of_fleet(conn, work, found.as_slice())?.pop())
}

pub(crate) fn host_history(
    conn: &mut Conn,
    work: &mut Work,
    name: &str,
    before: Option<&str>,
    limit: i64,
) -> Answer<Vec<PastAttempt>> {
    let host: Option<String> = hosts::table
        .filter(hosts::removed_at.is_null())
        .filter(hosts::name.eq(name))
        .select(hosts::id)
        .get_result(conn)
        .optional()?;
    let Some(host) = host else {
        return Ok(Vec::new());
    };
    let mut rows = attempts::table
        .inner_join(rollouts::table.on(rollouts::id.eq(attempts::rollout)))
        .filter(attempts::host.eq(host))
        .select((
            AttemptRow::as_select(),
            rollouts::target,
            rollouts::target_ref,
        ))
        .into_boxed::<Db>();
    if let Some(before) = before {
        let number: Option<i64> = rollouts::table
            .find(before)
            .select(rollouts::number)
            .get_result(conn)
            .optional()?;
        rows = rows.filter(rollouts::number.lt(number.unwrap_or(0)));
    }
    let found: Vec<(AttemptRow, Option<String>, String)> = rows
        .order(rollouts::number.desc())
        .limit(limit)
        .load(conn)?;
    let past = found.into_iter().map(|(row, version, reference)| {
        let time = |at: Option<i64>| at.map(fleet_types::Timestamp);
        Ok(PastAttempt {
            attempt: row.view(work.now())?,
            target: view::Target { version, reference },
            started_at: time(row.started_at),
            finished_at: time(row.finished_at),
            from: row.previous_version,
            to: row.target_version,
        })
    });
    past.collect()
}

/// A cell's columns.
type CellRow = (String, i64, String, Option<String>, bool);

pub(crate) fn rollout_cells(
    conn: &mut Conn,
    _: &mut Work,
    rollout: &str,
    limit: i64,
) -> Answer<Vec<view::Cell>> {
    let t = "attempts";
    let rows: Vec<CellRow> = attempts::table
        .filter(attempts::rollout.eq(rollout))
        .order(attempts::position)
        .limit(limit)
        .select((
            attempts::name,
            attempts::stage,
            attempts::status,
            attempts::reason,
            attempts::needs_attention,
        ))
        .load(conn)?;
    let cells = rows
        .into_iter()
        .map(|(host, stage, status, reason, needs_attention)| {
            Ok(view::Cell {
                host,
                stage: count(t, stage)?,
                status: word(t, &status)?,
                reason: word_opt::<fleet_types::Reason>(t, reason.as_deref())?
                    .map(|reason| reason.as_str().to_owned()),
                needs_attention,
            })
        });
    cells.collect()
}
