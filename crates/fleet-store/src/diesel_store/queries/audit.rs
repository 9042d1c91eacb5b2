//! The audit trail. A change writes its row in its own transaction.

use diesel::prelude::*;
use fleet_types::{AuditResult, printable};

use super::{Conn, Db};
use crate::diesel_store::access_rows::{AuditRow, NewAuditRow};
use crate::diesel_store::schema::audit;
use crate::diesel_store::work::{Answer, Work};
use crate::records::{Actor, AuditId, AuditQuery, AuditRecord, NewAudit};

/// What anybody could make long is cut to this.
const LONGEST: usize = 500;

/// At most this many rows at once.
const LARGEST_PAGE: u32 = 1000;

/// A change was made: who made it, and on what.
pub(super) fn done(
    conn: &mut Conn,
    work: &Work,
    actor: &Actor,
    action: &str,
    subject: Option<&str>,
    detail: Option<String>,
) -> QueryResult<()> {
    let entry = NewAudit {
        actor: actor.clone(),
        action: action.to_owned(),
        subject: subject.map(ToOwned::to_owned),
        result: AuditResult::Done,
        detail,
    };
    write(conn, work, &entry).map(|_| ())
}

/// A host showed another key than the pinned ones, so that it was left alone: somebody may stand in its place.
pub(super) fn host_key_changed(
    conn: &mut Conn,
    work: &Work,
    finder: &str,
    name: &str,
    machine: &str,
    detail: &str,
) -> QueryResult<()> {
    let entry = NewAudit {
        actor: Actor::new(finder, machine),
        action: "host.key_changed".to_owned(),
        subject: Some(name.to_owned()),
        result: AuditResult::Denied,
        detail: Some(detail.to_owned()),
    };
    write(conn, work, &entry).map(|_| ())
}

fn write(conn: &mut Conn, work: &Work, entry: &NewAudit) -> QueryResult<i64> {
    let row = NewAuditRow {
        at: work.now().0,
        actor: plain(&entry.actor.name),
        source: plain(&entry.actor.source),
        action: plain(&entry.action),
        subject: entry.subject.as_deref().map(plain),
        result: entry.result.as_str().to_owned(),
        detail: entry.detail.as_deref().map(plain),
    };
    diesel::insert_into(audit::table)
        .values(row)
        .returning(audit::id)
        .get_result(conn)
}

/// One printable line of bounded length.
pub(super) fn plain(text: &str) -> String {
    let short: String = text.chars().take(LONGEST).collect();
    let line = printable(&short).replace('\n', "\\n");
    line.chars().take(LONGEST).collect()
}

pub(crate) fn audit_note(conn: &mut Conn, work: &mut Work, entry: &NewAudit) -> Answer<AuditId> {
    Ok(AuditId(write(conn, work, entry)?))
}

pub(crate) fn audit_list(
    conn: &mut Conn,
    _: &mut Work,
    query: &AuditQuery,
) -> Answer<Vec<AuditRecord>> {
    let mut rows = audit::table
        .order(audit::id.desc())
        .limit(i64::from(query.limit.clamp(1, LARGEST_PAGE)))
        .select(AuditRow::as_select())
        .into_boxed::<Db>();
    if let Some(before) = query.before {
        rows = rows.filter(audit::id.lt(before.0));
    }
    if let Some(actor) = &query.actor {
        rows = rows.filter(audit::actor.eq(plain(actor)));
    }
    if let Some(action) = &query.action {
        rows = rows.filter(audit::action.eq(plain(action)));
    }
    if let Some(since) = query.since {
        rows = rows.filter(audit::at.ge(since.0));
    }
    let rows: Vec<AuditRow> = rows.load(conn)?;
    let records = rows.into_iter().map(AuditRow::record);
    Ok(records.collect::<Result<_, _>>()?)
}
