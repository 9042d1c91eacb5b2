//! Sessions of people.

use diesel::prelude::*;
use fleet_types::{LoginName, Timestamp};

use super::{Conn, audit};
use crate::diesel_store::access_rows::{SessionRow, hex};
use crate::diesel_store::schema::{sessions, users};
use crate::diesel_store::work::{Answer, Work, millis, refuse, widen};
use crate::error::AccessError;
use crate::records::{
    Actor, NewSession, SecretHash, SessionId, SessionRecord, SessionTimes, WhichSessions,
};

/// A session that was not used for this long is forgotten, whatever the times say: 90 days.
const KEPT: i64 = 90 * 24 * 3_600_000;

/// So many sessions one person has; beyond that, those end that were not used for the longest time.
const MOST_OPEN: i64 = 100;
/// At most so many end for one that begins.
const MOST_ENDED: i64 = 10;

pub(crate) fn session_open(
    conn: &mut Conn,
    work: &mut Work,
    new: &NewSession,
    actor: &Actor,
) -> Answer<(), AccessError> {
    let now = work.now().0;
    let theirs = users::table
        .filter(users::name.eq(new.user.as_str()))
        .filter(users::disabled_at.is_null());
    let signed_in = match &new.checked {
        None => diesel::update(theirs)
            .set(users::last_sign_in_at.eq(now))
            .execute(conn)?,
        // It may have been changed since it was looked at, which ends what it opens.
        Some(checked) => diesel::update(theirs.filter(users::password.eq(&checked.0)))
            .set(users::last_sign_in_at.eq(now))
            .execute(conn)?,
    };
    if signed_in == 0 {
        return refuse(AccessError::Unknown {
            what: "user",
            name: new.user.to_string(),
        });
    }
    let forgotten = sessions::last_used_at.lt(now.saturating_sub(KEPT));
    diesel::delete(sessions::table.filter(forgotten)).execute(conn)?;
    let row = SessionRow {
        id: new.id.0.to_string(),
        secret: hex(&new.secret),
        user_name: new.user.to_string(),
        source: audit::plain(&new.source),
        created_at: now,
        last_used_at: now,
    };
    diesel::insert_into(sessions::table)
        .values(&row)
        .execute(conn)?;
    audit::done(
        conn,
        work,
        actor,
        "session.open",
        Some(new.user.as_str()),
        None,
    )?;
    end_surplus(conn, work, &row, actor)
}

/// Ends sessions of a person who has too many, not the one that has just begun. Their row is locked.
fn end_surplus(
    conn: &mut Conn,
    work: &mut Work,
    new: &SessionRow,
    actor: &Actor,
) -> Answer<(), AccessError> {
    let others = || {
        sessions::table
            .filter(sessions::user_name.eq(&new.user_name))
            .filter(sessions::id.ne(&new.id))
    };
    let count: i64 = others().count().get_result(conn)?;
    let surplus = (count + 1 - MOST_OPEN).min(MOST_ENDED);
    if surplus <= 0 {
        return Ok(());
    }
    let unused = others()
        .order((sessions::last_used_at, sessions::id))
        .select((sessions::id, sessions::created_at, sessions::source));
    let unused: Vec<(String, i64, String)> = at_most!(conn, unused, surplus)?;
    for (id, created_at, source) in unused {
        diesel::delete(sessions::table.find(id)).execute(conn)?;
        let begun = Timestamp(created_at);
        let detail = format!("begun {begun} from {source}; more than {MOST_OPEN} were open");
        let subject = Some(new.user_name.as_str());
        audit::done(conn, work, actor, "session.end", subject, Some(detail))?;
    }
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
        audit::done(conn, work, actor, "session.end", Some(&user), None)?;
    }
    Ok(())
}

/// Whoever opens, or ends several, locks the person first: of two sessions that end all others, one finds itself ended.
pub(crate) fn session_end_of(
    conn: &mut Conn,
    work: &mut Work,
    name: &LoginName,
    which: WhichSessions,
    times: SessionTimes,
    actor: &Actor,
) -> Answer<u32, AccessError> {
    let unknown = |what, name| refuse(AccessError::Unknown { what, name });
    let person: Option<String> = locked!(users::table.find(name.as_str()).select(users::name))
        .get_result(conn)
        .optional()?;
    if person.is_none() {
        return unknown("user", name.to_string());
    }
    let open = session_list(conn, work, name, times);
    let open = widen::<_, AccessError>(open)?;
    if let WhichSessions::One(named) | WhichSessions::AllBut(named) = which
        && !open.iter().any(|session| session.id == named)
    {
        return unknown("session", named.0.to_string());
    }
    let mut ended = 0;
    for session in open.iter().filter(|session| which.holds(session.id)) {
        let row = sessions::table.find(session.id.0.to_string());
        if diesel::delete(row).execute(conn)? > 0 {
            let detail = format!("begun {} from {}", session.created_at, session.source);
            let subject = Some(name.as_str());
            audit::done(conn, work, actor, "session.end", subject, Some(detail))?;
            ended += 1;
        }
    }
    if !matches!(which, WhichSessions::One(_)) {
        // What is over by itself is no news, but must not be open again when the clock is set back.
        let (begun, used) = bounds(work, times);
        let over = sessions::created_at
            .le(begun)
            .or(sessions::last_used_at.le(used));
        let theirs = sessions::table.filter(sessions::user_name.eq(name.as_str()));
        diesel::delete(theirs.filter(over)).execute(conn)?;
    }
    Ok(ended)
}
