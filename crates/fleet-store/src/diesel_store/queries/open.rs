//! The schema, when a store is opened.

use diesel::prelude::*;
use diesel_migrations::MigrationHarness;

use super::{Conn, Db, has_table, workers};
use crate::diesel_store::migrations::{Migrations, refused, schema};
use crate::diesel_store::schema::{compatibility, feed, meta, migrations_run};
use crate::diesel_store::work::{Trouble, Work};
use crate::error::StoreError;
use crate::records::Schema;

/// Which store this is, when nothing is left to do about its schema: then nothing needs to be locked.
pub(crate) fn settled(
    conn: &mut Conn,
    work: &mut Work,
    migrations: &Migrations,
) -> Result<Option<String>, Trouble> {
    if !has_table(conn, "__diesel_schema_migrations")? {
        return Ok(None);
    }
    if !pending(conn, work, migrations)?.is_empty() {
        return Ok(None);
    }
    Ok(meta::table
        .select(meta::store_id)
        .get_result(conn)
        .optional()?)
}

/// Brings the schema to today's and gives a new store its id. In a transaction that keeps others out.
pub(crate) fn migrate(
    conn: &mut Conn,
    work: &mut Work,
    migrations: &Migrations,
) -> Result<String, Trouble> {
    use diesel::migration::MigrationConnection;
    conn.setup()?;
    let before = compatible_since(conn)?;
    for migration in pending(conn, work, migrations)? {
        conn.run_migration(&*migration).map_err(refused)?;
    }
    if let Some(before) = before {
        spare_older(conn, work, before)?;
    }
    let id = work.inputs.clock.fresh_id().to_string();
    diesel::insert_into(meta::table)
        .values((
            meta::id.eq(1),
            meta::store_id.eq(id),
            meta::created_at.eq(work.now().0),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(meta::table.select(meta::store_id).get_result(conn)?)
}

/// The number of the last event.
pub(crate) fn last_seq(conn: &mut Conn) -> QueryResult<i64> {
    feed::table.select(feed::seq).get_result(conn)
}

type Pending = Vec<Box<dyn diesel::migration::Migration<Db>>>;

/// What is still to be run, oldest first: nothing on a schema that is newer than what this program knows. Refuses one
/// that it must not work on.
fn pending(conn: &mut Conn, work: &mut Work, migrations: &Migrations) -> Result<Pending, Trouble> {
    let known = work.inputs.schema;
    let applied = applied(conn)?;
    let found = newest(&applied)?;
    work.schema
        .get_or_insert((found, found.map_or(known, |found| found.max(known))));
    let mut ours = migrations.all::<Db>()?;
    ours.retain(|migration| !applied.contains(&migration.name().version().to_string()));
    if found.is_some_and(|found| found > known) {
        // One of ours that is missing there is of another history.
        let compatible = ours.is_empty() && compatible_since(conn)?.is_some_and(|it| it <= known);
        if !compatible {
            return Err(too_new(conn, work)?);
        }
    }
    Ok(ours)
}

/// The migrations that were run. diesel's own way to ask makes the table first, for which some may not have the right.
fn applied(conn: &mut Conn) -> QueryResult<Vec<String>> {
    migrations_run::table
        .select(migrations_run::version)
        .load(conn)
}

fn newest(applied: &[String]) -> Result<Option<Schema>, Trouble> {
    let numbers: Result<Vec<Schema>, Trouble> =
        applied.iter().map(|version| schema(version)).collect();
    Ok(numbers?.into_iter().max())
}

/// The schema that the database has.
pub(crate) fn found(conn: &mut Conn) -> Result<Schema, Trouble> {
    Ok(newest(&applied(conn)?)?.unwrap_or_default())
}

/// The oldest schema that a program must know; none where it is not kept yet.
fn compatible_since(conn: &mut Conn) -> QueryResult<Option<Schema>> {
    if !has_table(conn, "compatibility")? {
        return Ok(None);
    }
    let since: Option<i64> = compatibility::table
        .select(compatibility::since)
        .get_result(conn)
        .optional()?;
    Ok(since.map(Schema))
}

fn too_new(conn: &mut Conn, work: &Work) -> Result<Trouble, Trouble> {
    let found = found(conn)?;
    Ok(Trouble::Known(StoreError::TooNew {
        database: work.inputs.database.clone(),
        found,
        since: compatible_since(conn)?.unwrap_or(found),
        known: work.inputs.schema,
    }))
}

/// Refuses once the schema has gone on so far that this program must not work on it any more. Under a lock: a migration
/// that raises the mark sees those who registered before, or is seen.
pub(crate) fn require_compatible(conn: &mut Conn, work: &Work) -> Result<(), Trouble> {
    let since: i64 = locked!(compatibility::table.select(compatibility::since)).get_result(conn)?;
    if Schema(since) > work.inputs.schema {
        return Err(too_new(conn, work)?);
    }
    Ok(())
}

/// Refuses when another fleet was imported since the store was opened: hosts would be told of the one that was there before.
pub(crate) fn require_same_store(conn: &mut Conn, work: &Work) -> Result<(), Trouble> {
    let found: String = meta::table.select(meta::store_id).get_result(conn)?;
    match work.inputs.store.get() {
        Some(opened) if *opened != found => Err(Trouble::Known(StoreError::Replaced {
            database: work.inputs.database.clone(),
        })),
        _ => Ok(()),
    }
}

/// Programs that are at work do not notice at once that the schema is none of theirs any more: none may be.
fn spare_older(conn: &mut Conn, work: &mut Work, before: Schema) -> Result<(), Trouble> {
    let since = compatible_since(conn)?.unwrap_or(before);
    if since <= before {
        return Ok(());
    }
    let mut older = workers::alive(conn, work)?;
    older.retain(|worker| Schema(worker.schema) < since);
    if older.is_empty() {
        return Ok(());
    }
    let labels: Vec<String> = older.into_iter().map(|worker| worker.label).collect();
    Err(Trouble::Known(StoreError::OlderAtWork {
        database: work.inputs.database.clone(),
        since,
        workers: labels.join(", "),
    }))
}
