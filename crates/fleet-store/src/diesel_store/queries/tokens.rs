//! Tokens of programs.

use diesel::prelude::*;
use fleet_types::{Role, TokenId};

use super::{Conn, audit};
use crate::diesel_store::access_rows::{TokenRow, hex};
use crate::diesel_store::schema::{meta, tokens, users};
use crate::diesel_store::work::{Answer, Work, refuse};
use crate::error::AccessError;
use crate::records::{Actor, NewToken, SecretHash, TokenRecord};

pub(crate) fn token_create(
    conn: &mut Conn,
    work: &mut Work,
    token: &NewToken,
    actor: &Actor,
) -> Answer<TokenRecord, AccessError> {
    // All that name tokens lock this row first, so that no two find the same name free.
    let _: i64 = locked!(meta::table.select(meta::id)).get_result(conn)?;
    let now = work.now().0;
    let in_force: i64 = tokens::table
        .filter(tokens::name.eq(token.name.as_str()))
        .filter(tokens::revoked_at.is_null())
        .filter(tokens::expires_at.is_null().or(tokens::expires_at.gt(now)))
        .count()
        .get_result(conn)?;
    if in_force > 0 {
        return refuse(AccessError::Duplicate {
            what: "token",
            name: token.name.to_string(),
        });
    }
    // Whoever changes things is known by name, so a program must not pass for a person. An owner's token bears the name of
    // the owner, and can change nothing.
    let person: i64 = users::table
        .filter(users::name.eq(token.name.as_str()))
        .count()
        .get_result(conn)?;
    if person > 0 && token.role != Role::Owner {
        return refuse(AccessError::Duplicate {
            what: "user",
            name: token.name.to_string(),
        });
    }
    let login = behind(conn, &actor.name)?;
    let row = TokenRow::new(token, actor, login, work.now());
    diesel::insert_into(tokens::table)
        .values(&row)
        .execute(conn)?;
    let detail = Some(format!("role {}, id {}", token.role, token.id));
    let name = Some(token.name.as_str());
    audit::done(conn, work, actor, "token.create", name, detail)?;
    Ok(row.record()?)
}

/// The person who acts under this name: themselves, or whoever the token of this name goes back to.
fn behind(conn: &mut Conn, actor: &str) -> QueryResult<Option<String>> {
    let person: Option<String> = users::table
        .find(actor)
        .select(users::name)
        .get_result(conn)
        .optional()?;
    if person.is_some() {
        return Ok(person);
    }
    let named: Vec<Option<String>> = tokens::table
        .filter(tokens::name.eq(actor))
        .filter(tokens::revoked_at.is_null())
        .order((tokens::created_at.desc(), tokens::id.desc()))
        .select(tokens::login)
        .load(conn)?;
    Ok(named.into_iter().next().flatten())
}

pub(crate) fn token_find(
    conn: &mut Conn,
    work: &mut Work,
    secret: &SecretHash,
) -> Answer<Option<TokenRecord>> {
    let locked_out = users::table
        .filter(
            users::name
                .nullable()
                .eq(tokens::login)
                .or(users::name.eq(tokens::created_by)),
        )
        .filter(users::disabled_at.is_not_null());
    let row: Option<TokenRow> = tokens::table
        .filter(tokens::secret.eq(hex(secret)))
        .filter(tokens::revoked_at.is_null())
        .filter(
            tokens::expires_at
                .is_null()
                .or(tokens::expires_at.gt(work.now().0)),
        )
        .filter(diesel::dsl::not(diesel::dsl::exists(locked_out)))
        .select(TokenRow::as_select())
        .get_result(conn)
        .optional()?;
    Ok(row.as_ref().map(TokenRow::record).transpose()?)
}

pub(crate) fn token_touch(conn: &mut Conn, work: &mut Work, id: TokenId) -> Answer<()> {
    diesel::update(tokens::table.find(id.to_string()))
        .set(tokens::last_used_at.eq(work.now().0))
        .execute(conn)?;
    Ok(())
}

pub(crate) fn token_list(conn: &mut Conn, _: &mut Work) -> Answer<Vec<TokenRecord>> {
    let rows: Vec<TokenRow> = tokens::table
        .order((tokens::created_at.desc(), tokens::id.desc()))
        .select(TokenRow::as_select())
        .load(conn)?;
    Ok(rows
        .iter()
        .map(TokenRow::record)
        .collect::<Result<_, _>>()?)
}

pub(crate) fn token_revoke(
    conn: &mut Conn,
    work: &mut Work,
    id: TokenId,
    actor: &Actor,
) -> Answer<(), AccessError> {
    let row: Option<TokenRow> = locked!(
        tokens::table
            .find(id.to_string())
            .select(TokenRow::as_select())
    )
    .get_result(conn)
    .optional()?;
    let Some(row) = row else {
        return refuse(AccessError::Unknown {
            what: "token",
            name: id.to_string(),
        });
    };
    if row.revoked_at.is_some() {
        return Ok(());
    }
    diesel::update(tokens::table.find(id.to_string()))
        .set(tokens::revoked_at.eq(work.now().0))
        .execute(conn)?;
    let detail = Some(format!("id {id}"));
    audit::done(conn, work, actor, "token.revoke", Some(&row.name), detail)?;
    Ok(())
}
