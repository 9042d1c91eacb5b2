//! The schema, when a store is opened.

use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use super::{Conn, Db, has_table};
use crate::diesel_store::schema::{feed, meta};
use crate::diesel_store::work::{Trouble, Work};
use crate::error::StoreError;

/// Which store this is, when its schema is today's already: then nothing needs to be locked.
pub(crate) fn settled(
    conn: &mut Conn,
    work: &mut Work,
    migrations: &EmbeddedMigrations,
    database: &str,
) -> Result<Option<String>, Trouble> {
    if !has_table(conn, "__diesel_schema_migrations")? {
        return Ok(None);
    }
    if !pending(conn, work, migrations, database)?.is_empty() {
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
    migrations: &EmbeddedMigrations,
    database: &str,
) -> Result<String, Trouble> {
    use diesel::migration::MigrationConnection;
    conn.setup()?;
    for migration in pending(conn, work, migrations, database)? {
        conn.run_migration(&*migration).map_err(refused)?;
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

/// What is still to be run, oldest first. Refuses a schema that knows more than this program.
fn pending(
    conn: &mut Conn,
    work: &mut Work,
    migrations: &EmbeddedMigrations,
    database: &str,
) -> Result<Pending, Trouble> {
    let mut ours = MigrationSource::<Db>::migrations(migrations).map_err(refused)?;
    ours.sort_by_key(|migration| migration.name().version().to_string());
    let known = ours
        .last()
        .map(|last| last.name().version().to_string())
        .unwrap_or_default();
    let applied: Vec<String> = conn
        .applied_migrations()
        .map_err(refused)?
        .iter()
        .map(ToString::to_string)
        .collect();
    work.schema
        .get_or_insert_with(|| (applied.iter().max().cloned(), known.clone()));
    if let Some(found) = applied.iter().filter(|version| **version > known).max() {
        return Err(Trouble::Known(StoreError::TooNew {
            database: database.to_owned(),
            found: found.clone(),
            known,
        }));
    }
    ours.retain(|migration| !applied.contains(&migration.name().version().to_string()));
    Ok(ours)
}

fn refused(error: Box<dyn std::error::Error + Send + Sync>) -> Trouble {
    match error.downcast::<diesel::result::Error>() {
        Ok(error) => Trouble::Database(*error),
        Err(error) => Trouble::Refused(format!(
            "the schema could not be brought up to date: {error}"
        )),
    }
}
