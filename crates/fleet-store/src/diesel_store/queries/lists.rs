//! Lists in pages: as many rows are read as are asked for, and the rest is counted.

use diesel::dsl::{count_star, not, sql};
use diesel::prelude::*;
use diesel::sql_types::Text;
use fleet_types::{AttemptStatus, Reason, Selection, Selector, Wanted, view};

use super::views::{of_fleet, of_rollout};
use super::{Conn, Db};
use crate::diesel_store::rows::{AttemptRow, HostRow, count, word, word_opt};
use crate::diesel_store::schema::{attempts, hosts, rollouts};
use crate::diesel_store::work::{Answer, Work};
use crate::records::{HostOrder, HostQuery, Page, PastAttempt};

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

/// The hosts that one of the words hits. Labels are kept as JSON without spaces, and hold no quotation marks.
macro_rules! hit {
    ($words:expr, $negated:expr) => {{
        let mut hit = hosts::table
            .filter(hosts::id.eq(""))
            .select(hosts::id)
            .into_boxed::<Db>();
        for word in $words.iter().filter(|word| word.is_negated() == $negated) {
            hit = match word.wanted() {
                Wanted::Glob(glob) => hit.or_filter(globbed!(hosts::name, glob.clone())),
                Wanted::Key(key) => hit.or_filter(globbed!(hosts::labels, format!("*\"{key}\":*"))),
                Wanted::Pair(label) => {
                    let (key, value) = (&label.key, &label.value);
                    hit.or_filter(globbed!(hosts::labels, format!("*\"{key}\":\"{value}\"*")))
                }
            };
        }
        hit
    }};
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
        if let Some(Selection::On(words)) = &$query.on {
            if words.is_empty() {
                $rows = $rows.filter(hosts::id.eq(""));
            }
            if words.iter().any(|word| !word.is_negated()) {
                $rows = $rows.filter(hosts::id.eq_any(hit!(words, false)));
            }
            if words.iter().any(Selector::is_negated) {
                $rows = $rows.filter(not(hosts::id.eq_any(hit!(words, true))));
            }
        }
    };
}

fn words(status: &[AttemptStatus]) -> Vec<&'static str> {
    status.iter().map(|status| status.as_str()).collect()
}

fn reasons(reasons: &[Reason]) -> Vec<&'static str> {
    reasons.iter().map(|reason| reason.as_str()).collect()
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

/// SQL that both databases know, and the same of a row that was read.
type SortKey = (&'static str, fn(&HostRow) -> String);

/// What the fleet is listed by besides the name.
fn sort_key(order: HostOrder) -> Option<SortKey> {
    Some(match order {
        HostOrder::Name => return None,
        HostOrder::State => (
            "(CASE WHEN hosts.needs_attention THEN '0' WHEN hosts.health = 'unhealthy' THEN '1' \
             WHEN hosts.health = 'inactive' THEN '2' WHEN hosts.health = 'unreachable' THEN '3' \
             WHEN hosts.health = 'unknown' THEN '4' ELSE '5' END)",
            |row| {
                let rank = match row.health.as_str() {
                    _ if row.needs_attention => "0",
                    "unhealthy" => "1",
                    "inactive" => "2",
                    "unreachable" => "3",
                    "unknown" => "4",
                    _ => "5",
                };
                rank.to_owned()
            },
        ),
        HostOrder::Version => ("coalesce(hosts.current_version, '')", |row| {
            row.current_version.clone().unwrap_or_default()
        }),
        // As texts of one length, so that one kind of cursor does for all.
        HostOrder::LastUpdate => (
            "coalesce(CAST(1000000000000000 + hosts.last_update_at AS TEXT), '')",
            |row| {
                let padded = |at: i64| at.saturating_add(1_000_000_000_000_000).to_string();
                row.last_update_at.map_or_else(String::new, padded)
            },
        ),
    })
}

/// The fleet by name, or by something else and then by name; the cursor is what the last host was listed by.
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
            if !query.reason.is_empty() {
                let reasons = reasons(&query.reason);
                rows = rows.filter(attempts::reason.nullable().eq_any(reasons));
            }
            if let Some(needed) = query.needs_attention {
                rows = rows.filter(hosts::needs_attention.eq(needed));
            }
            matching!(rows, query);
            rows
        }};
    }
    let total: i64 = match query.uncounted {
        true => 0,
        false => chosen!(count_star()).get_result(conn)?,
    };
    let mut rows = chosen!((HostRow::as_select(), Option::<AttemptRow>::as_select()));
    let key = sort_key(query.order);
    match (key, &query.after) {
        (_, None) => {}
        (None, Some(name)) if query.descending => {
            rows = rows.filter(hosts::name.lt(name.clone()));
        }
        (None, Some(name)) => rows = rows.filter(hosts::name.gt(name.clone())),
        (Some((key, _)), Some(after)) => {
            // A name has no slash. Of a cursor that was never given out, the whole is taken for the name.
            let (at, name) = after.rsplit_once('/').unwrap_or(("", after));
            let same = sql::<Text>(key).eq(at.to_owned());
            rows = if query.descending {
                let behind = same.and(hosts::name.lt(name.to_owned()));
                rows.filter(sql::<Text>(key).lt(at.to_owned()).or(behind))
            } else {
                let behind = same.and(hosts::name.gt(name.to_owned()));
                rows.filter(sql::<Text>(key).gt(at.to_owned()).or(behind))
            };
        }
    }
    if let Some((key, _)) = key {
        rows = if query.descending {
            rows.order(sql::<Text>(key).desc())
        } else {
            rows.order(sql::<Text>(key).asc())
        };
    }
    rows = if query.descending {
        rows.then_order_by(hosts::name.desc())
    } else {
        rows.then_order_by(hosts::name.asc())
    };
    let mut found: Vec<(HostRow, Option<AttemptRow>)> =
        rows.limit(i64::from(limit) + 1).load(conn)?;
    let more = cut(&mut found, limit);
    let next = found.last().filter(|_| more).map(|(host, _)| match key {
        Some((_, of)) => format!("{}/{}", of(host), host.name),
        None => host.name.clone(),
    });
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
            if !query.reason.is_empty() {
                rows = rows.filter(attempts::reason.eq_any(reasons(&query.reason)));
            }
            if let Some(needed) = query.needs_attention {
                rows = rows.filter(attempts::needs_attention.eq(needed));
            }
            if query.in_fleet {
                rows = rows.filter(hosts::removed_at.is_null());
            }
            if let Some(stage) = query.stage {
                rows = rows.filter(attempts::stage.eq(i64::from(stage)));
            }
            matching!(rows, query);
            rows
        }};
    }
    let total: i64 = match query.uncounted {
        true => 0,
        false => chosen!(count_star()).get_result(conn)?,
    };
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
            name: word("attempts", &row.name)?,
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
