//! People, and how the first admin comes in.

use diesel::prelude::*;
use fleet_types::{Invalid, LoginName, Role, Timestamp};

use super::{Conn, audit};
use crate::diesel_store::access_rows::{UserRow, hex};
use crate::diesel_store::schema::{meta, sessions, setup, tokens, users};
use crate::diesel_store::work::{Answer, Work, refuse};
use crate::error::AccessError;
use crate::records::{Actor, NewUser, PasswordHash, SecretHash, UserRecord};

fn unknown<T>(name: &LoginName) -> Answer<T, AccessError> {
    refuse(AccessError::Unknown {
        what: "user",
        name: name.to_string(),
    })
}

pub(crate) fn user_add(
    conn: &mut Conn,
    work: &mut Work,
    user: &NewUser,
    actor: &Actor,
) -> Answer<UserRecord, AccessError> {
    insert(conn, work, user, actor, "user.add")
}

fn insert(
    conn: &mut Conn,
    work: &mut Work,
    user: &NewUser,
    actor: &Actor,
    action: &str,
) -> Answer<UserRecord, AccessError> {
    // As all that name tokens do: a person and a program that come at once must not both find the name free.
    let _: i64 = locked!(meta::table.select(meta::id)).get_result(conn)?;
    let there: i64 = users::table
        .filter(users::name.eq(user.name.as_str()))
        .count()
        .get_result(conn)?;
    if there > 0 {
        return refuse(AccessError::Duplicate {
            what: "user",
            name: user.name.to_string(),
        });
    }
    let programs: i64 = tokens::table
        .filter(tokens::name.eq(user.name.as_str()))
        .filter(tokens::role.ne(Role::Owner.as_str()))
        .filter(tokens::revoked_at.is_null())
        .count()
        .get_result(conn)?;
    if programs > 0 {
        return refuse(AccessError::Duplicate {
            what: "token",
            name: user.name.to_string(),
        });
    }
    let row = UserRow::new(user, work.now());
    diesel::insert_into(users::table)
        .values(&row)
        .execute(conn)?;
    let detail = Some(format!("role {}", user.role));
    audit::done(conn, work, actor, action, Some(user.name.as_str()), detail)?;
    Ok(row.record()?)
}

pub(crate) fn user_get(
    conn: &mut Conn,
    _: &mut Work,
    name: &LoginName,
) -> Answer<Option<UserRecord>> {
    let row: Option<UserRow> = users::table
        .find(name.as_str())
        .select(UserRow::as_select())
        .get_result(conn)
        .optional()?;
    Ok(row.as_ref().map(UserRow::record).transpose()?)
}

pub(crate) fn user_list(conn: &mut Conn, _: &mut Work) -> Answer<Vec<UserRecord>> {
    let rows: Vec<UserRow> = users::table
        .order(users::name)
        .select(UserRow::as_select())
        .load(conn)?;
    Ok(rows.iter().map(UserRow::record).collect::<Result<_, _>>()?)
}

pub(crate) fn user_set_password(
    conn: &mut Conn,
    work: &mut Work,
    name: &LoginName,
    password: &PasswordHash,
    actor: &Actor,
) -> Answer<(), AccessError> {
    let changed = diesel::update(users::table.find(name.as_str()))
        .set(users::password.eq(&password.0))
        .execute(conn)?;
    if changed == 0 {
        return unknown(name);
    }
    after_password(conn, work, name, actor)
}

pub(crate) fn user_change_password(
    conn: &mut Conn,
    work: &mut Work,
    name: &LoginName,
    known: &PasswordHash,
    password: &PasswordHash,
    actor: &Actor,
) -> Answer<bool, AccessError> {
    let as_known = users::table
        .find(name.as_str())
        .filter(users::disabled_at.is_null())
        .filter(users::password.eq(&known.0));
    let changed = diesel::update(as_known)
        .set(users::password.eq(&password.0))
        .execute(conn)?;
    if changed > 0 {
        after_password(conn, work, name, actor)?;
    }
    Ok(changed > 0)
}

fn after_password(
    conn: &mut Conn,
    work: &mut Work,
    name: &LoginName,
    actor: &Actor,
) -> Answer<(), AccessError> {
    end_sessions(conn, name)?;
    audit::done(
        conn,
        work,
        actor,
        "user.password",
        Some(name.as_str()),
        None,
    )?;
    Ok(())
}

fn end_sessions(conn: &mut Conn, name: &LoginName) -> QueryResult<usize> {
    diesel::delete(sessions::table.filter(sessions::user_name.eq(name.as_str()))).execute(conn)
}

/// The admins who can sign in. Locked in one order, so that two of them cannot lock each other out.
fn admins(conn: &mut Conn) -> QueryResult<Vec<String>> {
    locked!(
        users::table
            .filter(users::role.eq(Role::Admin.as_str()))
            .filter(users::disabled_at.is_null())
            .filter(users::password.is_not_null())
            .order(users::name)
            .select(users::name)
    )
    .load(conn)
}

pub(crate) fn user_disable(
    conn: &mut Conn,
    work: &mut Work,
    name: &LoginName,
    disabled: bool,
    actor: &Actor,
) -> Answer<(), AccessError> {
    let admins = admins(conn)?;
    let row: Option<UserRow> = locked!(
        users::table
            .find(name.as_str())
            .select(UserRow::as_select())
    )
    .get_result(conn)
    .optional()?;
    let Some(row) = row else { return unknown(name) };
    if row.disabled_at.is_some() == disabled {
        return Ok(());
    }
    if disabled && admins == [name.as_str()] {
        return refuse(AccessError::LastAdmin {
            name: name.to_string(),
        });
    }
    let at = disabled.then(|| work.now().0);
    diesel::update(users::table.find(name.as_str()))
        .set(users::disabled_at.eq(at))
        .execute(conn)?;
    let action = if disabled {
        end_sessions(conn, name)?;
        "user.disable"
    } else {
        "user.enable"
    };
    audit::done(conn, work, actor, action, Some(name.as_str()), None)?;
    Ok(())
}

pub(crate) fn setup_offer(
    conn: &mut Conn,
    _: &mut Work,
    secret: &SecretHash,
    expires_at: Timestamp,
) -> Answer<bool> {
    if !admins(conn)?.is_empty() {
        return Ok(false);
    }
    let secret = hex(secret);
    diesel::insert_into(setup::table)
        .values((
            setup::id.eq(1),
            setup::secret.eq(&secret),
            setup::expires_at.eq(expires_at.0),
        ))
        .on_conflict(setup::id)
        .do_update()
        .set((
            setup::secret.eq(&secret),
            setup::expires_at.eq(expires_at.0),
        ))
        .execute(conn)?;
    Ok(true)
}

pub(crate) fn setup_claim(
    conn: &mut Conn,
    work: &mut Work,
    secret: &SecretHash,
    user: &NewUser,
    actor: &Actor,
) -> Answer<UserRecord, AccessError> {
    if user.password.is_none() {
        // The offer would be used up, and still nobody could sign in.
        let why = "needs a password to sign in with";
        return refuse(Invalid::new("first admin", user.name.as_str(), why));
    }
    // Of several who come at once, one removes the row.
    let taken = diesel::delete(
        setup::table
            .filter(setup::secret.eq(hex(secret)))
            .filter(setup::expires_at.gt(work.now().0)),
    )
    .execute(conn)?;
    if taken == 0 || !admins(conn)?.is_empty() {
        return refuse(AccessError::SetupOver);
    }
    let user = NewUser {
        role: Role::Admin,
        ..user.clone()
    };
    insert(conn, work, &user, actor, "user.setup")
}
