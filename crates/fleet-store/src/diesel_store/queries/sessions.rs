//! Sessions of people, and the back-off of tries to sign in.

use diesel::prelude::*;
use fleet_types::LoginName;

use super::{Conn, audit};
use crate::api::sign_in_delay;
use crate::diesel_store::access_rows::{SessionRow, hex};
use crate::diesel_store::schema::{sessions, sign_in_failures, users};
use crate::diesel_store::work::{Answer, Work, millis, refuse};
use crate::error::AccessError;
use crate::records::{Actor, NewSession, SecretHash, SessionId, SessionRecord, SessionTimes};

/// Failures are forgotten after this long without a try.
const FORGOTTEN: i64 = 15 * 60_000;

/// Failures of a source over all accounts that cost nothing: many people may sit behind one address.
const FREE_OF_SOURCE: i64 = 45;

/// Expired rows are looked for when so many failures are on record.
const SWEEP: i64 = 1000;

pub(crate) fn session_open(
    conn: &mut Conn,
    work: &mut Work,
    new: &NewSession,
    actor: &Actor,
) -> Answer<(), AccessError> {
    let now = work.now().0;
    let signed_in = diesel::update(
        users::table
            .filter(users::name.eq(new.user.as_str()))
            .filter(users::disabled_at.is_null()),
    )
    .set(users::last_sign_in_at.eq(now))
    .execute(conn)?;
    if signed_in == 0 {
        return refuse(AccessError::Unknown {
            what: "user",
            name: new.user.to_string(),
        });
    }
    let row = SessionRow {
        id: new.id.0.to_string(),
        secret: hex(&new.secret),
        user_name: new.user.to_string(),
        source: new.source.chars().take(100).collect(),
        created_at: now,
        last_used_at: now,
    };
    diesel::insert_into(sessions::table)
        .values(&row)
        .execute(conn)?;
    audit::done(conn, work, actor, "session.open", &new.user, None)?;
    Ok(())
}

/// The times after which a session must have begun and been used.
fn bounds(work: &Work, times: SessionTimes) -> (i64, i64) {
    let now = work.now().0;
    (
        now.saturating_sub(millis(times.absolute)),
        now.saturating_sub(millis(times.idle)),
    )
}

pub(crate) fn session_find(
    conn: &mut Conn,
    work: &mut Work,
    secret: &SecretHash,
    times: SessionTimes,
) -> Answer<Option<SessionRecord>> {
    let (begun, used) = bounds(work, times);
    let found: Option<(SessionRow, String)> = sessions::table
        .inner_join(users::table.on(users::name.eq(sessions::user_name)))
        .filter(sessions::secret.eq(hex(secret)))
        .filter(sessions::created_at.gt(begun))
        .filter(sessions::last_used_at.gt(used))
        .filter(users::disabled_at.is_null())
        .select((SessionRow::as_select(), users::role))
        .get_result(conn)
        .optional()?;
    let record = found.map(|(row, role)| row.record(&role));
    Ok(record.transpose()?)
}

pub(crate) fn session_touch(conn: &mut Conn, work: &mut Work, id: SessionId) -> Answer<()> {
    diesel::update(sessions::table.find(id.0.to_string()))
        .set(sessions::last_used_at.eq(work.now().0))
        .execute(conn)?;
    Ok(())
}

pub(crate) fn session_list(
    conn: &mut Conn,
    work: &mut Work,
    name: &LoginName,
    times: SessionTimes,
) -> Answer<Vec<SessionRecord>> {
    let (begun, used) = bounds(work, times);
    let rows: Vec<(SessionRow, String)> = sessions::table
        .inner_join(users::table.on(users::name.eq(sessions::user_name)))
        .filter(sessions::user_name.eq(name.as_str()))
        .filter(sessions::created_at.gt(begun))
        .filter(sessions::last_used_at.gt(used))
        .order((sessions::created_at.desc(), sessions::id.desc()))
        .select((SessionRow::as_select(), users::role))
        .load(conn)?;
    let records = rows.iter().map(|(row, role)| row.record(role));
    Ok(records.collect::<Result<_, _>>()?)
}

pub(crate) fn session_end(
    conn: &mut Conn,
    work: &mut Work,
    id: SessionId,
    actor: &Actor,
) -> Answer<()> {
    let user: Option<String> = diesel::delete(sessions::table.find(id.0.to_string()))
        .returning(sessions::user_name)
        .get_result(conn)
        .optional()?;
    if let Some(user) = user {
        audit::done(conn, work, actor, "session.end", user, None)?;
    }
    Ok(())
}

/// The rows that a try is counted in: that of the pair, and that of the source. Bounded, whatever was typed.
fn counters(account: &str, source: &str) -> [String; 2] {
    let short = |text: &str| -> String {
        let plain = fleet_types::printable(text);
        plain.chars().take(100).collect()
    };
    let source = short(source);
    [
        format!("pair {source} {}", short(account)),
        format!("source {source}"),
    ]
}

/// Failures of one counter that still count, and when the last one was. Its row is locked, and there afterwards.
fn failures(conn: &mut Conn, what: &str, now: i64) -> QueryResult<(i64, i64)> {
    diesel::insert_into(sign_in_failures::table)
        .values((
            sign_in_failures::what.eq(what),
            sign_in_failures::failures.eq(0),
            sign_in_failures::last_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    let (failures, last): (i64, i64) = locked!(
        sign_in_failures::table
            .find(what)
            .select((sign_in_failures::failures, sign_in_failures::last_at))
    )
    .get_result(conn)?;
    let forgotten = now.saturating_sub(last) > FORGOTTEN;
    Ok((if forgotten { 0 } else { failures }, last))
}

pub(crate) fn sign_in_try(
    conn: &mut Conn,
    work: &mut Work,
    account: &str,
    source: &str,
) -> Answer<(), AccessError> {
    let now = work.now().0;
    forget_old(conn, now)?;
    // The source's row first, always: two tries cannot wait for each other in a circle.
    let [pair, source] = counters(account, source);
    let mut counts = Vec::new();
    for (what, free) in [(source, FREE_OF_SOURCE), (pair, 0)] {
        let (failures, last) = failures(conn, &what, now)?;
        let over = u32::try_from((failures - free).max(0)).unwrap_or(u32::MAX);
        let waited = u64::try_from(now.saturating_sub(last).max(0)).unwrap_or(0);
        let wait = sign_in_delay(over).saturating_sub(std::time::Duration::from_millis(waited));
        if !wait.is_zero() {
            return refuse(AccessError::TooManyTries { wait });
        }
        counts.push((what, failures + 1));
    }
    for (what, failures) in counts {
        diesel::update(sign_in_failures::table.find(what))
            .set((
                sign_in_failures::failures.eq(failures),
                sign_in_failures::last_at.eq(now),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Keeps the table small when somebody tries many names.
fn forget_old(conn: &mut Conn, now: i64) -> QueryResult<()> {
    let rows: i64 = sign_in_failures::table.count().get_result(conn)?;
    if rows > SWEEP {
        let old = sign_in_failures::last_at.lt(now.saturating_sub(FORGOTTEN));
        diesel::delete(sign_in_failures::table.filter(old)).execute(conn)?;
    }
    Ok(())
}

pub(crate) fn sign_in_done(
    conn: &mut Conn,
    _: &mut Work,
    account: &str,
    source: &str,
) -> Answer<()> {
    let [pair, source] = counters(account, source);
    let forgiven: Option<i64> = diesel::delete(sign_in_failures::table.find(pair))
        .returning(sign_in_failures::failures)
        .get_result(conn)
        .optional()?;
    // What people mistype before they get in is not held against their address.
    if let Some(forgiven) = forgiven {
        diesel::update(
            sign_in_failures::table
                .find(source)
                .filter(sign_in_failures::failures.ge(forgiven)),
        )
        .set(sign_in_failures::failures.eq(sign_in_failures::failures - forgiven))
        .execute(conn)?;
    }
    Ok(())
}
